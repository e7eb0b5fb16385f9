"""What a training measures: the losses of a pass, the rows of metrics.jsonl, the printed lines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Measured:
    """The loss, reconstruction term and KL of one pass over a set, in nats per row."""

    steps: Tensor  # float64 [batches, 3], each row the mean of its batch
    sizes: Tensor  # float64 [batches], rows
    seconds: float

    @property
    def mean(self) -> list[float]:
        """Loss, reconstruction term and KL over all rows."""
        mean: list[float] = (self.sizes @ self.steps / self.sizes.sum()).tolist()
        return mean


def row_of(epoch: int, loss: str, trained: Measured, tested: Measured, unit: str) -> dict[str, Any]:
    """One line of metrics.jsonl; losses are nats per row, which is a `unit`."""
    row: dict[str, Any] = {"epoch": epoch, "loss_backend": loss}
    for name, measured in (("train", trained), ("test", tested)):
        for part, value in zip(("loss", "recon", "kl"), measured.mean, strict=True):
            row[f"{name}_{part}"] = value
    row["test_elbo"] = -(row["test_recon"] + row["test_kl"])  # the loss but for beta
    row["seconds"] = trained.seconds
    row[f"{unit}s_per_s"] = float(trained.sizes.sum()) / trained.seconds
    return row


def describe(row: dict[str, Any], epochs: int, unit: str) -> str:
    """The line that is printed; `unit`: what a row is."""
    return (
        f"epoch {row['epoch']:{len(str(epochs))}}/{epochs}  {row['loss_backend']:9}  "
        f"train {row['train_loss']:.2f}  test {row['test_loss']:.2f} "
        f"(recon {row['test_recon']:.2f}, KL {row['test_kl']:.2f})  "
        f"{row['seconds']:.2f} s, {row[f'{unit}s_per_s']:,.0f} {unit}s/s"
    )


def agreement(trained: list[Measured], tested: list[Measured]) -> dict[str, float]:
    """How far two runs are apart: the largest relative difference of the loss of any batch."""
    names = ("train_max_rel_diff", "test_max_rel_diff")
    result = {}
    for name, (a, b) in zip(names, (trained, tested), strict=True):
        result[name] = float(((a.steps - b.steps)[:, 0] / b.steps[:, 0]).abs().max())
    return result


def describe_agreement(rows: list[dict[str, Any]]) -> str:
    fused, reference = rows
    return (
        f"  agreement of the loss: max relative difference "
        f"{reference['train_max_rel_diff']:.1e} in training, "
        f"{reference['test_max_rel_diff']:.1e} in the test; time: fused {fused['seconds']:.2f} s, "
        f"reference {reference['seconds']:.2f} s "
        f"({reference['seconds'] / fused['seconds']:.2f} times)"
    )
