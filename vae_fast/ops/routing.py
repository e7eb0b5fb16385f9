"""The four ways into a kernel, chosen per call for a fraction of a microsecond.

1. functorch transforms, forward-mode AD, `torch.jit.trace` and `torch.onnx.export`: a composite of
   PyTorch operators (the reference), which all of them understand;
2. `torch.compile` and `torch.export`: the registered operator, with its autograd formula;
3. no input needs a gradient: the raw operator;
4. else an old-style `autograd.Function` around raw operators, at half the cost of
   `register_autograd`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from .backend import has_kernels

Composite = Callable[..., tuple[Tensor, ...]]


def transforms_active() -> bool:
    """Whether functorch or forward-mode AD looks at the operators that run now."""
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


def use_composite(leader: Tensor, general: bool = False) -> bool:
    """Whether this call, maybe of what CUDA C++ has no kernels for, is composed of PyTorch's."""
    return (
        transforms_active()
        or torch._C._get_tracing_state() is not None
        or (torch.compiler.is_exporting() and _in_onnx_export())
        or not has_kernels(leader, general)
    )


def _in_onnx_export() -> bool:
    return torch.onnx.is_in_onnx_export()


# Dynamo takes PyTorch's answer to be False, unless it calls this. What `assume_constant_result` of
# torch.compiler sets, which would import Dynamo now, and Triton with it.
_in_onnx_export._dynamo_marked_constant = True  # type: ignore[attr-defined]


def exports_to_onnx() -> bool:
    """Whether this call becomes a part of an ONNX graph."""
    traced = torch.compiler.is_exporting() or torch._C._get_tracing_state() is not None
    return traced and _in_onnx_export()


def needs_grad(*tensors: Tensor | None) -> bool:
    """Whether autograd records a call with these inputs."""
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)


def needs_composite_backward(*grads: Tensor | None) -> bool:
    """Whether a backward is itself recorded or batched, and so composed of PyTorch operators."""
    if torch.is_grad_enabled() or transforms_active():
        return True
    if torch.compiler.is_compiling():  # compiled autograd
        return False
    # `is_grads_batched=True` still goes through the vmap that preceded functorch.
    return any(g is not None and torch._C._functorch.is_legacy_batchedtensor(g) for g in grads)


def is_recorded() -> bool:
    """Whether a tracer looks at this call, so that the values of tensors are not to be had."""
    return torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack() > 0


def differentiable_backward(
    composite: Composite,
    tensors: Sequence[Tensor | None],
    options: Sequence[Any],
    needed: Sequence[bool],
    grads: Sequence[Tensor | None],
) -> list[Tensor | None]:
    """Gradients of the composite, themselves differentiable: double backward and batched gradients.

    Args:
        composite: the operator composed of PyTorch operators, taking tensors then options.
        tensors: saved inputs.
        options: its other arguments.
        needed: which of the tensors want a gradient.
        grads: incoming gradients, one for each output.

    Returns:
        One gradient for each tensor, None where not needed.
    """
    create_graph = torch.is_grad_enabled()
    with torch.enable_grad():
        outputs = composite(*tensors, *options)
    pairs = [
        (o, g) for o, g in zip(outputs, grads, strict=True) if g is not None and o.requires_grad
    ]
    wanted = [t for t, n in zip(tensors, needed, strict=True) if n and t is not None]
    found = iter(
        torch.autograd.grad(
            [o for o, _ in pairs],
            wanted,
            [g for _, g in pairs],
            create_graph=create_graph,
            allow_unused=True,
        )
    )
    return [
        next(found) if n and t is not None else None for t, n in zip(tensors, needed, strict=True)
    ]
