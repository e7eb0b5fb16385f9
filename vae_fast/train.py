"""The training loop of the reference VAE, on the public functions of the package alone.

A training has one run, or with `loss="both"` two: the same network from the same initial weights,
over the same batches, with the same noise, once with the fused kernels and once with the reference.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import vae_fast as vf
from vae_fast.nets import MLPVAE
from vae_fast.training import checkpoint, pictures
from vae_fast.training.batches import Batches, binarize, generator, to_input
from vae_fast.training.checkpoint import Checkpoint, CheckpointError
from vae_fast.training.config import TrainConfig
from vae_fast.training.data import ImageData
from vae_fast.training.files import write_json, write_json_lines
from vae_fast.training.machine import describe_machine, versions
from vae_fast.training.measure import Measured, agreement, describe, describe_agreement, row_of
from vae_fast.training.optional import require
from vae_fast.training.progress import EpochBar

CHECKPOINT = checkpoint.NAME
TEST_BATCH = 1000
BACKENDS = {"fused": "auto", "reference": "reference"}


class TrainError(ValueError):
    """A training cannot start or go on."""


class Run:
    """One network and its optimizer, trained with one implementation of the loss."""

    def __init__(
        self, config: TrainConfig, features: int, loss: str, device: torch.device, compiled: bool
    ) -> None:
        self.config = config
        self.loss = loss
        self.device = device
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.model = MLPVAE(features, config.hidden, config.latent, config.likelihood)
        self.model.to(device)
        self.forward = torch.compile(self.model) if compiled else self.model
        # One call for all parameters: the default loop over them costs more than the whole loss.
        self.optimizer = torch.optim.Adam(self.model.parameters(), config.lr, fused=True)

    def elbo(self, pixels: Tensor, seed: Tensor) -> vf.ELBO:
        """The loss of a batch [B, features], a mean over its images in nats."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.amp):
            params, kl = self.forward(to_input(pixels), seed)
        likelihood, beta = self.config.likelihood, self.config.beta
        return vf.elbo_loss(params, pixels, kl=kl, beta=beta, likelihood=likelihood)

    def train_epoch(self, batches: Batches, title: str, progress: bool) -> Measured:
        """One pass with an optimizer step after every batch."""
        self.model.train()

        def step(pixels: Tensor, seed: Tensor) -> vf.ELBO:
            self.optimizer.zero_grad()
            out = self.elbo(pixels, seed)
            out.loss.backward()
            self.optimizer.step()
            return out

        return self._pass(step, batches, title, progress)

    def warm_up(self, batches: Batches) -> None:
        """One batch forward and backward without a step: what only a first call costs (threads,
        memory, compilation) stays out of the measured time, and the run as it is."""
        self.model.train()
        with vf.backend(BACKENDS[self.loss]):
            self.elbo(*next(iter(batches))).loss.backward()
        self.optimizer.zero_grad()

    @torch.no_grad()
    def test(self, batches: Batches) -> Measured:
        """One pass without training."""
        self.model.eval()
        return self._pass(self.elbo, batches, "test", False)

    def _pass(
        self,
        step: Callable[[Tensor, Tensor], vf.ELBO],
        batches: Batches,
        title: str,
        progress: bool,
    ) -> Measured:
        start = time.perf_counter()
        steps, sizes = [], []
        with (
            vf.backend(BACKENDS[self.loss]),
            EpochBar(len(batches.order), title, progress) as bar,
        ):
            for pixels, seed in batches:
                out = step(pixels, seed)
                # Kept on the device and read once at the end, so that no step waits for it.
                steps.append(torch.stack((out.loss.detach(), out.recon, out.kl)))
                sizes.append(len(pixels))
                bar.advance(len(pixels), steps[-1])
            values = torch.stack(steps).cpu().double()
        seconds = time.perf_counter() - start
        return Measured(values, torch.tensor(sizes, dtype=torch.float64), seconds)

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from `state()`."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])


class Training:
    """All the runs of one training, the data on their device, and the folder of the results."""

    def __init__(
        self,
        config: TrainConfig,
        data: ImageData,
        out: Path,
        *,
        device: torch.device | None = None,
        compiled: bool = False,
        resume: Checkpoint | None = None,
    ) -> None:
        require("matplotlib.figure", "matplotlib", "writing pictures")  # now, not after an hour
        self.config = replace(config, dataset=data.name)
        self.data = data
        self.summary = data.summary()
        self.out = out
        self.device = device or torch.device("cpu")
        self.compiled = compiled
        self.grey = data.images[data.train], data.images[data.test]
        self.targets = self.grey  # of the training, and of the test, where they are fixed
        if config.binarize:
            self.targets = self.grey[0], binarize(self.grey[1], generator(config.seed, "test"))
        self.targets = self.targets[0].to(self.device), self.targets[1].to(self.device)
        self.runs = [
            Run(self.config, data.features, loss, self.device, compiled) for loss in config.losses
        ]
        self.warm = False
        self.epoch = 0
        self.history: list[dict[str, Any]] = []
        if resume is not None:
            self._continue(resume)

    def _continue(self, resume: Checkpoint) -> None:
        if resume.data != self.summary:
            raise CheckpointError(
                f"the checkpoint was made with other data: {resume.data}, now {self.summary}"
            )
        try:
            for run in self.runs:
                run.load_state(resume.runs[run.loss])
        except (KeyError, RuntimeError, ValueError) as error:
            raise CheckpointError("the checkpoint's networks do not fit its settings") from error
        self.epoch, self.history = resume.epoch, list(resume.history)

    def fit(self, report: Callable[[str], None] = print, progress: bool = False) -> None:
        """Train until the configured epoch, with all files in the folder up to date after each."""
        self.out.mkdir(parents=True, exist_ok=True)
        self._save(self.epoch, self.history)  # for Ctrl-C in the first epoch; a full disk shows now
        description = {
            "config": asdict(self.config),
            "compile": self.compiled,
            "data": self.summary,
            "machine": describe_machine(self.device),
            "versions": versions(),
        }
        write_json(self.out / "config.json", description)
        try:
            while self.epoch < self.config.epochs:
                history = self.history + self._epoch(self.epoch + 1, report, progress)
                self._save(self.epoch + 1, history)
                self.epoch, self.history = self.epoch + 1, history
            self.draw()
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f"{self.out / CHECKPOINT} has epoch {self.epoch}, --resume continues from there"
            ) from None

    def _save(self, epoch: int, history: list[dict[str, Any]]) -> None:
        runs = {run.loss: run.state() for run in self.runs}
        config = asdict(self.config)
        content = Checkpoint(epoch, config, self.summary, versions(), history, runs)
        checkpoint.save(self.out / CHECKPOINT, content)
        write_json_lines(self.out / "metrics.jsonl", history)

    def _epoch(
        self, epoch: int, report: Callable[[str], None], progress: bool
    ) -> list[dict[str, Any]]:
        seed, size = self.config.seed, self.config.batch_size
        images, test_images = self.targets
        if self.config.binarize:
            images = binarize(self.grey[0], generator(seed, epoch, "pixels")).to(self.device)
        noise, order = generator(seed, epoch, "noise"), generator(seed, epoch, "order")
        batches = Batches.make(images, size, noise, order)
        # The same noise in every epoch: what changes is the network.
        tests = Batches.make(test_images, TEST_BATCH, generator(seed, "test noise"), None)
        rows, trained, tested = [], [], []
        if not self.warm:
            for run in self.runs:
                run.warm_up(batches)
            self.warm = True
        for run in self.runs:
            title = f"epoch {epoch}/{self.config.epochs} {run.loss}"
            trained.append(run.train_epoch(batches, title, progress))
            tested.append(run.test(tests))
            row = row_of(epoch, run.loss, trained[-1], tested[-1])
            if not all(torch.isfinite(m.steps).all() for m in (trained[-1], tested[-1])):
                raise TrainError(
                    f"the {run.loss} loss is not finite in epoch {epoch}: a smaller --lr may help"
                )
            rows.append(row)
            report(describe(row, self.config.epochs))
        if len(self.runs) == 2:
            rows[1] |= agreement(trained, tested)
            report(describe_agreement(rows))
        return rows

    @torch.no_grad()
    def draw(self) -> None:
        """Write the pictures of the first run's network."""
        model = self.runs[0].model.eval()
        shape, out = self.data.shape, self.out

        def decode(z: Tensor) -> Tensor:
            return model.pixels(z.to(self.device)).cpu()

        originals = to_input(self.targets[1][:48])
        mu, _ = model.encode(originals)
        pictures.write_reconstructions(
            out / "reconstructions.png", originals.cpu(), decode(mu), shape
        )
        pictures.write_samples(out / "samples.png", decode, self.config.latent, shape)
        if self.config.latent == 2:
            pictures.write_manifold(out / "manifold.png", decode, shape)


def resumed_config(path: Path, stored: dict[str, Any], given: dict[str, Any]) -> TrainConfig:
    """The settings to continue with: the checkpoint's; of those given, only epochs may differ."""
    for name, value in given.items():
        if name != "epochs" and stored.get(name) != value:
            raise CheckpointError(f"{path}: made with {name} {stored.get(name)}, got {value}")
    try:
        return TrainConfig(**(stored | given))
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: the settings in it are not usable ({error})") from error


def pick_device(name: str) -> torch.device:
    """`auto` is the GPU where there is one. Any other device must be usable, or it is an error."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0]
        raise TrainError(f"the device {name!r} cannot be used: {reason}") from error
    return device
