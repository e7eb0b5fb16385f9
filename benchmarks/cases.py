"""What is timed: functions, sizes, dtypes, the same work by each rival, and its least traffic."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

import vae_fast as vf

Function = Callable[..., tuple[Tensor, ...]]
SIZES = {
    "128x784": (128, 784, 20),
    "4096x784": (4096, 784, 64),
    "256x12288": (256, 12288, 128),
    "64Mi": (65536, 1024, 64),
}


@dataclass(frozen=True)
class Case:
    """One function at one size.

    Attributes:
        function: name of the function.
        size: name of the size.
        dtype: of the parameters.
        target: dtype of the targets.
        fused: our function on the inputs, returning its outputs, the differentiable ones first.
        eager: the same work as a user of PyTorch writes it, the same outputs.
        inputs: leaves and targets.
        forward_bytes: least possible traffic of the forward without gradients.
        training_bytes: of forward and backward.
    """

    function: str
    size: str
    dtype: torch.dtype
    target: torch.dtype
    fused: Function
    eager: Function
    inputs: Callable[[], list[Tensor]]
    forward_bytes: int
    training_bytes: int

    @property
    def name(self) -> str:
        kinds = "" if self.target == torch.float32 == self.dtype else f" {short(self.dtype)}"
        kinds += f"/{short(self.target)}" if kinds else ""
        return f"{self.function} {self.size}{kinds}"


def short(dtype: torch.dtype) -> str:
    names = {torch.float32: "f32", torch.bfloat16: "bf16", torch.uint8: "u8"}
    return names.get(dtype, str(dtype))


def _target(target: Tensor) -> Tensor:
    return target / 255 if target.dtype == torch.uint8 else target


def _eager_bce(logits: Tensor, target: Tensor) -> Tensor:
    # In float32, as our kernel and as autocast do: a half-precision sum would be useless.
    logits, target = logits.float(), _target(target).float()
    return F.binary_cross_entropy_with_logits(logits, target, reduction="sum") / len(logits)


def _eager_kl(mu: Tensor, logvar: Tensor) -> Tensor:
    return -0.5 * (1 + logvar - mu.pow(2) - logvar.exp()).sum(1)


def fused_loss(logits: Tensor, target: Tensor, mu: Tensor, logvar: Tensor) -> tuple[Tensor, ...]:
    return (vf.vae_loss(logits, target, mu, logvar),)


def eager_loss(logits: Tensor, target: Tensor, mu: Tensor, logvar: Tensor) -> tuple[Tensor, ...]:
    kl = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
    return (_eager_bce(logits, target) + kl / len(logits),)


def fused_elbo(
    logits: Tensor, target: Tensor, mu: Tensor, logvar: Tensor, z_grad: Tensor
) -> tuple[Tensor, ...]:
    z, kl = vf.reparameterize_kl(mu, logvar)
    out = vf.elbo_loss(logits, target, kl=kl)
    return (out.loss + torch.dot(z.view(-1), z_grad), out.recon, out.kl)


def eager_elbo(
    logits: Tensor, target: Tensor, mu: Tensor, logvar: Tensor, z_grad: Tensor
) -> tuple[Tensor, ...]:
    std = torch.exp(0.5 * logvar)
    z = mu + std * torch.randn_like(std)
    recon, kl = _eager_bce(logits, target), _eager_kl(mu, logvar).mean()
    return (recon + kl + torch.dot(z.view(-1), z_grad), recon.detach(), kl.detach())


def fused_sample(mu: Tensor, logvar: Tensor) -> tuple[Tensor, ...]:
    return vf.reparameterize_kl(mu, logvar)


def eager_sample(mu: Tensor, logvar: Tensor) -> tuple[Tensor, ...]:
    std = torch.exp(0.5 * logvar)
    return mu + std * torch.randn_like(std), _eager_kl(mu, logvar)


def fused_categorical(logits: Tensor) -> tuple[Tensor, ...]:
    return vf.gumbel_softmax_kl(logits, 0.7)


def eager_categorical(logits: Tensor) -> tuple[Tensor, ...]:
    log_q = F.log_softmax(logits, -1)
    kl = (log_q.exp() * (log_q + math.log(logits.shape[-1]))).sum((1, 2))
    return F.gumbel_softmax(logits, 0.7), kl


def fused_kl(mu: Tensor, logvar: Tensor) -> tuple[Tensor, ...]:
    return (vf.gaussian_kl(mu, logvar),)


def eager_kl(mu: Tensor, logvar: Tensor) -> tuple[Tensor, ...]:
    return (_eager_kl(mu, logvar).mean(),)


def fused_bernoulli(logits: Tensor, target: Tensor) -> tuple[Tensor, ...]:
    return (vf.bernoulli_nll(logits, target),)


def eager_bernoulli(logits: Tensor, target: Tensor) -> tuple[Tensor, ...]:
    return (_eager_bce(logits, target),)


def _gaussian(mean: Tensor, target: Tensor, logvar: Tensor) -> Tensor:
    return 0.5 * ((mean - target).square() * torch.exp(-logvar) + logvar)


def _laplace(loc: Tensor, target: Tensor, logscale: Tensor) -> Tensor:
    return (loc - target).abs() * torch.exp(-logscale) + logscale


def _poisson(log_rate: Tensor, target: Tensor) -> Tensor:
    return F.poisson_nll_loss(log_rate, target, log_input=True, full=False, reduction="none")


# By the names of the registry, as a user of PyTorch writes them.
EAGER = {"gaussian": _gaussian, "laplace": _laplace, "poisson": _poisson}


def likelihood_functions(name: str) -> tuple[Function, Function]:
    """The fused and the eager negative log-likelihood of a row of the registry."""
    nll, elements = getattr(vf, f"{name}_nll"), EAGER[name]

    def fused(x: Tensor, target: Tensor, *second: Tensor) -> tuple[Tensor, ...]:
        return (nll(x, target, *second, full=False),)

    def eager(x: Tensor, target: Tensor, *second: Tensor) -> tuple[Tensor, ...]:
        return (elements(x, target, *second).sum() / len(x),)

    return fused, eager


def _leaf(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape).to(dtype).requires_grad_()


def _targets(rows: int, cols: int, dtype: torch.dtype) -> Tensor:
    if dtype == torch.uint8:
        return torch.randint(0, 256, (rows, cols), dtype=torch.uint8)
    return torch.rand(rows, cols).to(dtype)


def _with_target(
    function: str,
    size: str,
    fused: Function,
    eager: Function,
    *,
    latent: bool = False,
    noise: bool = False,
    second: str = "",
    dtype: torch.dtype = torch.float32,
    target: torch.dtype = torch.float32,
) -> Case:
    rows, cols, z = SIZES[size]
    shape = {"element": (rows, cols), "column": (cols,), "": (0,)}[second]

    def inputs() -> list[Tensor]:
        tensors = [_leaf(rows, cols, dtype=dtype), _targets(rows, cols, target)]
        if second:
            tensors.append(_leaf(*shape))
        if latent:
            tensors += [_leaf(rows, z), _leaf(rows, z)]
        if noise:
            tensors.append(torch.randn(rows * z))
        return tensors

    # Read parameters and target once, write the gradients once; mu and logvar likewise.
    parameters = rows * cols * dtype.itemsize + 4 * math.prod(shape)
    parameters += 8 * rows * z if latent else 0
    read, written = parameters + rows * cols * target.itemsize, parameters
    if noise:  # z is written, and read again with its gradient
        read, written = read + 4 * rows * z, written + 12 * rows * z
    return Case(function, size, dtype, target, fused, eager, inputs, read, read + written)


def _latent_only(function: str, rows: int, z: int, fused: Function, eager: Function) -> Case:
    f32 = torch.float32
    count = rows * z
    # mu and logvar read twice, two gradients written; sampling writes z and reads its gradient.
    sampled = 4 * count if function == "sample + KL" else 0
    return Case(
        function,
        f"{rows}x{z}",
        f32,
        f32,
        fused,
        eager,
        lambda: [_leaf(rows, z), _leaf(rows, z)],
        8 * count + sampled,
        24 * count + 2 * sampled,
    )


def _categorical(*shape: int) -> Case:
    f32 = torch.float32
    count = math.prod(shape)
    # Logits read and the sample written; logits and its gradient read, theirs written.
    return Case(
        "sample categorical",
        "x".join(map(str, shape)),
        f32,
        f32,
        fused_categorical,
        eager_categorical,
        lambda: [_leaf(*shape)],
        8 * count,
        20 * count,
    )


def cases() -> list[Case]:
    """Every case, small sizes first."""
    bf16, u8 = torch.bfloat16, torch.uint8
    found = []
    for size in SIZES:
        found.append(_with_target("loss", size, fused_loss, eager_loss, latent=True))
        for options in ({"dtype": bf16}, {"dtype": bf16, "target": u8}, {"target": u8}):
            case = _with_target("loss", size, fused_loss, eager_loss, latent=True, **options)
            found.append(case)
        if size != "64Mi":
            elbo = _with_target(
                "sample + ELBO", size, fused_elbo, eager_elbo, latent=True, noise=True
            )
            found += [
                elbo,
                _with_target("Bernoulli", size, fused_bernoulli, eager_bernoulli),
                *(
                    _with_target(function, size, *likelihood_functions(name), second=second)
                    for function, name, second in (
                        ("Gaussian", "gaussian", "element"),
                        ("Gaussian column", "gaussian", "column"),
                        ("Laplace", "laplace", "element"),
                        ("Poisson", "poisson", ""),
                    )
                ),
            ]
    for rows, z in ((128, 20), (4096, 512)):
        found.append(_latent_only("sample + KL", rows, z, fused_sample, eager_sample))
        found.append(_latent_only("KL", rows, z, fused_kl, eager_kl))
    found += [_categorical(*shape) for shape in ((128, 30, 10), (1024, 32, 32), (64, 32, 1024))]
    return found
