"""A plot of a stored result: how many times faster than each rival, case by case."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .table import label

COLOURS = {"eager": "#4c72b0", "compile": "#dd8452"}
NAMES = {"eager": "eager PyTorch", "compile": "torch.compile"}


def draw(result: dict[str, Any], path: Path) -> None:
    """Writes a PNG of horizontal bars on a logarithmic axis."""
    from matplotlib.figure import Figure

    rows = result["rows"][::-1]
    figure = Figure(figsize=(9, 1.2 + 0.34 * len(rows)), layout="constrained")
    axes = figure.subplots()
    height = 0.38
    for offset, rival in ((height / 2, "eager"), (-height / 2, "compile")):
        seconds = [row["training"]["seconds"] for row in rows]
        ratios = [s[rival] / s["fused"] for s in seconds]
        places = [i + offset for i in range(len(rows))]
        bars = axes.barh(places, ratios, height, color=COLOURS[rival], label=NAMES[rival])
        axes.bar_label(bars, fmt="%.1f", padding=3, fontsize=7)
    axes.set_yticks(range(len(rows)), [label(row) for row in rows], fontsize=8)
    axes.set_xscale("log")
    axes.set_xticks([1, 2, 5, 10, 20], ["1", "2", "5", "10", "20"])
    axes.minorticks_off()
    axes.axvline(1, color="black", linewidth=0.8)
    axes.margins(x=0.12, y=0.01)
    axes.set_xlabel("times faster, forward + backward (1: as fast as the rival)")
    machine = result["machine"]
    axes.set_title(
        f"vae_fast {machine['vae_fast']}, torch {machine['torch']}, {machine['threads']} threads of"
        f" {machine['processor']} ({machine['instruction set']})",
        fontsize=9,
    )
    figure.legend(loc="outside lower center", ncols=2)
    figure.savefig(path, dpi=130)
