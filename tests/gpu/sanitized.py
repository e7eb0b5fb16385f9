"""A small program of every kernel for compute-sanitizer: `python sanitized.py BACKEND`.

Odd lengths, unaligned memory, rows split over blocks and rows that share one. It also compares with
the CPU, so that a run without the sanitizer means something, too.
"""

from __future__ import annotations

import sys

import torch
from torch import Tensor

import vae_fast as vf

SHAPES = [(3, 5), (128, 20), (37, 1023), (2, 40_001), (3000, 7)]


def unaligned(value: Tensor) -> Tensor:
    memory = torch.empty(value.numel() + 1, dtype=value.dtype, device="cuda")
    return memory[1:].view(value.shape).copy_(value)


def results(values: list[Tensor]) -> list[Tensor]:
    x, t, mu, logvar = values
    leaves = [v.requires_grad_() for v in (x, mu, logvar)]
    z, kl = vf.reparameterize_kl(mu, logvar, seed=torch.tensor([2], device=x.device))
    out = vf.elbo_loss(x, t, kl=kl, beta=0.5)
    rows = vf.gaussian_nll(x, t, logvar, reduction="sample")
    elements = vf.bernoulli_nll(x, t, reduction="none")
    loss = out.loss + vf.gaussian_kl(mu, logvar)
    outputs = (loss, z, rows, elements)
    grads = torch.autograd.grad(outputs, leaves, [torch.ones_like(o) for o in outputs])
    return [o.detach().cpu() for o in (*outputs, *grads)]


def main(backend: str) -> None:
    torch.manual_seed(0)
    for shape in SHAPES:
        for dtype, target in ((torch.float32, torch.float32), (torch.bfloat16, torch.uint8)):
            x, mu, logvar = (torch.randn(shape).to(dtype) for _ in range(3))
            bits = torch.randint(0, 256, shape, dtype=torch.uint8)
            t = bits if target == torch.uint8 else bits / 255
            want = results([v.clone() for v in (x, t, mu, logvar)])
            for place in (Tensor.cuda, unaligned):
                with vf.backend(backend):
                    got = results([place(v) for v in (x, t, mu, logvar)])
                for a, b in zip(got, want, strict=True):
                    tolerance = 1e-5 if b.dtype == torch.float32 else 1e-2
                    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)
    torch.cuda.synchronize()
    print("finished")


if __name__ == "__main__":
    main(sys.argv[1])
