"""Several processes of one training, started by `torchrun`, on PyTorch's own engine.

Every rank has the whole data set in its memory and takes its share of each batch; gradients are
averaged by DistributedDataParallel, measured values by one sum at the end of a pass.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, distributed
from torch.nn.parallel import DistributedDataParallel

from vae_fast.nets import Model

# A rank that waits so long for another one ends with an error.
TIMEOUT = timedelta(minutes=10)


@dataclass(frozen=True)
class World:
    """This process among all; by default the only one."""

    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process prints and writes."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all processes, the same in each."""
        if self.size > 1:
            distributed.all_reduce(values)
        return values

    def wrap(self, model: Model) -> Model | DistributedDataParallel:
        """The model, with gradients that are averaged over all processes."""
        if self.size == 1:
            return model
        return DistributedDataParallel(model)


@contextmanager
def world(device: torch.device) -> Iterator[World]:
    """The processes that torchrun started, connected until the block ends; else this one alone."""
    if not (distributed.is_available() and distributed.is_torchelastic_launched()):
        yield World()
        return
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=TIMEOUT)
    try:
        yield World(distributed.get_rank(), distributed.get_world_size())
        distributed.barrier()  # no process leaves while another one is at work
    finally:
        gc.collect()  # wrapped models hold the group, which must not outlive its end
        distributed.destroy_process_group()


def local_index() -> int | None:
    """The number of this process among those of its machine, or None if torchrun did not start it:
    which GPU is its own."""
    return int(os.environ["LOCAL_RANK"]) if distributed.is_torchelastic_launched() else None
