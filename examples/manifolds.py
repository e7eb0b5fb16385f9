"""The learned manifolds of MNIST and of Frey Face (Kingma and Welling 2013, figure 4).

Two latent dimensions, decoded on a grid at equal steps of prior probability.
"""

from __future__ import annotations

from common import network, options, save, show
from matplotlib.figure import Figure

from vae_fast.training.config import TrainConfig
from vae_fast.training.pictures import manifold_points

RUNS = {
    "mnist": ("MNIST", 20, TrainConfig(dataset="mnist", latent=2, epochs=20)),
    "freyface": (
        "Frey Face",
        14,
        TrainConfig(
            dataset="freyface",
            latent=2,
            hidden=200,
            activation="tanh",
            likelihood="gaussian-pixel",
            batch_size=100,
            epochs=400,
        ),
    ),
}


def main() -> None:
    args = options(__doc__)
    figure = Figure(figsize=(10.4, 5.6), layout="constrained")
    panels = figure.subplots(1, 2, width_ratios=(1.25, 1))
    for axes, (dataset, (title, side, config)) in zip(panels, RUNS.items(), strict=True):
        trained = network(args, f"{dataset}-2", config)
        images = trained.decode(manifold_points(side))
        show(axes, images, trained.shape, side, f"Learned manifold of {title}")
    save(args.out / "manifolds.png", figure)


if __name__ == "__main__":
    main()
