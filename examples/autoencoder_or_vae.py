"""An autoencoder against a VAE, both with two latent dimensions on MNIST.

Above the codes of the test images, in the middle what random latents decode to, below a walk
between two test images. The autoencoder's codes lie anywhere, so a random latent is rarely one of
them; the VAE's fill the prior.
"""

from __future__ import annotations

import torch
from common import network, options, save, show
from matplotlib.figure import Figure

from vae_fast.training.config import TrainConfig

MODELS = {"ae": "Autoencoder", "vae": "VAE"}
SIDE = 12
WALK = (3, 7)  # numbers of test images


def main() -> None:
    args = options(__doc__)
    figure = Figure(figsize=(10, 10.6), layout="constrained")
    panels = figure.subplots(3, 2, height_ratios=(4.6, 5, 0.7))
    for column, (model, title) in enumerate(MODELS.items()):
        config = TrainConfig(dataset="mnist", model=model, latent=2, epochs=20)
        trained = network(args, f"mnist-{'2' if model == 'vae' else model}", config)
        codes = trained.code(trained.test)
        assert trained.labels is not None
        top, middle, bottom = panels[:, column]
        points = top.scatter(
            *codes.T, s=3, linewidths=0, c=trained.labels, cmap="tab10", vmin=-0.5, vmax=9.5
        )
        top.set_title(f"{title}: codes of the test images", fontsize=10)
        top.set_aspect("equal", adjustable="datalim")
        z = torch.randn(SIDE * SIDE, 2, generator=torch.Generator().manual_seed(2))
        title = "random latents z ~ N(0, I), decoded"
        show(middle, trained.decode(z), trained.shape, SIDE, title)
        ends = trained.code(trained.test[list(WALK)])
        way = torch.lerp(ends[:1], ends[1:], torch.linspace(0, 1, SIDE).unsqueeze(1))
        title = "a walk between the codes of two test images"
        show(bottom, trained.decode(way), trained.shape, SIDE, title)
    figure.colorbar(points, ax=panels[0], label="digit", ticks=range(10), shrink=0.8)
    save(args.out / "autoencoder-or-vae.png", figure)


if __name__ == "__main__":
    main()
