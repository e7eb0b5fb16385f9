"""The table of a stored result."""

from __future__ import annotations

from typing import Any

# Ours first: the CPU's kernels, and those of a GPU.
NAMES = {
    "fused": "vae_fast",
    "cuda": "vae_fast, CUDA",
    "triton": "vae_fast, Triton",
    "eager": "eager",
    "compile": "torch.compile",
}
RIVALS = ("eager", "compile")


def ours(seconds: dict[str, float]) -> str:
    """The variant that the rivals are compared with."""
    return next(name for name in NAMES if name in seconds)


def _time(seconds: float) -> str:
    return f"{seconds * 1e6:.0f} µs" if seconds < 1e-3 else f"{seconds * 1e3:.2f} ms"


def label(row: dict[str, Any]) -> str:
    """The name of a row's case and, where it is not the default, of its memory."""
    memory = row.get("memory", "default")
    return str(row["case"]) + ("" if memory == "default" else f" [{memory}]")


def lines(result: dict[str, Any], phase: str = "training", mode: str = "launched") -> list[str]:
    """Markdown: time of ours, of the rivals and their ratios, GB/s, share of the copy bandwidth.

    Args:
        result: as stored by `python -m benchmarks`.
        phase: "training" (forward + backward) or "forward".
        mode: on a GPU, "launched" or "graph".
    """
    rows = [r for r in result["rows"] if phase in r and r.get("mode", "launched") == mode]
    names = [n for n in NAMES if any(n in r[phase]["seconds"] for r in rows)]
    title = "forward + backward" if phase == "training" else "forward"
    title += " in a CUDA graph" if mode == "graph" else ""
    heads = [title, *(NAMES[n] for n in names)]
    heads += ["eager / ours", "compile / ours"]
    # With the time taken off that autograd's engine takes for as many leaves.
    apart = any("engine" in r[phase] for r in rows)
    heads += ["eager, compile / ours, engine off"] if apart else []
    heads += ["GB/s", "of copy"]
    counted = any("launches" in r[phase] for r in rows)
    heads += ["launches, ours / eager / compile", "peak MiB, likewise"] if counted else []
    table = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in rows:
        part = row[phase]
        seconds = part["seconds"]
        first = seconds[ours(seconds)]
        cells = [label(row), *(_time(seconds[n]) if n in seconds else "failed" for n in names)]
        cells += [f"{seconds[n] / first:.1f}" if n in seconds else "" for n in RIVALS]
        if apart:
            off = {n: seconds[n] - part["engine"] for n in seconds} if "engine" in part else {}
            ratios = [f"{off[n] / off[ours(seconds)]:.1f}" for n in RIVALS if n in off]
            cells.append(", ".join(ratios))
        share = part["bandwidth"] / part["copy bandwidth"]
        cells += [f"{part['bandwidth'] / 1e9:.1f}", f"{share:.0%}"]
        if counted:
            compared = (ours(seconds), *RIVALS)
            peaks = {name: f"{size / 2**20:.1f}" for name, size in part["peak"].items()}
            for values in (part["launches"], peaks):
                cells.append(" / ".join(str(values.get(name, "failed")) for name in compared))
        table.append(f"| {' | '.join(cells)} |")
    return table
