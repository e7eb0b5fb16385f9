"""One step of training a small VAE, alone or, as a script under torchrun, with sharded weights.

The script is given "fsdp" or "tensor" and the folder for what each process got.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

import vae_fast as vf

PIXELS, LATENT, HIDDEN, BATCH = 12, 4, 16, 6


class VAE(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Linear(PIXELS, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, 2 * LATENT)
        )
        self.decoder = nn.Sequential(
            nn.Linear(LATENT, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, PIXELS)
        )

    def forward(self, x: Tensor, eps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mu, logvar = (part.clone() for part in self.encoder(x).chunk(2, -1))
        return self.decoder(vf.reparameterize(mu, logvar, eps=eps)), mu, logvar


def made() -> tuple[VAE, Tensor, Tensor]:
    """The same weights, pixels and noise in every process."""
    torch.manual_seed(0)
    return VAE(), torch.rand(BATCH, PIXELS), torch.randn(BATCH, LATENT)


def step(model: nn.Module, x: Tensor, eps: Tensor) -> dict[str, Any]:
    """The loss, its gradients, the weights after a step, and what computed the loss."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    logits, mu, logvar = model(x, eps)
    loss = vf.vae_loss(logits, x, mu, logvar)
    assert loss.grad_fn is not None
    name = loss.grad_fn.name()
    loss.backward()
    gradients = {n: p.grad for n, p in model.named_parameters()}
    optimizer.step()
    return {
        "loss": loss.detach(),
        "node": name,
        "gradients": gradients,
        "weights": {n: p.detach() for n, p in model.named_parameters()},
    }


def _sharded(mode: str) -> dict[str, Any]:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import DTensor
    from torch.distributed.tensor.parallel import (
        ColwiseParallel,
        RowwiseParallel,
        parallelize_module,
    )

    model, x, eps = made()
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    if mode == "fsdp":
        for part in (model.encoder, model.decoder, model):
            fully_shard(part, mesh=mesh)
        own = slice(dist.get_rank(), None, dist.get_world_size())
        found = step(model, x[own], eps[own])
    else:
        columns, rows = ColwiseParallel(), RowwiseParallel()
        plan = {f"{part}.0": columns for part in ("encoder", "decoder")}
        plan |= {f"{part}.2": rows for part in ("encoder", "decoder")}
        parallelize_module(model, mesh, plan)
        found = step(model, x, eps)
    for kind in ("gradients", "weights"):
        assert all(isinstance(t, DTensor) for t in found[kind].values())
        found[kind] = {name: t.full_tensor() for name, t in found[kind].items()}
    return found


if __name__ == "__main__":
    dist.init_process_group("gloo")
    torch.save(_sharded(sys.argv[1]), f"{sys.argv[2]}/{dist.get_rank()}.pt")
    dist.barrier()
    # An ordinary exit aborts now and then, whatever the loss: PyTorch 2.13 leaves a thread of gloo.
    os._exit(0)
