"""Fits what `vae_fast.training.drawn` draws from: python scripts/fit_cells.py COUNTS.npz

For each kind of cell the genes' shares and the spread of the library's size, for each gene one
dispersion, by moments. Writes vae_fast/training/cells.npz.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

from vae_fast.training import counts, drawn

PRIOR = 0.5  # counts of each gene, so that no share is 0


def main() -> None:
    data = counts.load(sys.argv[1])
    assert data.labels is not None and data.label_names is not None
    x = data.rows.double().to_dense()
    library = x.sum(1)
    kinds = torch.nn.functional.one_hot(data.labels).double()
    shares = kinds.T @ x + PRIOR * x.mean(0)
    shares /= shares.sum(1, keepdim=True)
    mean = library[:, None] * (kinds @ shares)
    # Var[x] = mean + mean^2 / theta, in the sum over all cells.
    excess = ((x - mean).square() - mean).sum(0)
    theta = (mean.square().sum(0) / excess.clamp(min=1e-3)).clamp(0.05, 1e3)
    log_library = library.log()
    of_kind = kinds / kinds.sum(0)
    location = of_kind.T @ log_library
    spread = (of_kind.T @ (log_library - kinds @ location).square()).sqrt()
    path = Path(drawn.__file__).with_name(drawn.FILE)
    np.savez_compressed(
        path,
        log_shares=shares.log().to(torch.float16).numpy(),
        log_theta=theta.log().to(torch.float16).numpy(),
        log_library=torch.stack((location, spread), 1).float().numpy(),
        frequencies=kinds.mean(0).float().numpy(),
        names=np.array(data.label_names),
    )
    print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
