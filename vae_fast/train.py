"""The training of the reference networks, on the public functions of the package alone.

A training has one run, or with `loss="both"` two: the same network from the same initial weights,
over the same batches, with the same noise, once with the fused kernels and once with the reference.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vae_fast.training import checkpoint, gallery
from vae_fast.training.batches import Batches, binarize, generator
from vae_fast.training.checkpoint import Checkpoint, CheckpointError
from vae_fast.training.config import TrainConfig
from vae_fast.training.data import DataSet
from vae_fast.training.distributed import World, local_index
from vae_fast.training.files import write_json, write_json_lines
from vae_fast.training.machine import describe_machine, versions
from vae_fast.training.measure import agreement, describe, describe_agreement, row_of
from vae_fast.training.optional import require
from vae_fast.training.rows import take
from vae_fast.training.run import Run
from vae_fast.training.trained import as_tested, of_network

CHECKPOINT = checkpoint.NAME
TEST_BATCH = 1000


class TrainError(ValueError):
    """A training cannot start or go on."""


class Training:
    """All the runs of one training, the data on their device, and the folder of the results."""

    def __init__(
        self,
        config: TrainConfig,
        data: DataSet,
        out: Path,
        *,
        device: torch.device | None = None,
        compiled: bool = False,
        resume: Checkpoint | None = None,
        world: World | None = None,
    ) -> None:
        require("matplotlib.figure", "matplotlib", "writing pictures")  # now, not after an hour
        self.config = replace(config, dataset=data.name)
        self.data = data
        self.summary = data.summary()
        if config.without_label is not None:
            data = data.without(config.without_label)
        self.world = world or World()
        self.out = out
        self.device = device or torch.device("cpu")
        self.compiled = compiled
        self.rows = take(data.rows, data.train), take(data.rows, data.test)
        # Of the training where they are fixed, and of the test.
        self.targets = (
            self.rows[0].to(self.device),
            as_tested(self.rows[1], config, "test").to(self.device),
        )
        self.given: tuple[Tensor, Tensor] | tuple[None, None] = None, None
        if data.given is not None:
            given = data.given.to(self.device)
            self.given = given[data.train], given[data.test]
        self.runs = [
            Run(self.config, data, loss, self.device, compiled, self.world)
            for loss in config.losses
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
        """Train until the configured epoch, with all files in the folder up to date after each.

        Of several processes, the main one alone prints and writes.
        """
        if self.world.is_main:
            self.out.mkdir(parents=True, exist_ok=True)
            self._describe()
        self._save(self.epoch, self.history)  # for Ctrl-C in the first epoch; a full disk shows now
        try:
            while self.epoch < self.config.epochs:
                history = self.history + self._epoch(self.epoch + 1, report, progress)
                self._save(self.epoch + 1, history)
                self.epoch, self.history = self.epoch + 1, history
            if self.world.is_main:
                self.draw()
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f"{self.out / CHECKPOINT} has epoch {self.epoch}, --resume continues from there"
            ) from None

    def _describe(self) -> None:
        description = {
            "config": asdict(self.config),
            "compile": self.compiled,
            "processes": self.world.size,
            "data": self.summary,
            "machine": describe_machine(self.device),
            "versions": versions(),
        }
        write_json(self.out / "config.json", description)

    def _save(self, epoch: int, history: list[dict[str, Any]]) -> None:
        if not self.world.is_main:
            return
        runs = {run.loss: run.state() for run in self.runs}
        config = asdict(self.config)
        content = Checkpoint(epoch, config, self.summary, versions(), history, runs)
        checkpoint.save(self.out / CHECKPOINT, content)
        write_json_lines(self.out / "metrics.jsonl", history)

    def _epoch(
        self, epoch: int, report: Callable[[str], None], progress: bool
    ) -> list[dict[str, Any]]:
        batches, tests = self._batches(epoch)
        # A pass has as many steps in every epoch.
        step = (epoch - 1) * -(-len(batches.order) // batches.size)
        rows, trained, tested = [], [], []
        if not self.warm:
            for run in self.runs:
                run.warm_up(batches)
            self.warm = True
        for run in self.runs:
            title = f"epoch {epoch}/{self.config.epochs} {run.loss}"
            trained.append(run.train_epoch(batches, step, title, progress))
            tested.append(run.test(tests))
            row = row_of(epoch, run.loss, trained[-1], tested[-1], self.data.unit)
            if not all(torch.isfinite(m.steps).all() for m in (trained[-1], tested[-1])):
                raise TrainError(
                    f"the {run.loss} loss is not finite in epoch {epoch}: a smaller --lr may help"
                )
            rows.append(row)
            report(describe(row, self.config.epochs, self.data.unit))
        if len(self.runs) == 2:
            rows[1] |= agreement(trained, tested)
            report(describe_agreement(rows))
        return rows

    def _batches(self, epoch: int) -> tuple[Batches, Batches]:
        """For training and for testing."""
        seed, rows = self.config.seed, self.targets[0]
        if self.config.binarize:
            rows = binarize(self.rows[0], generator(seed, epoch, "pixels")).to(self.device)
        batches = Batches.make(
            rows,
            self.given[0],
            self.config.batch_size,
            generator(seed, epoch, "noise"),
            generator(seed, epoch, "order"),
            self.world,
        )
        # The same noise in every epoch: what changes is the network.
        noise = generator(seed, "test noise")
        tests = Batches.make(self.targets[1], self.given[1], TEST_BATCH, noise, None, self.world)
        return batches, tests

    def draw(self) -> None:
        """Write the pictures of the first run's network."""
        model = self.runs[0].model
        network = of_network(self.out, model, self.config, self.epoch, self.data, self.device)
        gallery.write_all(self.out, network)


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
    """`auto` is the GPU where there is one. Any other device must be usable, or it is an error.

    Each process that torchrun started on a machine has a GPU of its own.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        if device.type == "cuda" and device.index is None and local_index() is not None:
            device = torch.device("cuda", local_index())
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0]
        raise TrainError(f"the device {name!r} cannot be used: {reason}") from error
    return device
