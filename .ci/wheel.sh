#!/usr/bin/env bash
# One build for every supported PyTorch: builds sdist and wheel once, checks what is in them, runs the
# tests on the installed wheel beside another PyTorch than it was built with, and a smoke test beside
# the newest.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# One architecture will do here: the others have been compiled for the tests.
export VAE_FAST_CUDA=1 TORCH_CUDA_ARCH_LIST=9.0
make wheel WHEEL_DIR="$work/dist" >"$work/build.log" 2>&1 || { tail -n 40 "$work/build.log"; exit 1; }
.venv/bin/python .ci/contents.py "$work/dist"
wheel=$(ls "$work"/dist/*.whl)

# The tests are run from a copy, where the source tree cannot stand in for the installed package.
cp -r tests pyproject.toml "$work"
cp .ci/smoke.py "$work"

echo "== $(basename "$wheel") beside torch 2.13.0"
python3 -m venv "$work/old"
"$work/old/bin/pip" install --quiet torch==2.13.0 numpy
"$work/old/bin/pip" install --quiet "$wheel[test]"
(cd "$work" && old/bin/python smoke.py && old/bin/pytest -q \
    --ignore-glob 'tests/test_benchmarks*' --ignore-glob 'tests/test_simt*' \
    --ignore-glob 'tests/test_docs*' --ignore-glob 'tests/test_examples*')

echo "== CUDA kernels built beside a PyTorch without CUDA"
"$work/old/bin/pip" install --quiet "setuptools>=77" wheel ninja
VAE_FAST_CPU=0 TORCH_CUDA_ARCH_LIST=8.0 "$work/old/bin/python" setup.py --quiet build_ext \
    --build-lib "$work/lib" --build-temp "$work/temp" >"$work/build.log" 2>&1 ||
    { tail -n 40 "$work/build.log"; exit 1; }
ls "$work/lib/vae_fast/_CUDA.abi3.so"

echo "== $(basename "$wheel") beside the newest torch"
.venv/bin/pip install --quiet --no-deps --force-reinstall --target "$work/site" "$wheel"
(cd "$work" && PYTHONPATH="$work/site" "$OLDPWD/.venv/bin/python" smoke.py)
