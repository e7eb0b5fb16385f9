"""Runs the operator tests through Triton's interpreter: `pytest -p support.interpreter`.

Needs TRITON_INTERPRET=1 and `tests` on the Python path. Every test that runs on the CPU with each
backend then runs there with Triton's kernels. A program of a grid takes milliseconds, so what only
repeats a shorter test with more programs, and what is not about the kernels, is left out by name.
"""

from __future__ import annotations

import re

import pytest

from . import places

for backends in places.ON_CPU.values():
    backends[:] = [places.Place("cpu", "triton")]
for backends in places.ON_GPU.values():
    backends.clear()

LEFT_OUT = re.compile(
    r"test_lengths\[.*-(?!(?:1|3|17|64|511|513|1025|2049)\])\d+\]"
    r"|test_layouts\[.*-(?:none|batchmean|sum|mean)-"
    r"|test_targets\[.*torch.float16-torch"
    r"|test_many_short_rows\[.*-(?:51|52|1023)\]"
    r"|test_noise.py::(?!test_noise_|test_given_eps|test_seed_comes)"
    r"|test_more_than_two_to_the_31|threads|instruction_set"
    r"|test_losses_stay_together\[.*gaussian|test_handed_over_gradient_equals"
    r"|test_every_call_compiles.*(?:dynamic|samples|weight)"
    r"|test_changing_beta|test_compile_under|test_export|test_backend_switch"
    r"|test_sampling_matches_the_reference|test_calls_match_the_truth"
    r"|test_gradcheck.py::.*(?:batchmean|sum|seed|none|elbo-latent|gaussian-weight)"
    r"|test_categorical.py::(?:test_gumbel|test_samples_follow_q|test_threads)"
    # Negative binomials are ten times as long as the others: every form once, in two dtypes.
    r"|test_dtypes\[triton-torch.(?:bfloat16|float16)-.*negative_binomial"
    r"|test_dtypes\[.*negative_binomial.*-(?:none|sample|sum|mean|draw)\]"
    r"|test_(?!values.py::test_(?:dtypes|empty)|triton).*\[.*negative_binomial(?!-column.*-sample)"
    r"|test_counts.py::test_sparse_targets_are.*(?:float64|bfloat16|without|logs|mixture)"
    r"|test_counts.py::test_sparse_targets_with.*(?:700|2500)|test_dtypes_of_sparse.*float"
    r"|test_meta_tensors|test_import_is_silent|test_wrong_instruction|test_public_names"
)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    kept = [item for item in items if not LEFT_OUT.search(item.nodeid)]
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept
