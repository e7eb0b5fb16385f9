"""gradcheck and gradgradcheck in float64: reverse, forward and batched, for every call."""

from __future__ import annotations

import pytest
import torch
from support.cases import CALL_IDS, CALLS, Case
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

import vae_fast as vf


@pytest.mark.parametrize(("case", "reduction"), CALLS, ids=CALL_IDS)
def test_calls(backend: str, case: Case, reduction: str) -> None:
    inputs = case.make(batch=2, event=(3,), latent=2, dtype=torch.float64)
    names = [name for name, t in inputs.items() if t.requires_grad]

    def call(*leaves: Tensor) -> Tensor:
        return case.call(inputs | dict(zip(names, leaves, strict=True)), reduction)

    leaves = [inputs[name] for name in names]
    assert gradcheck(call, leaves, check_forward_ad=True, check_batched_grad=True)
    assert gradgradcheck(call, leaves)


@pytest.mark.parametrize("given", ["seed", "eps"])
@pytest.mark.parametrize("samples", [None, 2])
def test_sampling(backend: str, samples: int | None, given: str) -> None:
    mu, logvar = (torch.randn(2, 3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    shape = (2, 3) if samples is None else (samples, 2, 3)
    eps = torch.randn(shape, dtype=torch.float64, requires_grad=True)

    def call(mu: Tensor, logvar: Tensor, *eps: Tensor) -> tuple[Tensor, ...]:
        if eps:
            return vf.reparameterize_kl(mu, logvar, eps=eps[0], num_samples=samples)
        z = vf.reparameterize(mu, logvar, seed=4, num_samples=samples)
        return (z, *vf.reparameterize_kl(mu, logvar, seed=5, num_samples=samples))

    inputs = (mu, logvar) if given == "seed" else (mu, logvar, eps)
    assert gradcheck(call, inputs, check_forward_ad=True, check_batched_grad=True)
    assert gradgradcheck(call, inputs)


@pytest.mark.parametrize("name", ["target", "weight", "beta"])
def test_inputs_that_rarely_need_gradients(backend: str, name: str) -> None:
    x, t, w = (torch.rand(2, 3, dtype=torch.float64) for _ in range(3))
    values = {"target": t, "weight": w, "beta": torch.tensor(0.5, dtype=torch.float64)}
    values[name].requires_grad_()
    kl = torch.rand(2, dtype=torch.float64)

    def call(value: Tensor) -> Tensor:
        used = values | {name: value}
        return vf.elbo_loss(x, kl=kl, **used).loss  # type: ignore[arg-type]

    assert gradcheck(call, (values[name],), check_forward_ad=True)
    assert gradgradcheck(call, (values[name],))
