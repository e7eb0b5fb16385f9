"""Runs cases: one row of numbers for each, with the copy bandwidth of the same run beside it."""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from .cases import Case, cases
from .timing import check, copy_bandwidth, engine, interleaved, quartiles, step

Row = dict[str, Any]
# How the memory of fresh outputs comes about, for the largest size, each in a process of its own:
# as always; PyTorch's allocator asking for huge pages; from a heap that keeps what was touched.
MEMORY = ("default", "thp", "touched")
M_MMAP_MAX, M_TRIM_THRESHOLD = -4, -1


def measure(case: Case, seconds: float, memory: str = "default") -> Row:
    """Times forward and forward + backward of every variant and checks their results first."""
    torch.manual_seed(0)
    torch._dynamo.reset()
    inputs = case.inputs()
    variants = {
        "fused": case.fused,
        "eager": case.eager,
        "compile": torch.compile(case.eager, fullgraph=True, dynamic=False),
    }
    check(case, inputs, variants)
    grads = [torch.ones_like(o) for o in case.fused(*inputs) if o.requires_grad]

    def forward(name: str) -> Callable[[], None]:
        def call() -> None:
            with torch.no_grad():
                variants[name](*inputs)

        return call

    def training(name: str) -> Callable[[], None]:
        return lambda: step(variants[name], inputs, grads)

    # A copy of as many bytes as the training step moves at least.
    copied = max(case.training_bytes // 8, 1)
    row = describe_case(case) | {"memory": memory}
    for phase, make, moved in (
        ("forward", forward, case.forward_bytes),
        ("training", training, case.training_bytes),
    ):
        calls = {name: make(name) for name in variants} | {"copy": copy_bandwidth(copied)}
        if phase == "training":
            calls["engine"] = partial(step, engine(case.fused, inputs), inputs, grads)
        row[phase] = summary(interleaved(calls, seconds), moved, 8 * copied, "fused")
    return row


def describe_case(case: Case) -> Row:
    return {
        "case": case.name,
        "function": case.function,
        "size": case.size,
        "dtype": str(case.dtype).removeprefix("torch."),
        "target": str(case.target).removeprefix("torch."),
    }


def summary(samples: dict[str, list[float]], moved: int, copied: int, ours: str) -> Row:
    """Medians, quartiles and bandwidth.

    Args:
        samples: seconds of each variant, of "copy", and of "engine" where autograd takes part.
        moved: least bytes that a call moves.
        copied: bytes that the copy moves.
        ours: the variant whose bandwidth it is.
    """
    times = {name: quartiles(values) for name, values in samples.items()}
    copy = times.pop("copy")[1]
    alone = times.pop("engine", None)
    return ({} if alone is None else {"engine": alone[1]}) | {
        "seconds": {name: t[1] for name, t in times.items()},
        "quartiles": {name: [t[0], t[2]] for name, t in times.items()},
        "bytes": moved,
        "bandwidth": moved / times[ours][1],
        "copy bandwidth": copied / copy,
    }


def keep_touched_memory() -> None:
    """Makes malloc keep and reuse memory, so that outputs lie where pages are already mapped."""
    libc = ctypes.CDLL(None)
    if not (libc.mallopt(M_MMAP_MAX, 0) and libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)):
        raise RuntimeError("malloc does not take these options")


def measure_in_process(case: Case, seconds: float, memory: str) -> Row:
    """`measure` in a fresh process with the given memory."""
    environment = dict(os.environ)
    if memory == "thp":
        environment["THP_MEM_ALLOC_ENABLE"] = "1"
    command = [sys.executable, "-m", "benchmarks.measure", case.name, memory, str(seconds)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    row: Row = json.loads(done.stdout.splitlines()[-1])
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description="Times one case and prints it as JSON.")
    parser.add_argument("case", choices=[case.name for case in cases()])
    parser.add_argument("memory", choices=MEMORY)
    parser.add_argument("seconds", type=float)
    args = parser.parse_args()
    if args.memory == "touched":
        keep_touched_memory()
    case = next(case for case in cases() if case.name == args.case)
    print(json.dumps(measure(case, args.seconds, args.memory)))


if __name__ == "__main__":
    main()
