"""`python -m benchmarks`: times every case, prints tables, writes JSON and a plot."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import torch

from vae_fast.training.files import write_json

from . import plot, table, targets
from .cases import SIZES, Case, cases
from .machine import describe, describe_gpu
from .measure import MEMORY, measure, measure_in_process

PHASES = ("training", "forward")
# On a GPU the clock runs from the start: what must be known first is measured first.
QUICK_ON_A_GPU = ("loss", "sample + ELBO", "sample + KL")


def has_gpu() -> bool:
    return torch.cuda.is_available()


def on_the_cpu(chosen: list[Case], seconds: float) -> dict[str, Any]:
    """Times all cases on the CPU, the largest ones in processes of their own."""
    from tqdm import tqdm

    largest = list(SIZES)[-1]
    rows = []
    for case in (bar := tqdm(chosen, unit="case")):
        bar.set_description(case.name)
        if case.size == largest:
            rows += [measure_in_process(case, 2 * seconds, memory) for memory in MEMORY]
        else:
            rows.append(measure(case, seconds))
    return {"machine": describe(), "rows": rows}


def on_a_gpu(
    chosen: list[Case], seconds: float, phases: tuple[str, ...], budget: float, path: Path
) -> dict[str, Any]:
    """Times all cases on a GPU until the budget is spent; the file is complete at any time."""
    from .cuda import Cuda
    from .measure_cuda import available
    from .measure_cuda import measure as measure_on_gpu

    device = Cuda()
    backends = available()
    result: dict[str, Any] = {
        "machine": describe() | describe_gpu() | {"backends": backends},
        "limits": device.limits(),
        "rows": [],
        "failures": [f"backend {name}: {reason}" for name, reason in backends.items() if reason],
        "not measured": [],
    }
    working = [name for name, reason in backends.items() if not reason]
    start = time.monotonic()
    for index, case in enumerate(chosen):
        begun = time.monotonic()
        if begun - start > budget:
            result["not measured"] = [c.name for c in chosen[index:]]
            break
        try:
            rows, failures = measure_on_gpu(case, seconds, device, working, phases)
        except KeyboardInterrupt:
            result["not measured"] = [c.name for c in chosen[index:]]
            break
        except Exception as error:  # the device may be lost: keep what there is
            rows, failures = [], [f"{case.name}: {type(error).__name__}: {error}"]
        result["rows"] += rows
        result["failures"] += failures
        write_json(path, result)
        print(f"{case.name}: {time.monotonic() - begun:.1f} s", file=sys.stderr, flush=True)
    write_json(path, result)
    return result


def report(result: dict[str, Any]) -> None:
    """Prints the tables, the goals, and whatever went wrong."""
    modes = sorted({row.get("mode", "launched") for row in result["rows"]}, reverse=True)
    for mode in modes:
        for phase in PHASES:
            if any(phase in row for row in result["rows"]):
                print("\n".join(table.lines(result, phase, mode)), end="\n\n")
    for name, value in result.get("limits", {}).items():
        print(f"{name}: {value:.4g}")
    print("\n".join(targets.lines(result)))
    for name in result.get("not measured", []):
        print(f"not measured, the time was over: {name}")
    for failure in result.get("failures", []):
        print(f"FAILED  {failure}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="short: on the CPU without the largest size, on a GPU forward + backward alone",
    )
    parser.add_argument("--only", default="", metavar="TEXT", help="cases whose name contains it")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"), metavar="DIR")
    parser.add_argument(
        "--budget", type=float, default=3600.0, metavar="S", help="no new case on a GPU after it"
    )
    args = parser.parse_args()

    on_gpu = args.device == "cuda"
    if on_gpu and not has_gpu():
        parser.error("--device cuda: PyTorch sees no GPU")
    chosen = [case for case in cases() if args.only in case.name]
    if args.quick and on_gpu:
        chosen = [c for c in chosen if c.function in QUICK_ON_A_GPU and "f32/u8" not in c.name]
    elif args.quick:
        chosen = [case for case in chosen if case.size != list(SIZES)[-1]]
    if not chosen:
        parser.error(f"no case has {args.only!r} in its name")
    args.out.mkdir(parents=True, exist_ok=True)
    stem = args.out / ("gpu" if on_gpu else "cpu")
    if on_gpu:
        # The sizes with goals first: 128x784 and 64Mi.
        chosen.sort(key=lambda c: c.size not in ("128x784", "64Mi"))
        phases = ("training",) if args.quick else ("forward", "training")
        seconds = 0.5 if args.quick else 2.0
        result = on_a_gpu(chosen, seconds, phases, args.budget, stem.with_suffix(".json"))
    else:
        result = on_the_cpu(chosen, 0.2 if args.quick else 3.0)
        write_json(stem.with_suffix(".json"), result)
    report(result)
    if result["rows"]:
        plot.draw(result, stem.with_suffix(".png"))
        print(f"\nwritten: {stem}.json, {stem}.png")
    return 1 if result.get("failures") else 0


if __name__ == "__main__":
    sys.exit(main())
