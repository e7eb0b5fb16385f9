"""What lies between a row of the data and the latent: fully connected or convolutional of images,
normalised of counts, on each side.

Images and labels are rows: pixels ``[..., C*H*W]``, labels one-hot ``[..., classes]``. Leading
dimensions are kept, so Monte Carlo samples ``[L, B, latent]`` are decoded in one call.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

Shape = tuple[int, int, int]  # channels, height, width of one image
ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh}
CHANNELS = 32  # of the first convolution; the second has twice as many


def joined(x: Tensor, labels: Tensor | None) -> Tensor:
    """Each row of x with its label's one-hot row behind it; labels are the same for each sample."""
    if labels is None:
        return x
    return torch.cat((x, labels.to(x.dtype).expand(*x.shape[:-1], -1)), -1)


class MLPEncoder(nn.Module):
    """One hidden layer, as in pytorch/examples (ReLU) and Kingma and Welling 2013 (tanh)."""

    def __init__(self, shape: Shape, hidden: int, activation: str, classes: int) -> None:
        super().__init__()
        channels, height, width = shape
        self.hidden = nn.Linear(channels * height * width + classes, hidden)
        self.activation = ACTIVATIONS[activation]()

    def forward(self, x: Tensor, labels: Tensor | None) -> Tensor:
        """[B, C*H*W] to [B, hidden]."""
        return cast(Tensor, self.activation(self.hidden(joined(x, labels))))


class MLPDecoder(nn.Module):
    """The mirror image: one hidden layer, `outputs` values for each pixel."""

    def __init__(
        self, latent: int, hidden: int, shape: Shape, outputs: int, activation: str, classes: int
    ) -> None:
        super().__init__()
        channels, height, width = shape
        self.hidden = nn.Linear(latent + classes, hidden)
        self.activation = ACTIVATIONS[activation]()
        self.out = nn.Linear(hidden, outputs * channels * height * width)

    def forward(self, z: Tensor, labels: Tensor | None) -> Tensor:
        """[..., latent] to [..., outputs*C*H*W]."""
        return cast(Tensor, self.out(self.activation(self.hidden(joined(z, labels)))))


class ConvEncoder(nn.Module):
    """Two strided convolutions, each of which halves height and width, and one hidden layer."""

    def __init__(self, shape: Shape, hidden: int, activation: str, classes: int) -> None:
        super().__init__()
        self.shape = shape
        channels, height, width = shape
        self.convolutions = nn.Sequential(
            nn.Conv2d(channels, CHANNELS, 4, stride=2, padding=1),
            ACTIVATIONS[activation](),
            nn.Conv2d(CHANNELS, 2 * CHANNELS, 4, stride=2, padding=1),
            ACTIVATIONS[activation](),
        )
        self.hidden = nn.Linear(2 * CHANNELS * (height // 4) * (width // 4) + classes, hidden)
        self.activation = ACTIVATIONS[activation]()

    def forward(self, x: Tensor, labels: Tensor | None) -> Tensor:
        """[B, C*H*W] to [B, hidden]."""
        maps = self.convolutions(x.unflatten(-1, self.shape)).flatten(1)
        return cast(Tensor, self.activation(self.hidden(joined(maps, labels))))


class ConvDecoder(nn.Module):
    """The mirror image: one hidden layer and two transposed convolutions."""

    def __init__(
        self, latent: int, hidden: int, shape: Shape, outputs: int, activation: str, classes: int
    ) -> None:
        super().__init__()
        channels, height, width = shape
        self.maps = (2 * CHANNELS, height // 4, width // 4)
        self.hidden = nn.Sequential(
            nn.Linear(latent + classes, hidden),
            ACTIVATIONS[activation](),
            nn.Linear(hidden, self.maps[0] * self.maps[1] * self.maps[2]),
            ACTIVATIONS[activation](),
        )
        self.convolutions = nn.Sequential(
            nn.ConvTranspose2d(2 * CHANNELS, CHANNELS, 4, stride=2, padding=1),
            ACTIVATIONS[activation](),
            nn.ConvTranspose2d(CHANNELS, outputs * channels, 4, stride=2, padding=1),
        )

    def forward(self, z: Tensor, labels: Tensor | None) -> Tensor:
        """[..., latent] to [..., outputs*C*H*W]."""
        maps = self.hidden(joined(z, labels))
        images = self.convolutions(maps.reshape(-1, *self.maps))
        return cast(Tensor, images.reshape(*z.shape[:-1], -1))


class CountEncoder(MLPEncoder):
    """log(1 + x) of counts x, and one hidden layer, normalised, as scVI's with `use_layer_norm`."""

    def __init__(self, shape: Shape, hidden: int, activation: str, classes: int) -> None:
        super().__init__(shape, hidden, activation, classes)
        self.activation = nn.Sequential(nn.LayerNorm(hidden), self.activation)

    def forward(self, x: Tensor, labels: Tensor | None) -> Tensor:
        """[B, genes] to [B, hidden]."""
        return super().forward(torch.log1p(x), labels)


class CountDecoder(MLPDecoder):
    """One hidden layer, normalised; `outputs` values for each gene."""

    def __init__(
        self, latent: int, hidden: int, shape: Shape, outputs: int, activation: str, classes: int
    ) -> None:
        super().__init__(latent, hidden, shape, outputs, activation, classes)
        self.activation = nn.Sequential(nn.LayerNorm(hidden), self.activation)


ENCODERS = {"mlp": MLPEncoder, "conv": ConvEncoder, "counts": CountEncoder}
DECODERS = {"mlp": MLPDecoder, "conv": ConvDecoder, "counts": CountDecoder}


def check_shape(network: str, shape: Shape) -> None:
    """Raises ValueError where the images do not fit the network."""
    if network == "conv" and (shape[1] % 4 or shape[2] % 4):
        raise ValueError(
            f"the convolutional network halves the images twice: got {shape[1]} x {shape[2]}"
            " pixels, expected multiples of 4"
        )
