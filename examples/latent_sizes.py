"""Reconstructions and samples of MNIST for latent sizes 2, 5, 10 and 20.

The more numbers the code has, the sharper the reconstructions; samples of the prior gain, too, but
less, because a larger space has more places between the digits (Kingma and Welling 2013, figure 5).
"""

from __future__ import annotations

import torch
from common import network, options, save, show
from matplotlib.figure import Figure

from vae_fast.training.config import TrainConfig
from vae_fast.training.rows import to_input

SIZES = (2, 5, 10, 20)
COLUMNS = 10


def main() -> None:
    args = options(__doc__)
    figure = Figure(figsize=(11, 6), layout="constrained")
    panels = figure.subplots(2, len(SIZES))
    for column, size in enumerate(SIZES):
        config = TrainConfig(dataset="mnist", latent=size, epochs=20)
        trained = network(args, f"mnist-{size}", config)
        test = trained.test[: 5 * COLUMNS]
        images, decoded = to_input(test), trained.decode(trained.code(test))
        # Each row of test images above that of their reconstructions.
        rows = torch.stack(
            (images.unflatten(0, (-1, COLUMNS)), decoded.unflatten(0, (-1, COLUMNS))), 1
        )
        show(panels[0, column], rows.flatten(0, 2), trained.shape, COLUMNS, f"{size} dimensions")
        z = trained.variational("samples").prior(100, torch.Generator().manual_seed(1))
        show(panels[1, column], trained.decode(z), trained.shape, COLUMNS, "samples of the prior")
    save(args.out / "latent-sizes.png", figure)


if __name__ == "__main__":
    main()
