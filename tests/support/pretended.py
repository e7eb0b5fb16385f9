"""A pretended GPU, to try the GPU tests without one: `pytest -p support.pretended -m gpu`.

A plugin. Tensors on "cuda" are CPU tensors that say they are there and refuse to meet others, and
the CPU's kernels stand for CUDA's. It shows what is wrong with devices in the tests and in the
package's Python code: a tensor made on the wrong one, two mixed, a result read as if it were on the
CPU. It shows nothing about kernels, and leaves out, by name, what it cannot pretend.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("cuda", 0)
# Compilers and transforms look through the pretence; of graphs, memory and launches there is none.
LEFT_OUT = (
    "triton",
    "test_compile",
    "test_transforms",
    "test_gradcheck",
    "test_gpu_launches",
    "test_gpu_sanitizer",
)
LEFT_OUT += ("checkpoint", "compiled", "autocast", "generator", "two_to_the_3", "2_31", "_context")
LEFT_OUT += ("failing_launch", "4194307", "16777217", "scaled_training")


class Pretender(Tensor):
    """A CPU tensor that says it is on a GPU."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> Pretender:
        self: Pretender = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device="cpu",
            requires_grad=inner.requires_grad,
        )
        self.inner = inner.detach()
        return self

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        claims = {Tensor.device: DEVICE, Tensor.is_cuda: True, Tensor.is_cpu: False}
        for claim, value in claims.items():
            if func == claim.__get__:
                return value
        if func in (Tensor.tolist, Tensor.data_ptr):
            return func(args[0].inner)
        return super().__torch_function__(func, types, args, kwargs or {})

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        # As on a GPU, a tensor without dimensions may be on the CPU; so may sources and indices.
        if "copy" not in str(func) and "index" not in str(func):
            strangers = [t for t in tensors if t.dim() and not isinstance(t, Pretender)]
            if strangers:
                shapes = [list(t.shape) for t in strangers]
                raise RuntimeError(f"{func} of tensors on cuda and on cpu, the latter {shapes}")
        result = func(*tree_map(_inner, args), **tree_map(_inner, kwargs or {}))
        if func._schema.is_mutable and func._schema.name.endswith("_"):  # in place
            return args[0]
        return tree_map(lambda t: Pretender(t) if isinstance(t, Tensor) else t, result)


def _inner(value: Any) -> Any:
    return value.inner if isinstance(value, Pretender) else value


class _ToGPU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, t: Tensor) -> Tensor:
        return Pretender(t)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return _inner(grad)


class _ToCPU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, t: Pretender) -> Tensor:
        return t.inner.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return Pretender(grad)


def _moved(t: Tensor, device: Any) -> Tensor:
    here = isinstance(t, Pretender)
    if torch.device(device).type == "cuda":
        return t if here else _ToGPU.apply(t)
    return _ToCPU.apply(t) if here else t


class Devices(TorchFunctionMode):
    """Makes and moves tensors where they are asked for."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is Tensor.cpu:
            return _moved(args[0], "cpu")
        if func is Tensor.numpy and isinstance(args[0], Pretender):
            raise TypeError("numpy of a tensor on a GPU")
        if func is Tensor.to:
            places = [a for a in args[1:] if isinstance(a, str | torch.device)]
            rest = [a for a in args[1:] if not isinstance(a, str | torch.device)]
            places += [kwargs.pop("device")] if kwargs.get("device") is not None else []
            t = _moved(args[0], places[0]) if places else args[0]
            return func(t, *rest, **kwargs) if rest or kwargs else t
        device = kwargs.get("device")
        if device is None or torch.device(device).type != "cuda":
            return func(*args, **kwargs)
        grad = kwargs.pop("requires_grad", False)
        result = func(*args, **kwargs | {"device": "cpu"})
        if isinstance(result, Tensor) and not isinstance(result, Pretender):
            result = Pretender(result)
        return result.requires_grad_() if grad else result


class Graph:
    """Replays by calling again and copying into the first results."""

    def __init__(self, call: Callable[[], Any], result: Any) -> None:
        self.call, self.result = call, result

    def replay(self) -> None:
        for old, new in zip(tree_leaves(self.result), tree_leaves(self.call()), strict=True):
            old.detach().copy_(new.detach())


class Stream:
    def query(self) -> bool:
        return False

    def wait_stream(self, other: Any) -> None: ...

    def synchronize(self) -> None: ...


def pytest_configure(config: pytest.Config) -> None:
    import conftest

    import vae_fast as vf
    from support import gpu
    from vae_fast.ops import routing

    chosen = ["auto"]

    @contextmanager
    def backend(name: str) -> Iterator[None]:
        chosen.append(name)
        yield
        chosen.pop()

    def captured(call: Callable[[], Any], *generators: torch.Generator) -> tuple[Graph, Any]:
        result = call()
        return Graph(call, result), result

    # No monkeypatch: this process does nothing else.
    vf.backend = backend  # type: ignore[assignment]
    routing.has_kernels = lambda tensor, general=False: chosen[-1] != "reference"
    conftest.missing = lambda place: ""
    gpu.captured = captured  # type: ignore[assignment]
    torch.cuda.Stream = Stream  # type: ignore[misc, assignment]
    torch.cuda.stream = lambda stream: nullcontext()  # type: ignore[assignment]
    torch.cuda.synchronize = torch.cuda.set_sync_debug_mode = torch.cuda._sleep = lambda *_: None
    Devices().__enter__()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left = [item for item in items if any(name in item.nodeid for name in LEFT_OUT)]
    config.hook.pytest_deselected(items=left)
    items[:] = [item for item in items if item not in set(left)]
