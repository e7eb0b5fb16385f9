"""Two ways to a gradient: written in the forward and handed over, or computed in the backward.

`python -m benchmarks.handover` prints the time of forward + backward of each, by size and dtype.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .cases import SIZES, short
from .timing import interleaved, quartiles

OPS = torch.ops.vae_fast


def variants(logits: Tensor, target: Tensor) -> dict[str, Callable[[], None]]:
    """The operators that make up each way, without autograd around them."""
    nothing = (None,) * 7
    options = (1.0, 0, [0.0], 2)
    one = torch.ones(())

    def handed() -> None:
        OPS.elbo_with_grad([logits], target, *nothing, *options, 1)

    def recomputed() -> None:
        OPS.elbo_with_grad([logits], target, *nothing, *options, 0)
        OPS.elbo_backward(one, [logits], target, *nothing, *options, 1)

    return {"handed over": handed, "recomputed": recomputed}


def main() -> None:
    print("| size | dtype | handed over | recomputed | ratio |\n|---|---|---|---|---|")
    for size, (rows, cols, _) in SIZES.items():
        for dtype in (torch.float32, torch.bfloat16):
            calls = variants(torch.randn(rows, cols).to(dtype), torch.rand(rows, cols))
            samples = interleaved(calls, 2.0)
            handed, again = (quartiles(samples[name])[1] * 1e6 for name in calls)
            kind = short(dtype)
            print(f"| {size} | {kind} | {handed:.0f} µs | {again:.0f} µs | {again / handed:.2f} |")


if __name__ == "__main__":
    with torch.no_grad():
        main()
