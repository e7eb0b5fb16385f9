"""How unlike the training images an image is, by a trained network: reconstruction error and
negative ELBO (An and Cho 2015)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vae_fast.nets import Variational
from vae_fast.training.batches import generator
from vae_fast.training.optional import require
from vae_fast.training.rows import in_parts, to_input
from vae_fast.training.trained import Trained


@dataclass(frozen=True)
class Scores:
    """Of each image, in nats, the larger the more anomalous; float32 [N] on the CPU."""

    recon: Tensor  # -log p(x|z) at the image's code
    elbo: Tensor | None  # -ELBO; None for a network without a distribution over its codes

    def named(self) -> dict[str, Tensor]:
        """The scores that there are."""
        scores = {"recon": self.recon}
        return scores if self.elbo is None else scores | {"elbo": self.elbo}


@torch.no_grad()
def score(trained: Trained, images: Tensor, labels: Tensor | None, samples: int) -> Scores:
    """Scores of images [N, features] as in `trained.test`.

    Args:
        trained: the network.
        images: what to look at.
        labels: for a conditional network, int64 [N].
        samples: draws of z over which the ELBO is averaged.
    """
    model = trained.model
    seeds = generator(trained.config.seed, "anomaly")
    recon, elbo = [], []
    for pixels, given in in_parts(images, labels):
        x = to_input(pixels)
        decoded = model.decode(model.code(x, given), given)
        recon.append(model.likelihood.nll(decoded, pixels, "sample"))
        if isinstance(model, Variational):
            seed = torch.randint(2**63 - 1, (1,), generator=seeds).to(x.device)
            out = model(x, given, seed, samples if samples > 1 else None)
            elbo.append(model.loss(out, pixels, reduction="sample").loss)
    return Scores(torch.cat(recon).cpu(), torch.cat(elbo).cpu() if elbo else None)


def roc_auc(normal: Tensor, anomalous: Tensor) -> float:
    """The probability that an anomalous image has the higher score; ties count for one half."""
    metrics = require("sklearn.metrics", "scikit-learn", "the ROC-AUC")
    truth = torch.cat((torch.zeros(len(normal)), torch.ones(len(anomalous))))
    return float(metrics.roc_auc_score(truth.numpy(), torch.cat((normal, anomalous)).numpy()))
