"""The goals of the kernels, evaluated from a stored result."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Result = dict[str, Any]
Goals = Iterator[tuple[str, float, float]]

# Of the CPU. Case, memory, rival, least ratio of the rival's time to ours, forward + backward.
RATIOS = [
    ("loss 128x784", "default", "eager", 6.0),
    ("loss 128x784", "default", "compile", 5.0),
    ("loss 4096x784", "default", "eager", 5.0),
    ("loss 4096x784", "default", "compile", 3.0),
    ("loss 64Mi", "default", "eager", 6.0),
    ("loss 64Mi", "default", "compile", 2.0),
    ("sample + KL 128x20", "default", "eager", 2.0),
    ("sample + KL 128x20", "default", "compile", 2.0),
    ("sample + KL 4096x512", "default", "eager", 2.0),
    ("sample + KL 4096x512", "default", "compile", 2.0),
]
COPY_SHARE = 0.8  # of the copy bandwidth, at 64 Mi elements into memory already touched
HALF_SPEED = 1.8  # of bfloat16 logits with uint8 targets against float32, likewise

# Of a GPU: the same with the mode instead of the memory.
GPU_RATIOS = [
    ("loss 64Mi", "launched", "eager", 8.0),
    ("loss 64Mi", "launched", "compile", 1.5),
    *(
        (case, mode, rival, least)
        for case in ("loss 128x784", "sample + ELBO 128x784")
        for mode, rival, least in (
            ("launched", "eager", 4.0),
            ("launched", "compile", 2.0),
            ("graph", "eager", 1.0),
            ("graph", "compile", 1.0),
        )
    ),
]
GPU_COPY_SHARES = [("loss 64Mi", 0.9), ("loss 64Mi bf16/u8", 0.8)]
TRITON_SPEED = 1 / 1.1  # of CUDA C++, at 64 Mi elements
TRITON_HOST = 15.0  # µs per call above CUDA C++, at most


def evaluate(result: Result) -> Goals:
    """Yields (goal, measured, least wanted) for every goal whose rows are in the result."""
    return _gpu(result) if "gpu" in result.get("machine", {}) else _cpu(result)


def _cpu(result: Result) -> Goals:
    rows = {(row["case"], row["memory"]): row["training"] for row in result["rows"]}
    for case, memory, rival, wanted in RATIOS:
        part = rows.get((case, memory))
        if part:
            seconds = part["seconds"]
            yield f"{case} against {rival}", seconds[rival] / seconds["fused"], wanted
    touched = rows.get(("loss 64Mi", "touched"))
    if touched:
        share = touched["bandwidth"] / touched["copy bandwidth"]
        yield "loss 64Mi, memory touched, share of copy bandwidth", share, COPY_SHARE
    half = rows.get(("loss 64Mi bf16/u8", "touched"))
    if touched and half:
        ratio = touched["seconds"]["fused"] / half["seconds"]["fused"]
        yield "loss 64Mi, memory touched, bf16/u8 against float32", ratio, HALF_SPEED


def _gpu(result: Result) -> Goals:
    rows = {(r["case"], r["mode"]): r["training"] for r in result["rows"] if "training" in r}
    for case, mode, rival, wanted in GPU_RATIOS:
        seconds = rows.get((case, mode), {}).get("seconds", {})
        for name in ("cuda", "triton"):
            if name in seconds and rival in seconds:
                ratio = seconds[rival] / seconds[name]
                yield f"{case}, {mode}, {name} against {rival}", ratio, wanted
    for case, wanted in GPU_COPY_SHARES:
        part = rows.get((case, "launched"), {})
        for name in ("cuda", "triton"):
            if name in part.get("seconds", {}):
                share = part["bytes"] / part["seconds"][name] / part["copy bandwidth"]
                yield f"{case}, {name}, share of copy bandwidth", share, wanted
    large, small = (
        rows.get((case, "launched"), {}).get("seconds", {})
        for case in ("loss 64Mi", "loss 128x784")
    )
    if "cuda" in large and "triton" in large:
        yield "loss 64Mi, triton against cuda", large["cuda"] / large["triton"], TRITON_SPEED
    if "cuda" in small and "triton" in small:
        above = 1e6 * (small["triton"] - small["cuda"])
        yield f"loss 128x784, µs left of {TRITON_HOST:g} above cuda", TRITON_HOST - above, 0.0


def lines(result: Result) -> list[str]:
    """One line for each goal."""
    return [
        f"{'reached' if got >= wanted else 'missed '}  {goal}: {got:.2f} (goal {wanted:.3g})"
        for goal, got, wanted in evaluate(result)
    ]
