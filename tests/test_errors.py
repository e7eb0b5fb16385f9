"""Bad input raises before any kernel runs; messages name what, what it got, what it needs."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from support.places import Place
from torch import Tensor

import vae_fast as vf

X, T, KL = torch.randn(3, 4), torch.rand(3, 4), torch.rand(3)
MU, LOGVAR = torch.randn(3, 2), torch.randn(3, 2)
META = torch.empty(3, 4, device="meta")
META_LATENT = torch.empty(3, 2, device="meta")


def elbo(*params: Any, **options: Any) -> Any:
    # Not as defaults: the tensors of this module are moved to the device of the test.
    return vf.elbo_loss(*(params or (X,)), T, **({"kl": KL} | options))


Call = Callable[[], Any]
ERRORS: list[tuple[str, Call, type[Exception], tuple[str, ...]]] = [
    ("no tensor", lambda: vf.bernoulli_nll([1.0], T), TypeError, ("logits", "list", "Tensor")),
    ("no target", lambda: vf.bernoulli_nll(X, 1.0), TypeError, ("target", "float", "Tensor")),
    (
        "integer logits",
        lambda: vf.bernoulli_nll(X.long(), T),
        TypeError,
        ("logits", "int64", "float32"),
    ),
    (
        "integer target",
        lambda: vf.bernoulli_nll(X, T.long()),
        TypeError,
        ("target", "int64", "uint8"),
    ),
    (
        "integer target of a real likelihood",
        lambda: vf.laplace_nll(X, T.int()),
        TypeError,
        ("target", "int32", "[0, 1]"),
    ),
    (
        "complex counts",
        lambda: vf.poisson_nll(X, T.cfloat()),
        TypeError,
        ("target", "complex64", "int64"),
    ),
    (
        "elbo draw",
        lambda: elbo(reduction="draw"),
        ValueError,
        ("reduction", "'draw'", "'sample', 'batchmean' or 'sum'"),
    ),
    (
        "complex mean",
        lambda: vf.gaussian_nll(X.cfloat(), T),
        TypeError,
        ("mean", "complex64", "float32"),
    ),
    (
        "shapes",
        lambda: vf.bernoulli_nll(X, T[:, :3]),
        ValueError,
        ("target", "[3, 3]", "[3, 4]"),
    ),
    (
        "target with more dimensions",
        lambda: vf.bernoulli_nll(X, T[None]),
        ValueError,
        ("target", "[1, 3, 4]", "[3, 4]"),
    ),
    ("scalars", lambda: vf.bernoulli_nll(X[0, 0], T[0, 0]), ValueError, ("logits", "batch")),
    (
        "no Monte Carlo sample",
        lambda: vf.bernoulli_nll(torch.empty(0, 3, 4), T),
        ValueError,
        ("logits", "[0, 3, 4]", "at least one"),
    ),
    (
        "weight",
        lambda: vf.bernoulli_nll(X, T, weight=torch.rand(3)),
        ValueError,
        ("weight", "[3]", "[3, 4]"),
    ),
    (
        "weight dtype",
        lambda: vf.bernoulli_nll(X, T, weight=T.long()),
        TypeError,
        ("weight", "int64", "floating"),
    ),
    ("devices", lambda: vf.bernoulli_nll(X, META), ValueError, ("target", "meta", "cpu")),
    (
        "likelihood logvar",
        lambda: vf.gaussian_nll(X, T, torch.rand(3)),
        ValueError,
        ("logvar", "[3]", "[3, 4]"),
    ),
    (
        "likelihood logvar dtype",
        lambda: vf.gaussian_nll(X, T, T.long()),
        TypeError,
        ("logvar", "int64", "floating"),
    ),
    (
        "reduction",
        lambda: vf.bernoulli_nll(X, T, reduction="avg"),
        ValueError,
        ("reduction", "'avg'", "'batchmean'"),
    ),
    (
        "reduction None",
        lambda: vf.gaussian_kl(MU, LOGVAR, reduction=None),  # type: ignore[arg-type]
        ValueError,
        ("reduction", "None", "'batchmean'"),
    ),
    (
        "elbo mean",
        lambda: elbo(reduction="mean"),
        ValueError,
        ("reduction", "'mean'", "'sample', 'batchmean' or 'sum'", "different numbers"),
    ),
    (
        "elbo none",
        lambda: vf.vae_loss(X, T, MU, LOGVAR, reduction="none"),
        ValueError,
        ("reduction", "'none'", "'sample', 'batchmean' or 'sum'"),
    ),
    (
        "module reduction",
        lambda: vf.ELBOLoss(reduction="mean"),
        ValueError,
        ("reduction", "'mean'", "'batchmean'"),
    ),
    (
        "likelihood",
        lambda: elbo(likelihood="weibull"),
        ValueError,
        ("likelihood", "'weibull'", "'bernoulli'", "'gaussian'", "'laplace'", "'poisson'"),
    ),
    (
        "module likelihood",
        lambda: vf.ELBOLoss("normal"),
        ValueError,
        ("likelihood", "'normal'", "'gaussian'"),
    ),
    ("kl length", lambda: elbo(kl=torch.rand(2)), ValueError, ("kl", "[2]", "[3]")),
    ("kl shape", lambda: elbo(kl=torch.rand(3, 1)), ValueError, ("kl", "[3, 1]", "[3]")),
    ("kl dtype", lambda: elbo(kl=KL.long()), TypeError, ("kl", "int64", "floating")),
    ("kl twice", lambda: elbo(mu=MU, logvar=LOGVAR), ValueError, ("kl", "mu", "one or the other")),
    ("no kl", lambda: elbo(kl=None), ValueError, ("kl", "mu and logvar", "either")),
    ("half a posterior", lambda: elbo(kl=None, mu=MU), ValueError, ("mu and logvar", "either")),
    (
        "posterior batch",
        lambda: elbo(kl=None, mu=MU[:2], logvar=LOGVAR[:2]),
        ValueError,
        ("mu", "2", "3"),
    ),
    ("beta", lambda: elbo(beta="1"), TypeError, ("beta", "str", "number")),
    ("beta shape", lambda: elbo(beta=torch.ones(3)), ValueError, ("beta", "[3]", "0-dimensional")),
    ("pair", lambda: elbo((X, X, X), likelihood="gaussian"), ValueError, ("params", "3", "(mean")),
    ("bernoulli pair", lambda: elbo((X, X)), ValueError, ("params", "2", "(logits)")),
    ("params no tensor", lambda: elbo(1.0), TypeError, ("params", "float", "Tensor")),
    ("mu dtype", lambda: vf.gaussian_kl(MU.long(), LOGVAR), TypeError, ("mu", "int64", "float32")),
    (
        "mu and logvar",
        lambda: vf.reparameterize(MU, LOGVAR[:, :1]),
        ValueError,
        ("logvar", "[3, 1]", "[3, 2]"),
    ),
    (
        "mu and logvar devices",
        lambda: vf.reparameterize_kl(MU, META_LATENT),
        ValueError,
        ("logvar", "meta", "cpu"),
    ),
    ("scalar mu", lambda: vf.gaussian_kl(MU[0, 0], MU[0, 0]), ValueError, ("mu", "batch")),
    ("no mu", lambda: vf.reparameterize(None, MU), TypeError, ("mu", "NoneType")),  # type: ignore[arg-type]
    (
        "prior",
        lambda: vf.gaussian_kl(MU, LOGVAR, torch.rand(3)),
        ValueError,
        ("prior_mu", "[3]", "[3, 2]"),
    ),
    (
        "prior dtype",
        lambda: vf.gaussian_kl(MU, LOGVAR, None, MU.long()),
        TypeError,
        ("prior_logvar", "int64", "floating"),
    ),
    (
        "no samples",
        lambda: vf.reparameterize(MU, LOGVAR, num_samples=0),
        ValueError,
        ("num_samples", "0", "at least 1"),
    ),
    (
        "fractional samples",
        lambda: vf.reparameterize(MU, LOGVAR, num_samples=1.5),  # type: ignore[arg-type]
        TypeError,
        ("num_samples", "float", "int"),
    ),
    (
        "eps shape",
        lambda: vf.reparameterize(MU, LOGVAR, eps=MU, num_samples=2),
        ValueError,
        ("eps", "[3, 2]", "[2, 3, 2]"),
    ),
    (
        "eps and seed",
        lambda: vf.reparameterize(MU, LOGVAR, eps=MU, seed=1),
        ValueError,
        ("eps", "seed", "at most one"),
    ),
    ("seed type", lambda: vf.reparameterize(MU, LOGVAR, seed=1.0), TypeError, ("seed", "float")),  # type: ignore[arg-type]
    (
        "seed range",
        lambda: vf.reparameterize(MU, LOGVAR, seed=2**64),
        ValueError,
        ("seed", str(2**64), "64-bit"),
    ),
    (
        "seed tensor",
        lambda: vf.reparameterize(MU, LOGVAR, seed=torch.rand(2)),
        ValueError,
        ("seed", "float32", "[2]", "int64"),
    ),
]


@pytest.mark.parametrize(
    ("call", "error", "words"), [e[1:] for e in ERRORS], ids=[e[0] for e in ERRORS]
)
def test_bad_input(
    place: Place, backend: str, call: Call, error: type[Exception], words: tuple[str, ...]
) -> None:
    with pytest.raises(error) as caught:
        call()
    for word in words:
        named = place.device if word == "cpu" else word
        assert named in str(caught.value), str(caught.value)


def test_no_operator_runs_on_bad_input(monkeypatch: pytest.MonkeyPatch) -> None:
    from vae_fast import functional, likelihood
    from vae_fast.ops import latent

    def never(*args: object) -> None:
        raise AssertionError("an operator ran")

    for module in (functional, likelihood):
        monkeypatch.setattr(module, "_elbo_operator", never)
    for name in ("reparameterize_kl", "gaussian_kl"):
        monkeypatch.setattr(latent, name, never)
    for _, call, error, _ in ERRORS:
        with pytest.raises(error):
            call()


def test_mixed_half_and_single_precision_latents_are_promoted(backend: str) -> None:
    z, kl = vf.reparameterize_kl(MU.bfloat16(), LOGVAR, seed=1)
    assert z.dtype == torch.float32
    torch.testing.assert_close(
        kl, vf.gaussian_kl(MU.bfloat16().float(), LOGVAR, reduction="sample")
    )


@pytest.mark.cpu_only
def test_meta_tensors_have_shapes() -> None:
    latent = torch.empty(5, 3, device="meta")
    z, kl = vf.reparameterize_kl(latent, latent, num_samples=2)
    assert (z.shape, kl.shape) == ((2, 5, 3), (5,))
    logits = torch.empty(5, 4, device="meta")
    out = vf.elbo_loss(logits, logits, kl=kl)
    assert [t.shape for t in out] == [(), (), ()]


@pytest.mark.cpu_only
def test_module_shows_its_settings() -> None:
    module = vf.ELBOLoss("gaussian", beta=0.5, reduction="sum")
    assert repr(module) == "ELBOLoss(likelihood='gaussian', beta=0.5, reduction='sum')"
    want: Tensor = vf.elbo_loss(X, T, kl=KL, beta=0.5, likelihood="gaussian", reduction="sum").loss
    assert torch.equal(module(X, T, kl=KL).loss, want)


@pytest.mark.cpu_only
def test_public_names_are_documented() -> None:
    for name in vf.__all__:
        value = getattr(vf, name)
        if not callable(value) or name in ("backend", "get_backend"):
            continue
        assert value.__doc__, name
        if re.match(r"[a-z]", name) and name != "set_backend":
            for part in ("Args:", "Returns:", "Raises:", "Source:"):
                assert part in value.__doc__, (name, part)
