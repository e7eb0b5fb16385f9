"""Networks whose weights lie in several processes: their activations reach the loss whole."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from support import sharded
from support.torchrun import PROCESSES, torchrun

pytestmark = pytest.mark.skipif(
    not (dist.is_available() and dist.is_gloo_available()), reason="this PyTorch has no gloo"
)


@pytest.mark.parametrize("mode", ["fsdp", "tensor"])
def test_a_step_is_that_of_one_process(mode: str, tmp_path: Path) -> None:
    """With FSDP2 each process has half of the batch, in tensor parallel all of it."""
    done = torchrun(sharded.__file__, mode, str(tmp_path))
    assert done.returncode == 0, done.stderr
    want = sharded.step(*sharded.made())
    found = [torch.load(tmp_path / f"{rank}.pt") for rank in range(PROCESSES)]
    loss = torch.stack([part["loss"] for part in found])
    if mode == "fsdp":
        loss = loss.mean(0, keepdim=True)
    torch.testing.assert_close(loss, want["loss"].expand_as(loss))
    for part in found:
        assert part["node"] == want["node"]
        for kind in ("gradients", "weights"):
            assert part[kind].keys() == want[kind].keys()
            for name, value in want[kind].items():
                difference = (part[kind][name] - value).abs().max()
                # Sums of 16 float32 terms at most, in two orders, through four layers.
                assert difference <= 1e-6 * value.abs().max() + 1e-7, (kind, name)
