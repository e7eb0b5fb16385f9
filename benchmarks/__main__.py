"""`python -m benchmarks`: times every case, prints one table, writes JSON and a plot."""

from __future__ import annotations

import argparse
from pathlib import Path

from tqdm import tqdm

from vae_fast.training.files import write_json

from . import plot, table, targets
from .cases import SIZES, cases
from .machine import describe
from .measure import MEMORY, measure, measure_in_process


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="short, without the largest size")
    parser.add_argument("--only", default="", metavar="TEXT", help="cases whose name contains it")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"), metavar="DIR")
    args = parser.parse_args()

    largest = list(SIZES)[-1]
    chosen = [c for c in cases() if args.only in c.name and not (args.quick and c.size == largest)]
    if not chosen:
        parser.error(f"no case has {args.only!r} in its name")
    seconds = 0.2 if args.quick else 3.0
    rows = []
    for case in (bar := tqdm(chosen, unit="case")):
        bar.set_description(case.name)
        if case.size == largest:
            rows += [measure_in_process(case, 2 * seconds, memory) for memory in MEMORY]
        else:
            rows.append(measure(case, seconds))
    result = {"machine": describe(), "rows": rows}

    args.out.mkdir(parents=True, exist_ok=True)
    write_json(args.out / "cpu.json", result)
    plot.draw(result, args.out / "cpu.png")
    for phase in ("training", "forward"):
        print("\n".join(table.lines(result, phase)), end="\n\n")
    print("\n".join(targets.lines(result)))
    print(f"\nwritten: {args.out}/cpu.json, {args.out}/cpu.png")


if __name__ == "__main__":
    main()
