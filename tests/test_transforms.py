"""torch.func: vmap with every randomness, grad, jvp, hessian, jacrev, and their compilation."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from support.cases import CALL_IDS, CALLS, Case
from torch import Tensor
from torch.func import functional_call, grad, hessian, jacrev, jvp, vjp, vmap

import vae_fast as vf
from vae_fast.reference.noise import normal


@pytest.mark.parametrize(("case", "reduction"), CALLS, ids=CALL_IDS)
def test_jvp_agrees_with_reverse_mode(case: Case, reduction: str) -> None:
    inputs = case.make(dtype=torch.float64)
    names = [name for name, t in inputs.items() if t.requires_grad]
    leaves = tuple(inputs[name].detach() for name in names)
    tangents = tuple(torch.randn_like(t) for t in leaves)

    def call(*values: Tensor) -> Tensor:
        return case.call(inputs | dict(zip(names, values, strict=True)), reduction)

    result, tangent = jvp(call, leaves, tangents)
    cotangent = torch.randn_like(result)
    _, pull = vjp(call, *leaves)
    reverse = sum((g * t).sum() for g, t in zip(pull(cotangent), tangents, strict=True))
    assert (tangent != 0).any()
    torch.testing.assert_close((tangent * cotangent).sum(), reverse)


def test_forward_mode_tangent_has_the_dtype_of_the_result(backend: str) -> None:
    mu, logvar, x, t = torch.randn(3, 2), torch.randn(3, 2), torch.randn(3, 4), torch.rand(3, 4)
    ones = torch.ones_like(mu)
    for reduction, beta, factor in (("sum", 1.0, 1.0), ("batchmean", 0.5, 1 / 6)):
        _, tangent = jvp(
            lambda m, r=reduction, b=beta: vf.vae_loss(x, t, m, logvar, beta=b, reduction=r),
            (mu,),
            (ones,),
        )
        torch.testing.assert_close(tangent, factor * mu.sum())


def test_per_sample_gradients(backend: str) -> None:
    layer = torch.nn.Linear(3, 5)
    parameters = dict(layer.named_parameters())
    data, target = torch.randn(4, 3), torch.rand(4, 5)

    def loss(p: dict[str, Tensor], x: Tensor, t: Tensor) -> Tensor:
        return vf.bernoulli_nll(functional_call(layer, p, (x[None],)), t[None])

    batched = vmap(grad(loss), in_dims=(None, 0, 0))(parameters, data, target)
    for i in range(4):
        single = grad(loss)(parameters, data[i], target[i])
        for name, value in single.items():
            torch.testing.assert_close(batched[name][i], value)


def test_hessian_is_diagonal_and_right(backend: str) -> None:
    mu, logvar = torch.randn(2, 3, dtype=torch.float64), torch.randn(2, 3, dtype=torch.float64)
    of_mu = hessian(lambda m: vf.gaussian_kl(m, logvar, reduction="sum"))(mu).reshape(6, 6)
    of_logvar = hessian(lambda v: vf.gaussian_kl(mu, v, reduction="sum"))(logvar).reshape(6, 6)
    torch.testing.assert_close(of_mu, torch.eye(6, dtype=torch.float64))
    torch.testing.assert_close(of_logvar, torch.diag(0.5 * logvar.exp().flatten()))


def test_jacrev_of_samples(backend: str) -> None:
    mu, logvar = torch.randn(1, 3), torch.randn(1, 3)
    jacobian = jacrev(lambda m: vf.reparameterize(m, logvar, seed=1))(mu)
    torch.testing.assert_close(jacobian.reshape(3, 3), torch.eye(3))


def test_vmap_randomness(backend: str) -> None:
    zero = torch.zeros(3, 1, 8)

    def sample(m: Tensor) -> Tensor:
        return vf.reparameterize(m, m)

    same = vmap(sample, randomness="same")(zero)
    assert torch.equal(same[0], same[1]) and torch.equal(same[0], same[2])
    different = vmap(sample, randomness="different")(zero)
    assert not torch.equal(different[0], different[1])
    assert different.abs().max() < 7
    with pytest.raises(RuntimeError, match="randomness"):
        vmap(sample, randomness="error")(zero)


def test_vmap_over_seeds() -> None:
    zero = torch.zeros(2, 5)
    seeds = torch.tensor([[3], [4], [-5]])
    z = vmap(lambda s: vf.reparameterize(zero, zero, seed=s))(seeds)
    for got, seed in zip(z, seeds, strict=True):
        assert torch.equal(got.reshape(-1), normal(seed, (10,)))


X, T = torch.randn(3, 4), torch.rand(3, 4)
TRANSFORMS: dict[str, Callable[[Tensor], Tensor]] = {
    "grad": grad(lambda x: vf.bernoulli_nll(x, T)),
    "vmap": vmap(lambda x: vf.bernoulli_nll(x[None], T[:1])),
    "vmap-grad": vmap(grad(lambda x: vf.bernoulli_nll(x[None], T[:1]))),
    "jvp": lambda x: jvp(lambda v: vf.bernoulli_nll(v, T), (x,), (torch.ones_like(x),))[1],
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_compiled_transforms(name: str) -> None:
    transform = TRANSFORMS[name]
    want = transform(X)
    assert (want != 0).any()
    torch.testing.assert_close(torch.compile(transform, fullgraph=True)(X), want)
