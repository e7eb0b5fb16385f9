"""The lower bound on Frey Face: a variance for each pixel against one shared by all.

Three random splits, three seeds each; nats per image over pixels in [0, 1].
"""

from __future__ import annotations

import statistics
from dataclasses import asdict
from pathlib import Path

import torch
from common import network, options

from vae_fast.training import checkpoint
from vae_fast.training.config import TrainConfig
from vae_fast.training.files import write_json
from vae_fast.training.machine import describe_machine, versions

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results" / "freyface.json"
SETTINGS = {
    "dataset": "freyface",
    "latent": 5,
    "hidden": 200,
    "activation": "tanh",
    "batch_size": 100,
    "epochs": 400,
}
SEEDS = (0, 1, 2)


def main() -> None:
    args = options(__doc__)
    torch.set_num_threads(1)  # the matrices are small
    results = []
    for likelihood in ("gaussian-pixel", "gaussian-shared"):
        bounds = {}
        for split in SEEDS:
            for seed in SEEDS:
                config = TrainConfig(**SETTINGS, likelihood=likelihood, seed=seed, split=split)
                name = f"freyface-{likelihood}-split{split}-seed{seed}"
                trained = network(args, name, config)
                stored = checkpoint.load(args.runs / name / checkpoint.NAME)
                bounds[f"split {split}, seed {seed}"] = stored.history[-1]["test_elbo"]
        values = list(bounds.values())
        result = {
            "likelihood": likelihood,
            "config": asdict(trained.config) | {"seed": list(SEEDS), "split": list(SEEDS)},
            "test_elbo": bounds,
            "mean": statistics.mean(values),
            "standard_deviation": statistics.stdev(values),
        }
        results.append(result)
        print(f"{likelihood}: {result['mean']:.1f} ± {result['standard_deviation']:.1f} nats")
    if not args.epochs:
        machine = describe_machine(torch.device("cpu"))
        write_json(RESULTS, {"runs": results, "machine": machine, "versions": versions()})


if __name__ == "__main__":
    main()
