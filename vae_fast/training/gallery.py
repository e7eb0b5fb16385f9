"""The pictures of a trained network: reconstructions, samples, learned manifold, codes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from vae_fast.nets import VAE, FlowVAE, Variational
from vae_fast.training.checkpoint import CheckpointError
from vae_fast.training.pictures import manifold_points, write_grid, write_pairs, write_scatter
from vae_fast.training.rows import to_input
from vae_fast.training.trained import Trained

COLUMNS = 12
RECONSTRUCTED = 4 * COLUMNS  # images


@torch.no_grad()
def write_reconstructions(path: Path, network: Trained) -> None:
    """Test images as the encoder sees them, each above what the decoder makes of its code."""
    model = network.model
    given = None if network.given is None else network.given[:RECONSTRUCTED]
    images = to_input(network.test[:RECONSTRUCTED])
    seen = model.observe(images, torch.zeros(1, dtype=torch.int64, device=network.device))
    decoded = model.expected(model.code(seen, given), given)
    shown = "Test images" if seen is images else "What the encoder sees of test images"
    title = f"{shown}, and below each its reconstruction"
    write_pairs(path, seen.cpu(), decoded.cpu(), network.shape, COLUMNS, title)


def write_samples(
    path: Path, network: Trained, count: int = 144, seed: int = 0, label: int | None = None
) -> None:
    """Images decoded from the prior, of a conditional network with a label or with each in turn.

    Raises:
        CheckpointError: the network has no prior, or does not take such a label.
    """
    network.of_images("drawing samples")
    model = network.variational("drawing samples")
    columns = min(count, COLUMNS)
    title = "Samples of the prior"
    labels = network.given_labels(count, label)
    if labels is not None and label is None:
        columns = min(count, model.architecture.classes)
        title += ", a column for each label"
    elif label is not None:
        title += f", label {label}"
    z = model.prior(count, torch.Generator().manual_seed(seed))
    write_grid(path, network.decode(z, labels), network.shape, columns, title)


def write_manifold(path: Path, network: Trained, side: int = 20, label: int | None = None) -> None:
    """The learned manifold of a 2-D latent space (Kingma and Welling 2013, figure 4).

    Raises:
        CheckpointError: the network has no two latent dimensions with the prior N(0, I), or does
            not take such a label.
    """
    network.of_images("a manifold")
    model = network.gaussian_prior("a manifold")
    if model.code_size != 2:
        raise CheckpointError(
            f"{network.source}: has {model.code_size} latent dimensions, a manifold needs 2"
        )
    if model.architecture.classes and label is None:
        raise CheckpointError(f"{network.source}: a conditional network's manifold needs a label")
    labels = network.given_labels(side * side, label)
    images = network.decode(manifold_points(side), labels)
    title = "Learned manifold: z at equal steps of prior probability"
    write_grid(path, images, network.shape, side, title)


def write_codes(path: Path, network: Trained, title: str, projection: str | None = None) -> Tensor:
    """Draws the codes of the test rows, coloured by label, and returns them, [N, code_size].

    Args:
        path: of the picture.
        network: of any kind.
        title: of the picture.
        projection: see `pictures.project`; by default "pca" for counts, else "axes".
    """
    codes = network.code(network.test, network.given)
    how = projection or ("axes" if network.unit == "image" else "pca")
    labels = None if network.labels is None else network.labels.cpu()
    write_scatter(path, codes, labels, network.label_names, how, title)
    return codes


def write_all(folder: Path, network: Trained) -> None:
    """Every picture that fits the network; one of an earlier run that does not fit is removed."""
    model = network.model
    images = network.unit == "image"
    plane = images and isinstance(model, (VAE, FlowVAE)) and not model.architecture.classes
    title = f"Codes of the test {network.unit}s"
    pictures: dict[str, tuple[bool, Callable[[Path], object]]] = {
        "reconstructions.png": (images, lambda path: write_reconstructions(path, network)),
        "samples.png": (
            images and isinstance(model, Variational),
            lambda path: write_samples(path, network),
        ),
        "manifold.png": (
            plane and model.code_size == 2,
            lambda path: write_manifold(path, network),
        ),
        "codes.png": (not images, lambda path: write_codes(path, network, title)),
    }
    for name, (fits, write) in pictures.items():
        if fits:
            write(folder / name)
        else:
            (folder / name).unlink(missing_ok=True)
