"""The goals of the CPU kernels, evaluated from a stored result."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

# Case, memory, rival, least ratio of the rival's time to ours, forward + backward.
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


def evaluate(result: dict[str, Any]) -> Iterator[tuple[str, float, float]]:
    """Yields (goal, measured, least wanted) for every goal whose rows are in the result."""
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


def lines(result: dict[str, Any]) -> list[str]:
    """One line for each goal."""
    return [
        f"{'reached' if got >= wanted else 'missed '}  {goal}: {got:.2f} (goal {wanted})"
        for goal, got, wanted in evaluate(result)
    ]
