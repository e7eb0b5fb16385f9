"""What all models have in common: an architecture, an objective, a code and its decoding."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

import vae_fast as vf

from .bodies import ACTIVATIONS, DECODERS, ENCODERS, Shape, check_shape
from .counts import LIKELIHOODS as OF_COUNTS
from .counts import Counts
from .pixels import Params, Pixels


@dataclass(frozen=True)
class Architecture:
    """Sizes and kinds of the layers; the defaults are those of pytorch/examples.

    Args:
        shape: channels, height and width of an image; of counts 1, 1 and the genes.
        latent: size of the code (of a categorical one: its variables).
        hidden: units of the hidden layer on each side.
        network: "mlp" or "conv" of images, "counts" of counts.
        activation: "relu" or "tanh".
        likelihood: of a pixel, see `Pixels`, or of a count, see `Counts`.
        dispersion: of counts, see `Counts`.
        classes: of the labels that encoder and decoder are given; 0: they see none.
    """

    shape: Shape = (1, 28, 28)
    latent: int = 20
    hidden: int = 400
    network: str = "mlp"
    activation: str = "relu"
    likelihood: str = "bernoulli"
    dispersion: str = "gene"
    classes: int = 0

    def __post_init__(self) -> None:
        for name, known in (("network", ENCODERS), ("activation", ACTIVATIONS)):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"{name}: got {getattr(self, name)!r}, expected one of {', '.join(known)}"
                )
        check_shape(self.network, self.shape)
        if (self.network == "counts") != (self.likelihood in OF_COUNTS):
            raise ValueError(
                f"likelihood: got {self.likelihood!r} with the network {self.network!r}, those of"
                f" counts are {', '.join(OF_COUNTS)}"
            )

    def distribution(self) -> Pixels | Counts:
        """p(x|z), what the decoder's outputs mean."""
        if self.network == "counts":
            return Counts(self.likelihood, self.dispersion, self.shape[2])
        return Pixels(self.likelihood)


class Output(NamedTuple):
    """What the objective needs of one pass over a batch."""

    params: Params  # of p(x|z), [B, features], with Monte Carlo samples [L, B, features]
    kl: (
        Tensor | None
    )  # nats: of each image [B], of the batch [], or None where there is no such term


class Model(nn.Module, ABC):
    """An encoder, a code of `code_size` numbers, a decoder, and the loss that trains them.

    The layers are created in the order of pytorch/examples, so the same `torch.manual_seed` gives
    the same initial weights.
    """

    def __init__(self, architecture: Architecture, heads: dict[str, int], code_size: int) -> None:
        """`heads`: linear layers on top of the encoder, by name, with the number of outputs."""
        super().__init__()
        a = architecture
        self.architecture = a
        self.code_size = code_size
        self.likelihood = a.distribution()
        self.encoder = ENCODERS[a.network](a.shape, a.hidden, a.activation, a.classes)
        self.heads = nn.ModuleDict({k: nn.Linear(a.hidden, n) for k, n in heads.items()})
        self.decoder = DECODERS[a.network](
            code_size, a.hidden, a.shape, self.likelihood.outputs, a.activation, a.classes
        )

    @abstractmethod
    def forward(
        self,
        x: Tensor,
        labels: Tensor | None = None,
        seed: Tensor | None = None,
        samples: int | None = None,
    ) -> Output:
        """Encode and decode. `x`: float32 [B, features], pixels in [0, 1] or counts; `labels`:
        int64 [B], where the architecture has classes; `seed`: an int64 tensor of one element that
        fixes the noise; `samples`: L codes for each row."""

    @abstractmethod
    def loss(
        self, out: Output, target: Tensor, beta: float = 1.0, reduction: str = "batchmean"
    ) -> vf.ELBO:
        """The objective, outside of autocast. `target`: [B, features], uint8, bool or float;
        counts also sparse, see `Counts`."""

    @abstractmethod
    def code(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """The point of the latent space that stands for an image, [B, code_size]."""

    def decode(self, z: Tensor, labels: Tensor | None = None) -> Params:
        """[..., code_size] to the parameters of p(x|z), [..., features]."""
        return cast(Params, self.likelihood(self.decoder(z, self.one_hot(labels))))

    def expected(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """[..., code_size] to the expected pixels in [0, 1], or the genes' shares,
        [..., features]."""
        return self.likelihood.expected(self.decode(z, labels))

    def observe(self, x: Tensor, seed: Tensor | None = None) -> Tensor:
        """What the encoder is shown of x: x itself, but for a denoising model."""
        return x

    def anneal(self, step: int) -> None:
        """Called before each step of the optimizer, for what changes with their number."""

    def features(self, x: Tensor, labels: Tensor | None) -> Tensor:
        """The encoder's last hidden layer, [B, hidden]."""
        return cast(Tensor, self.encoder(x, self.one_hot(labels)))

    def one_hot(self, labels: Tensor | None) -> Tensor | None:
        """int64 [B] to [B, classes]; None where the architecture has no classes."""
        if not self.architecture.classes:
            return None
        if labels is None:
            raise ValueError("labels: got None, expected one for each image of a conditional model")
        return nn.functional.one_hot(labels, self.architecture.classes).float()


class Variational(Model):
    """A model with a distribution q(z|x) over its codes and a prior p(z): it has an ELBO."""

    def loss(
        self, out: Output, target: Tensor, beta: float = 1.0, reduction: str = "batchmean"
    ) -> vf.ELBO:
        """The negative ELBO; see `vf.elbo_loss`."""
        return self.likelihood.elbo(out.params, target, out.kl, beta, reduction)

    @abstractmethod
    def prior(self, count: int, generator: torch.Generator) -> Tensor:
        """Draws of the prior, [count, code_size], on the CPU."""

    @abstractmethod
    def posterior(self, x: Tensor, labels: Tensor | None = None) -> tuple[Tensor, ...]:
        """The parameters of q(z|x)."""

    @abstractmethod
    def draw(self, posterior: tuple[Tensor, ...], seed: int) -> tuple[Tensor, Tensor]:
        """z ~ q(z|x), [B, code_size], and log p(z) - log q(z|x), float64 [B], in nats."""

    @abstractmethod
    def kl_of_units(self, posterior: tuple[Tensor, ...]) -> Tensor | None:
        """The KL of each latent unit, [B, units], in nats; None where it is no sum over units."""
