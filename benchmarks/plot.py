"""Plots of stored results: how many times faster than each rival, and time against size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .table import label, ours

COLOURS = {"eager": "#4c72b0", "compile": "#dd8452"}
NAMES = {"eager": "eager PyTorch", "compile": "torch.compile"}
STEPS = {
    "eager": ("eager PyTorch", COLOURS["eager"]),
    "compile": ("torch.compile", COLOURS["compile"]),
    "fused": ("vae_fast", "#55a868"),
    "least": ("a step whose loss costs nothing", "#999999"),
}
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


def draw_steps(rows: list[dict[str, Any]], path: Path) -> None:
    """Time of a training step against the number of genes, a panel for each likelihood."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(row["likelihood"] for row in rows))
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(names), sharey=True), names, strict=True):
        shown = [row for row in rows if row["likelihood"] == name]
        genes = [row["genes"] for row in shown]
        for key, (shown_name, colour) in STEPS.items():
            times = [row["seconds"][key] * 1e3 for row in shown]
            axes.plot(genes, times, "o-", label=shown_name, color=colour, markersize=4)
        axes.set(xlabel="genes", title=name.replace("_", " "), xscale="log", yscale="log")
        axes.set_xticks(genes, [f"{count:,}" for count in genes], minor=False)
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("ms a step of 128 cells")
    ticks = [2, 5, 10, 20, 50, 100]
    figure.axes[0].set_yticks(ticks, map(str, ticks))
    figure.axes[0].legend(frameon=False)
    figure.savefig(path, dpi=130)
