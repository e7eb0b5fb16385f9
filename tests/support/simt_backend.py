"""Pytest plugin (`-p support.simt_backend`): CPU tensors go through the simulated CUDA kernels.

VAE_FAST_SIMT names the shared object of tests/simt, whose operators replace those of the CPU.
"""

from __future__ import annotations

import os

import torch

import vae_fast  # noqa: F401  (defines the operators, and loads the kernels that are replaced)

torch.ops.load_library(os.environ["VAE_FAST_SIMT"])
