"""One network and its optimizer, trained with one implementation of the loss."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

import vae_fast as vf
from vae_fast.training.batches import Batch, Batches
from vae_fast.training.build import build
from vae_fast.training.config import TrainConfig
from vae_fast.training.data import DataSet
from vae_fast.training.distributed import World
from vae_fast.training.measure import Measured
from vae_fast.training.progress import EpochBar
from vae_fast.training.rows import to_input

BACKENDS = {"fused": "auto", "reference": "reference"}


class Run:
    """Makes the passes over the data: training, with a step of Adam for each batch, and testing."""

    def __init__(
        self,
        config: TrainConfig,
        data: DataSet,
        loss: str,
        device: torch.device,
        compiled: bool,
        world: World,
    ) -> None:
        self.config = config
        self.unit = data.unit
        self.loss = loss
        self.device = device
        self.world = world
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.model = build(config, data)
        self.model.to(device)
        wrapped = world.wrap(self.model)
        self.forward = torch.compile(wrapped) if compiled else wrapped
        # One call for all parameters: the default loop over them costs more than the whole loss.
        self.optimizer = torch.optim.Adam(self.model.parameters(), config.lr, fused=True)
        self.samples = config.samples if config.samples > 1 else None

    def elbo(self, batch: Batch) -> vf.ELBO:
        """The loss of a batch, a mean over its rows in nats."""
        amp = self.config.precision == "bf16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=amp):
            out = self.forward(to_input(batch.rows), batch.labels, batch.seed, self.samples)
        return self.model.loss(out, batch.rows, self.config.beta)

    def backward(self, batch: Batch) -> vf.ELBO:
        """The loss and the gradients; with several processes, those of the whole batch."""
        self.optimizer.zero_grad()
        out = self.elbo(batch)
        # The processes' gradients are averaged; a larger share of the batch counts for more.
        share = len(batch.rows) * self.world.size / batch.total
        (out.loss if share == 1 else out.loss * share).backward()
        return out

    def train_epoch(self, batches: Batches, step: int, title: str, progress: bool) -> Measured:
        """One pass with an optimizer step after every batch; `step`: how many there were before."""
        self.model.train()

        def train(batch: Batch, index: int) -> vf.ELBO:
            self.model.anneal(step + index)
            out = self.backward(batch)
            self.optimizer.step()
            return out

        return self._pass(train, batches, title, progress)

    def warm_up(self, batches: Batches) -> None:
        """One batch forward and backward without a step: what only a first call costs (threads,
        memory, compilation) stays out of the measured time, and the run as it is."""
        self.model.train()
        with vf.backend(BACKENDS[self.loss]):
            self.backward(next(iter(batches)))
        self.optimizer.zero_grad()

    @torch.no_grad()
    def test(self, batches: Batches) -> Measured:
        """One pass without training."""
        self.model.eval()
        return self._pass(lambda batch, _: self.elbo(batch), batches, "test", False)

    def _pass(
        self,
        step: Callable[[Batch, int], vf.ELBO],
        batches: Batches,
        title: str,
        progress: bool,
    ) -> Measured:
        start = time.perf_counter()
        steps, sizes = [], []
        with (
            vf.backend(BACKENDS[self.loss]),
            EpochBar(len(batches.order), self.unit, title, progress) as bar,
        ):
            for index, batch in enumerate(batches):
                count = len(batch.rows)
                if count:
                    out = step(batch, index)
                    values = torch.stack((out.loss.detach(), out.recon, out.kl))
                else:  # the others had all the rows of a small last batch of a test
                    values = torch.zeros(3, device=self.device)
                # Kept on the device and read once at the end, so that no step waits for it.
                steps.append(values)
                sizes.append(count)
                bar.advance(batch.total, values)
            total = torch.tensor(sizes, dtype=torch.float64)
            values = torch.stack(steps).cpu().double()
        if self.world.size > 1:
            weighted = torch.column_stack((values * total[:, None], total)).to(self.device)
            *sums, total = self.world.sum(weighted).cpu().unbind(1)
            values = torch.stack(sums, 1) / total[:, None]
        return Measured(values, total, time.perf_counter() - start)

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from `state()`."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
