"""Plans of Triton's operators: no call gets another's, and a repeated one takes the short way.

Under the interpreter: results of mixed calls against the reference. Without: what a stand-in for
Triton's driver is told to launch against what Triton itself chooses for the same arguments.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
import torch
from support.compare import assert_same_bits
from torch import Tensor

pytest.importorskip("triton", reason="needs Triton")
pytest.importorskip("benchmarks", reason="run from a checkout, not from a wheel")

from triton.runtime.jit import JITFunction

import vae_fast as vf
from benchmarks.host import no_gpu
from vae_fast.ops import extension
from vae_fast.triton import categorical, latent, likelihood
from vae_fast.triton.launch import Launch

OPS = torch.ops.vae_fast
PLANS = [
    likelihood._plan,
    latent._sample_plan,
    latent._sample_backward_plan,
    latent._kl_plan,
    categorical._sample_plan,
    categorical._backward_plan,
]
KL, MU, LOGVAR = (1 << bit for bit in (8, 9, 10))  # bits of `wants`
Call = Callable[[], list[Tensor]]


def plans_made() -> int:
    return sum(plan.cache_info().misses for plan in PLANS)


def forget_plans() -> None:
    for plan in PLANS:
        plan.cache_clear()


@pytest.fixture(autouse=True)
def _no_plans() -> None:
    forget_plans()


def layouts(shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """Tensors of one shape that differ in layout or address."""
    rows, *event = shape
    return {
        "dense": torch.rand(shape).to(dtype),
        "offset": torch.rand(rows * torch.Size(event).numel() + 1).to(dtype)[1:].view(shape),
        "sliced": torch.rand(rows, 2 * event[0], *event[1:]).to(dtype)[:, : event[0]],
        "every second row": torch.rand(2 * rows, *event).to(dtype)[::2],
        "transposed": torch.rand(*shape[:-2], shape[-1], shape[-2]).to(dtype).mT,
        "one row": torch.rand(1, *event).to(dtype).expand(shape),
        "one value a row": torch.rand(rows, *[1] * len(event)).to(dtype).expand(shape),
    }


def calls(event: tuple[int, int] = (3, 4)) -> dict[str, Call]:
    """Calls that differ from one another in little: a plan for one is wrong for most others."""
    shape, found = (4, *event), {}
    mu, logvar = torch.randn(4, 6), torch.randn(4, 6)
    kl, one, two = torch.rand(4), torch.ones(()), torch.tensor(2.0)
    x, t = torch.randn(shape), torch.rand(shape)
    seed = torch.tensor([3])

    def loss(
        name: str, x: Tensor, t: Tensor, v: Any = None, w: Any = None, kl: Any = None,
        m: Any = None, beta_tensor: Any = None, beta: float = 0.5, kind: int = 0,
        constant: float = 0.0, reduction: int = 2, wants: int = 1, grad: Tensor = two,
    ) -> None:  # fmt: skip
        params, constants = [x] if v is None else [x, v], [constant, 1.0]
        args = (params, t, None, None, w, kl, m, m, beta_tensor, beta, kind, constants, reduction)
        found[f"loss, {name}"] = lambda: flat(OPS.elbo_with_grad(*args, wants))
        found[f"gradients, {name}"] = lambda: flat(OPS.elbo_backward(grad, *args, wants))
        if reduction in (2, 3, 4):
            found[f"again, {name}"] = lambda: again(grad, args, wants)

    loss("dense", x, t)
    for name, other in layouts(shape).items():
        loss(f"logits {name}", other, t)
        loss(f"target {name}", x, other)
        loss(f"both {name}", other, other.clone())
        loss(f"weight {name}", x, t, w=other)
    for dtype in (torch.bfloat16, torch.float64):
        loss(f"{dtype}", x.to(dtype), t.to(dtype))
        loss(f"logits {dtype}", x.to(dtype), t if dtype != torch.float64 else t.double())
    loss("bytes", x, (255 * t).byte())
    loss("bits", x, t > 0.5)
    loss("flat", x.view(4, -1), t.view(4, -1))
    loss("another batch", x[:3], t[:3])
    loss("samples", torch.randn(2, *shape), t)
    loss("given KL", x, t, kl=kl, wants=1 | KL)
    loss("given KL, its gradient alone", x, t, kl=kl, wants=KL)
    loss("given KL with stride", x, t, kl=torch.rand(8)[::2], wants=1 | KL)
    loss("given KL of one value", x, t, kl=torch.rand(1).expand(4), wants=1 | KL)
    loss("given KL, beta", x, t, kl=kl, wants=1 | KL, beta=2.0)
    loss("given KL, beta a tensor", x, t, kl=kl, wants=1 | KL, beta_tensor=torch.tensor(0.25))
    loss(
        "given KL, beta a double",
        x,
        t,
        kl=kl,
        wants=1 | KL,
        beta_tensor=torch.tensor(0.25).double(),
    )
    loss("latent", x, t, m=mu, wants=1 | MU | LOGVAR)
    loss("latent, one gradient", x, t, m=mu, wants=1 | MU)
    loss("latent, no gradient of its own", x, t, m=mu, wants=1)
    loss("latent transposed", x, t, m=torch.randn(6, 4).mT, wants=1 | MU | LOGVAR)
    loss("latent bfloat16", x, t, m=mu.bfloat16(), wants=1 | MU | LOGVAR)
    loss("gaussian", x, t, kind=1)
    loss("gaussian, constant", x, t, kind=1, constant=0.9)
    loss("gaussian, log-variances", x, t, v=torch.randn(shape), kind=1, wants=3)
    loss("gaussian, shared log-variance", x, t, v=torch.tensor(0.3), kind=1, wants=3)
    loss("gaussian, log-variances of columns", x, t, v=torch.randn(event), kind=1, wants=3)
    loss("gaussian, log-variances of samples", x, t, v=torch.randn(4, 1, 1), kind=1, wants=3)
    loss("laplace", x, t, kind=2)
    loss("laplace, scales", x, t, v=torch.randn(shape), kind=2, wants=3)
    loss("poisson", x, (9 * t).int(), kind=3)
    loss("poisson, bytes", x, (9 * t).byte(), kind=3)
    loss("mask", x, t, w=t > 0.5)
    loss("draws", torch.randn(2, *shape), t, reduction=5, grad=torch.randn(2, 4))
    for reduction, grad in ((0, torch.randn(shape)), (1, torch.randn(4)), (3, two), (4, two)):
        loss(f"reduction {reduction}", x, t, kl=kl if reduction else None, reduction=reduction,
             wants=1 | KL if reduction else 1, grad=grad)  # fmt: skip
    loss("rows with one gradient", x, t, reduction=1, grad=torch.randn(1).expand(4))
    loss("elements, gradient transposed", x, t, reduction=0, grad=torch.randn(4, *event[::-1]).mT)

    def sample(name: str, m: Tensor, v: Tensor, eps: Any = None, n: Any = None, kl: bool = True,
               given: Any = seed) -> None:  # fmt: skip
        draw = (m, v, None if eps is not None else given, eps)
        found[f"sample, {name}"] = lambda: flat(OPS.reparameterize_kl_raw(*draw, n, kl))
        grad_z = torch.randn(m.shape if n is None else (n, *m.shape))
        grads = (grad_z.to(m.dtype), torch.rand(m.shape[0]) if kl else None)
        found[f"sampled, {name}"] = lambda: flat(OPS.reparameterize_kl_backward(*grads, *draw))

    sample("dense", mu, logvar)
    for name, other in layouts((4, 6)).items():
        sample(f"mean {name}", other, logvar)
        sample(f"both {name}", other, other.clone())
    sample("another seed", mu, logvar, given=torch.tensor([4]))
    sample("bfloat16", mu.bfloat16(), logvar.bfloat16())
    sample("eps", mu, logvar, eps=torch.randn(4, 6))
    sample("eps transposed", mu, logvar, eps=torch.randn(6, 4).mT)
    sample("draws", mu, logvar, n=1)
    sample("more draws", mu, logvar, n=3)
    sample("no KL", mu, logvar, kl=False)
    sample("whole groups", mu[:, :4].contiguous(), logvar[:, :4].contiguous())

    def divergence(name: str, m: Tensor, v: Tensor, pm: Any = None, pv: Any = None,
                   reduction: int = 2, wants: int = 3, grad: Tensor = two) -> None:  # fmt: skip
        args = (m, v, pm, pv, reduction)
        found[f"KL, {name}"] = lambda: flat(OPS.gaussian_kl_raw(*args))
        found[f"KL's gradients, {name}"] = lambda: flat(
            OPS.gaussian_kl_backward(grad, *args, wants)
        )

    divergence("dense", mu, logvar)
    divergence("gradient one", mu, logvar, grad=one)
    divergence("one gradient", mu, logvar, wants=2)
    divergence("priors", mu, logvar, mu + 1, logvar - 1, wants=15)
    divergence("prior mean", mu, logvar, mu + 1, wants=5)
    divergence("prior log-variance", mu, logvar, None, mu, wants=11)
    for name, other in layouts((4, 6)).items():
        divergence(f"mean {name}", other, logvar)
        divergence(f"prior {name}", mu, logvar, other)
    for reduction, grad in ((0, torch.randn(4, 6)), (1, torch.randn(4)), (3, two), (4, two)):
        divergence(f"reduction {reduction}", mu, logvar, reduction=reduction, grad=grad)
    divergence("float64", mu.double(), logvar.double(), grad=two.double())

    def gumbel(name: str, logits: Tensor, given: Tensor = seed, tau: Tensor | None = None,
               number: float = 0.5, hard: bool = False, wants: int = 3) -> None:  # fmt: skip
        found[f"Gumbel, {name}"] = lambda: flat(
            OPS.gumbel_softmax_kl_raw(logits, given, tau, number, hard)
        )
        grads = [torch.randn(logits.shape).to(logits.dtype), torch.rand(len(logits))]
        grad_y, grad_kl = (g if wants >> bit & 1 else None for bit, g in enumerate(grads))
        found[f"Gumbel's gradient, {name}"] = lambda: flat(
            OPS.gumbel_softmax_kl_backward(grad_y, grad_kl, logits, given, tau, number)
        )

    gumbel("another seed", x, given=torch.tensor([4]))
    gumbel("hard", x, hard=True)
    gumbel("another temperature", x, number=0.7)
    gumbel("temperature a tensor", x, tau=torch.tensor(0.7))
    gumbel("gradient of the sample", x, wants=1)
    gumbel("gradient of the KL", x, wants=2)
    gumbel("bfloat16", x.bfloat16())
    for name, other in layouts(shape).items():
        gumbel(name, other)
    return found


def again(grad: Tensor, args: tuple[Any, ...], wants: int) -> list[Tensor]:
    """Gradients in the places of those that a forward has written."""
    params, (kl, mu, logvar) = args[0], args[5:8]
    wanted = [*enumerate(params), (8, kl), (9, mu), (10, logvar)]
    gradients = [torch.full_like(t, 7.0) for bit, t in wanted if wants >> bit & 1]
    OPS.elbo_regrad(grad, gradients, *args, wants)
    return gradients


def flat(results: Any) -> list[Tensor]:
    """The tensors of an operator's result."""
    if isinstance(results, Tensor):
        return [results]
    return [t for part in results for t in flat(part)]


INTERPRETED = bool(os.environ.get("TRITON_INTERPRET"))
interpreted = pytest.mark.skipif(not INTERPRETED, reason="needs TRITON_INTERPRET=1")
compiled = pytest.mark.skipif(INTERPRETED, reason="the interpreter compiles nothing")


def assert_near(got: list[Tensor], want: list[Tensor], name: str) -> None:
    """Loosely: a plan that belongs to another call is wrong by far, if it does not fail."""
    for g, w in zip(got, want, strict=True):
        tolerance = 1e-2 if g.dtype == torch.bfloat16 else 1e-5
        torch.testing.assert_close(g, w, rtol=tolerance, atol=tolerance, msg=name)
        assert g.stride() == w.stride(), name


@interpreted
def test_mixed_calls_do_not_share_plans() -> None:
    """In two orders, so that a plan is used both before and after most others."""
    mixed = calls()
    fresh = {}
    with vf.backend("triton"):
        for name, call in mixed.items():
            forget_plans()
            fresh[name] = call()
        forget_plans()
        for seed in range(2):
            made = plans_made()
            for name in random.Random(seed).sample(list(mixed), len(mixed)):
                for got, want in zip(mixed[name](), fresh[name], strict=True):
                    assert_same_bits(got, want)
            assert (plans_made() == made) == (seed == 1), "the second time all plans are there"
    if extension.cpu_loaded():
        with vf.backend("cpu"):
            for name, call in mixed.items():
                if not name.startswith("again"):
                    assert_near(fresh[name], call(), name)


class Launched(list[tuple[Any, ...]]):
    """What the stand-in for Triton's driver was told to launch, and how often Triton was asked."""

    searches = 0

    def note(self, grid: int, _y: int, _z: int, _stream: int, binary: Any, *rest: Any) -> None:
        arguments = rest[4:]  # after metadata and hooks
        self.append((grid, binary, *(a for a in arguments if not isinstance(a, Tensor))))


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> Iterator[Launched]:
    launches = Launched()
    search = JITFunction.run

    def counted(self: Any, *args: Any, **options: Any) -> Any:
        launches.searches += 1
        return search(self, *args, **options)

    monkeypatch.setattr(JITFunction, "run", counted)
    with no_gpu(launches.note):
        yield launches


# Few compilations, and among them: the same plan at other addresses, other beta, other wants.
LAUNCHED = (
    "loss, dense",
    "loss, logits offset",
    "loss, logits sliced",
    "loss, torch.bfloat16",
    "loss, another batch",
    "loss, given KL",
    "loss, given KL, beta",
    "again, dense",
    "gradients, given KL, its gradient alone",
    "sample, dense",
    "sample, mean offset",
    "KL, dense",
    "Gumbel, dense",
    "Gumbel, another temperature",
)


@compiled
def test_a_repeated_call_launches_what_triton_would_choose(launched: Launched) -> None:
    # Long enough for accesses of 16 bytes, which only some addresses allow.
    mixed = {name: call for name, call in calls((8, 64)).items() if name in LAUNCHED}
    assert len(mixed) == len(LAUNCHED)

    def run(names: Sequence[str]) -> dict[str, tuple[Any, ...]]:
        found = {}
        for name in names:
            launched.clear()
            mixed[name]()
            (found[name],) = launched
        return found

    chosen = {}
    for name in mixed:
        forget_plans()
        chosen |= run([name])
    assert launched.searches == len(mixed)
    forget_plans()
    run(list(mixed))
    made, launched.searches = plans_made(), 0
    for seed in range(3):
        names = random.Random(seed).sample(list(mixed), len(mixed))
        assert run(names) == {name: chosen[name] for name in names}
    assert plans_made() == made
    offset = sum("offset" in name for name in mixed)
    assert launched.searches == 3 * offset, "only for addresses that are no multiples of 16"
    assert chosen["loss, dense"][1] != chosen["loss, logits offset"][1]
    assert chosen["loss, given KL"] != chosen["loss, given KL, beta"]


@compiled
def test_threads_share_plans(launched: Launched) -> None:
    names = [name for name in LAUNCHED if "offset" not in name]
    mixed = calls()
    for name in names:
        mixed[name]()
    want = Counter(launched)
    forget_plans()
    launched.clear()

    def work(seed: int) -> None:
        for name in random.Random(seed).sample(names * 25, len(names) * 25):
            mixed[name]()

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(work, range(4)))
    assert Counter(launched) == Counter({launch: 100 * n for launch, n in want.items()})


@compiled
def test_changing_sizes_do_not_pile_up(launched: Launched) -> None:
    limit = likelihood._plan.cache_info().maxsize
    x, t = torch.rand(3 * limit), torch.rand(3 * limit)
    with mock.patch.object(Launch, "__call__", lambda *args: None):
        for size in range(1, limit + 100):
            given = ([x[:size].view(1, -1)], t[:size].view(1, -1), *(None,) * 7)
            OPS.elbo_with_grad(*given, 0.5, 0, [0.0], 2, 1)
    assert likelihood._plan.cache_info().currsize == limit


def test_a_first_launch_while_a_graph_is_captured_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Kernel:
        arg_names = ("x",)
        fn = SimpleNamespace(__name__="kernel")
        launches = 0

        def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
            self.launches += 1
            return lambda *args, **options: None

    kernel, capturing = Kernel(), [True]
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: capturing[0])
    launch = Launch(kernel, 1, torch.device("cuda", 0), 4)
    with pytest.raises(RuntimeError, match="call the function once before capturing"):
        launch([torch.zeros(4)])
    assert kernel.launches == 0
    capturing[0] = False
    launch([torch.zeros(4)])
    capturing[0] = True
    launch([torch.zeros(4)])
    assert kernel.launches == 2


def test_a_launch_for_another_gpu_makes_it_the_current_one(monkeypatch: pytest.MonkeyPatch) -> None:
    current, launches = [0], []

    class Kernel:
        arg_names = ("x", "SIZE")

        def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
            return lambda *args, **options: launches.append((current[0], grid, args[1:]))

    @contextmanager
    def device(other: torch.device) -> Iterator[None]:
        before, current[0] = current[0], other.index
        yield
        current[0] = before

    monkeypatch.setattr(torch.cuda, "current_device", lambda: current[0])
    monkeypatch.setattr(torch.cuda, "device", device)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    for index in (0, 1, 0):
        Launch(Kernel(), 7, torch.device("cuda", index), 4, SIZE=16)([torch.empty(1)])
    assert launches == [(0, (7,), (16,)), (1, (7,), (16,)), (0, (7,), (16,))]
