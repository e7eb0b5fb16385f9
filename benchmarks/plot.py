"""A plot of a stored result: how many times faster than each rival, case by case."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .table import label, ours

COLOURS = {"eager": "#4c72b0", "compile": "#dd8452"}
NAMES = {"eager": "eager PyTorch", "compile": "torch.compile"}
TICKS = (1, 2, 5, 10, 20, 50)


def draw(result: dict[str, Any], path: Path) -> None:
    """Writes a PNG of horizontal bars on a logarithmic axis."""
    from matplotlib.figure import Figure

    rows = [row for row in result["rows"] if "training" in row][::-1]
    figure = Figure(figsize=(9, 1.2 + 0.34 * len(rows)), layout="constrained")
    axes = figure.subplots()
    height = 0.38
    for offset, rival in ((height / 2, "eager"), (-height / 2, "compile")):
        seconds = [row["training"]["seconds"] for row in rows]
        timed = [(i + offset, s[rival] / s[ours(s)]) for i, s in enumerate(seconds) if rival in s]
        places, ratios = zip(*timed, strict=True) if timed else ((), ())
        bars = axes.barh(places, ratios, height, color=COLOURS[rival], label=NAMES[rival])
        axes.bar_label(bars, fmt="%.1f", padding=3, fontsize=7)
    names = [label(row) + (", graph" if row.get("mode") == "graph" else "") for row in rows]
    axes.set_yticks(range(len(rows)), names, fontsize=8)
    axes.set_xscale("log")
    limit = max((bar.get_width() for bar in axes.patches), default=1.0)
    ticks = [t for t in TICKS if t <= max(20, limit)]
    axes.set_xticks(ticks, [str(t) for t in ticks])
    axes.minorticks_off()
    axes.axvline(1, color="black", linewidth=0.8)
    axes.margins(x=0.12, y=0.01)
    axes.set_xlabel("times faster, forward + backward (1: as fast as the rival)")
    machine = result["machine"]
    axes.set_title(
        f"vae_fast {machine['vae_fast']}, torch {machine['torch']}, {place(machine)}", fontsize=9
    )
    figure.legend(loc="outside lower center", ncols=2)
    figure.savefig(path, dpi=130)


def place(machine: dict[str, Any]) -> str:
    """What computed: a GPU with its driver, or a processor with its threads."""
    if "gpu" in machine:
        return f"{machine['gpu']} (driver {machine['driver']}, CUDA {machine['cuda']})"
    return f"{machine['threads']} threads of {machine['processor']} ({machine['instruction set']})"
