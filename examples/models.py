"""What four of the models do on MNIST after ten epochs.

Samples of the conditional VAE, a column for each label; of the VAE with a flow posterior; of the
VAE with categorical latents; and noisy images cleaned by the denoising autoencoder.
"""

from __future__ import annotations

import torch
from common import network, options, save, show
from matplotlib.figure import Figure

from vae_fast.training.config import TrainConfig
from vae_fast.training.rows import to_input

SAMPLED = {
    "cvae": "conditional VAE: a column for each label",
    "flow-vae": "VAE with an IAF posterior",
    "categorical-vae": "VAE with 20 categorical latents",
}
SIDE = 10


def main() -> None:
    args = options(__doc__)
    figure = Figure(figsize=(11, 3.1), layout="constrained")
    *panels, last = figure.subplots(1, len(SAMPLED) + 1)
    for axes, (model, title) in zip(panels, SAMPLED.items(), strict=True):
        config = TrainConfig(dataset="mnist", model=model, binarize=True)
        trained = network(args, f"mnist-{model}", config)
        count = SIDE * SIDE
        z = trained.variational("samples").prior(count, torch.Generator().manual_seed(1))
        images = trained.decode(z, trained.given_labels(count, None))
        show(axes, images, trained.shape, SIDE, title)

    config = TrainConfig(dataset="mnist", model="denoising-ae")
    trained = network(args, "mnist-denoising-ae", config)
    images = to_input(trained.test[: 5 * SIDE])
    noisy = trained.model.observe(images, torch.zeros(1, dtype=torch.int64))
    with torch.no_grad():
        clean = trained.model.expected(trained.model.code(noisy))
    pairs = torch.stack([part.unflatten(0, (-1, SIDE)) for part in (noisy, clean)], 1)
    title = "denoising autoencoder: in, and below out"
    show(last, pairs.flatten(0, 2), trained.shape, SIDE, title)
    for axes in (*panels, last):
        axes.title.set_fontsize(8)
    save(args.out / "models.png", figure)


if __name__ == "__main__":
    main()
