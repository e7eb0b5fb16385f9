"""What a trained VAE looks like: grids of images with a title, and codes in the plane, as PNG,
drawn without a display."""

from __future__ import annotations

import io
import math
from pathlib import Path

import torch
from torch import Tensor

from vae_fast.training.files import atomic_file
from vae_fast.training.optional import require

Shape = tuple[int, int, int]  # channels, height, width of one image
GAP = 2  # pixels between images
MARGIN = 8
TITLE = 26  # height of the title's strip
DPI = 100
SMALLEST = 48  # an image is enlarged by a whole factor until its height is at least this


def grid(images: Tensor, shape: Shape, columns: int) -> Tensor:
    """[N, C*H*W] in [0, 1] to one picture [height, width, C] on white, row by row."""
    channels, height, width = shape
    scale = max(1, math.ceil(SMALLEST / height))
    rows = math.ceil(len(images) / columns)
    tall, wide = height * scale + GAP, width * scale + GAP
    canvas = torch.ones(rows * tall - GAP, columns * wide - GAP, channels)
    pixels = images.float().clamp(0, 1).view(-1, channels, height, width).permute(0, 2, 3, 1)
    pixels = pixels.repeat_interleave(scale, 1).repeat_interleave(scale, 2)
    for index, image in enumerate(pixels):
        top, left = index // columns * tall, index % columns * wide
        canvas[top : top + height * scale, left : left + width * scale] = image
    return canvas


def write_grid(path: Path, images: Tensor, shape: Shape, columns: int, title: str) -> None:
    """Write a grid of images under a title; one pixel of the canvas is one pixel of the file."""
    figures = require("matplotlib.figure", "matplotlib", "writing pictures")
    canvas = grid(images, shape, columns)
    height, width = canvas.shape[0] + 2 * MARGIN + TITLE, canvas.shape[1] + 2 * MARGIN
    figure = figures.Figure(figsize=(width / DPI, height / DPI), dpi=DPI)
    figure.figimage(
        canvas.squeeze(2).numpy(), xo=MARGIN, yo=MARGIN, cmap="gray", vmin=0, vmax=1, origin="upper"
    )
    figure.text(0.5, 1 - TITLE / 2 / height, title, ha="center", va="center", fontsize=10)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    with atomic_file(path) as file:
        file.write(buffer.getvalue())


def write_animation(path: Path, images: Tensor, shape: Shape, milliseconds: int = 120) -> None:
    """Write images [N, C*H*W] as an endless GIF, there and back."""
    pillow = require("PIL.Image", "pillow", "writing animations")
    frames = []
    for image in (*images, *images.flip(0)[1:-1]):
        canvas = (grid(image[None], shape, 1) * 255).round().byte().numpy()
        frames.append(pillow.fromarray(canvas[:, :, 0] if shape[0] == 1 else canvas))
    buffer = io.BytesIO()
    frames[0].save(
        buffer,
        format="GIF",
        save_all=True,
        append_images=frames[1:],
        duration=milliseconds,
        loop=0,
    )
    with atomic_file(path) as file:
        file.write(buffer.getvalue())


def project(codes: Tensor, how: str) -> tuple[Tensor, tuple[str, str]]:
    """Codes [N, code_size] as points [N, 2] and the names of their axes.

    "axes" are the two dimensions in which they vary most, "pca" their principal components, "umap"
    McInnes et al. 2018, of the package umap-learn.
    """
    if how == "axes" or codes.shape[1] < 3:
        widest = codes.var(0).argsort(descending=True)[:2].sort().values.tolist()
        first, second = widest[0], widest[-1]  # the same where there is one dimension alone
        return codes[:, [first, second]], (f"code[{first}]", f"code[{second}]")
    if how == "pca":
        fit = require("sklearn.decomposition", "scikit-learn", "principal components").PCA(2)
        points = torch.from_numpy(fit.fit_transform(codes.numpy()))
        shares = [f"{share:.0%}" for share in fit.explained_variance_ratio_]
        return points, (f"component 1 ({shares[0]})", f"component 2 ({shares[1]})")
    umap = require("umap", "umap-learn", "the projection umap", "umap")
    fit = umap.UMAP(random_state=0, n_jobs=1)
    return torch.from_numpy(fit.fit_transform(codes.numpy())), ("UMAP 1", "UMAP 2")


def write_scatter(
    path: Path,
    codes: Tensor,
    labels: Tensor | None,
    names: tuple[str, ...] | None,
    projection: str,
    title: str,
) -> None:
    """Draw codes [N, code_size] in the plane, see `project`, with a colour for each label."""
    figures = require("matplotlib.figure", "matplotlib", "writing pictures")
    points, axis_names = project(codes, projection)
    wide = 6 if names is None else 8.5  # beside the legend
    figure = figures.Figure(figsize=(wide, 5.4), dpi=DPI, layout="constrained")
    axes = figure.add_subplot()
    colours = {}
    if labels is not None:  # a colour for each whole number, ticks in their middle
        edges = labels.min().item() - 0.5, labels.max().item() + 0.5
        cmap = "tab10" if edges[1] - edges[0] <= 10 else "tab20"
        colours = {"c": labels.numpy(), "cmap": cmap, "vmin": edges[0], "vmax": edges[1]}
    drawn = axes.scatter(*points.T, s=4 if names is None else 10, linewidths=0, **colours)
    axes.set(xlabel=axis_names[0], ylabel=axis_names[1], title=title)
    axes.set_aspect("equal", adjustable="datalim")
    if labels is not None and names is not None:
        handles, _ = drawn.legend_elements(num=labels.unique().tolist())
        shown = [names[label] for label in labels.unique().tolist()]
        figure.legend(handles, shown, loc="outside right upper", fontsize=8, frameon=False)
    elif labels is not None:
        figure.colorbar(drawn, ax=axes, label="label", ticks=labels.unique().tolist())
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    with atomic_file(path) as file:
        file.write(buffer.getvalue())


def write_pairs(
    path: Path, originals: Tensor, reconstructions: Tensor, shape: Shape, columns: int, title: str
) -> None:
    """Rows of originals [N, C*H*W], each above the row of its reconstructions."""
    count = len(originals) // columns * columns
    pairs = torch.stack(
        (
            originals[:count].float().view(-1, columns, originals.shape[1]),
            reconstructions[:count].float().view(-1, columns, originals.shape[1]),
        ),
        dim=1,
    )
    write_grid(path, pairs.flatten(0, 2), shape, columns, title)


def manifold_points(side: int) -> Tensor:
    """[side², 2]: the centres of `side`² cells of equal prior probability, row by row.

    The inverse of the Gaussian distribution function maps a regular grid on the unit square to z;
    the first coordinate grows to the right, the second one upwards.
    """
    line = torch.special.ndtri((torch.arange(side, dtype=torch.float64) + 0.5) / side).float()
    up, right = torch.meshgrid(line.flip(0), line, indexing="ij")
    return torch.stack((right.flatten(), up.flatten()), 1)
