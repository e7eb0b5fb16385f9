"""The table of a stored result."""

from __future__ import annotations

from typing import Any


def _time(seconds: float) -> str:
    return f"{seconds * 1e6:.0f} µs" if seconds < 1e-3 else f"{seconds * 1e3:.2f} ms"


def label(row: dict[str, Any]) -> str:
    """The name of a row's case and, where it is not the default, of its memory."""
    memory = row["memory"]
    return str(row["case"]) + ("" if memory == "default" else f" [{memory}]")


def lines(result: dict[str, Any], phase: str = "training") -> list[str]:
    """Markdown: time of ours, of the rivals and their ratios, GB/s, share of the copy bandwidth.

    Args:
        result: as stored by `python -m benchmarks`.
        phase: "training" (forward + backward) or "forward".
    """
    title = "forward + backward" if phase == "training" else "forward"
    table = [
        f"| {title} | vae_fast | eager | torch.compile | eager / ours | compile / ours"
        " | GB/s | of copy |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        part = row[phase]
        ours, eager, compiled = (part["seconds"][n] for n in ("fused", "eager", "compile"))
        share = part["bandwidth"] / part["copy bandwidth"]
        table.append(
            f"| {label(row)} | {_time(ours)} | {_time(eager)} | {_time(compiled)} |"
            f" {eager / ours:.1f} | {compiled / ours:.1f} | {part['bandwidth'] / 1e9:.1f} |"
            f" {share:.0%} |"
        )
    return table
