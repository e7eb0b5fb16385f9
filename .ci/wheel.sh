#!/usr/bin/env bash
# One build for every supported PyTorch: builds sdist and wheel once, checks what is in them, runs the
# tests on the installed wheel beside the oldest PyTorch, a smoke test beside the newest, and builds from
# the sources beside others.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
oldest=2.11.0
trap 'rm -rf "$work"' EXIT

# One architecture will do here: the others have been compiled for the tests.
export VAE_FAST_CUDA=1 TORCH_CUDA_ARCH_LIST=9.0
make wheel WHEEL_DIR="$work/dist" >"$work/build.log" 2>&1 || { tail -n 40 "$work/build.log"; exit 1; }
.venv/bin/python .ci/contents.py "$work/dist"
wheel=$(ls "$work"/dist/*.whl)

# The tests are run from a copy, where the source tree cannot stand in for the installed package.
cp -r tests pyproject.toml "$work"
cp .ci/smoke.py "$work"

# environment NAME PACKAGE...: a virtual environment with these and what builds the kernels.
environment() {
    python3 -m venv "$work/$1"
    "$work/$1/bin/pip" install --quiet "${@:2}" "setuptools>=77" wheel ninja
}

# build NAME: compiles the extensions from the sources, beside the PyTorch of that environment. CUDA kernels
# include nothing of it: the second build takes the first one's.
build() {
    VAE_FAST_CPU=1 TORCH_CUDA_ARCH_LIST=8.0 "$work/$1/bin/python" setup.py --quiet build_ext \
        --build-lib "$work/lib-$1" --build-temp "$work/temp" >"$work/build.log" 2>&1 ||
        { tail -n 40 "$work/build.log"; exit 1; }
    "$work/$1/bin/python" -c "import torch; print('built beside torch', torch.__version__)"
    ls "$work/lib-$1"/vae_fast/{_C,_CUDA}.abi3.so
}

echo "== $(basename "$wheel") beside torch $oldest, the oldest supported"
# It brings Triton 3.6, whose interpreter ends with NumPy 2.3.
environment oldest torch==$oldest "numpy<2.4"
"$work/oldest/bin/pip" install --quiet "$wheel[test]"
(cd "$work" && oldest/bin/python smoke.py && oldest/bin/pytest -q \
    --ignore-glob 'tests/test_benchmarks*' --ignore-glob 'tests/test_simt*' \
    --ignore-glob 'tests/test_docs*' --ignore-glob 'tests/test_examples*')
(cd "$work" && TRITON_INTERPRET=1 PYTHONPATH=tests oldest/bin/pytest -q -p support.interpreter \
    tests/test_triton_interpreter.py tests/test_triton_plan.py tests/test_agreement.py)

echo "== built from the sources beside torch $oldest"
build oldest

echo "== built from the sources beside a PyTorch without CUDA"
environment without_cuda torch==2.13.0 numpy
build without_cuda

echo "== $(basename "$wheel") beside the newest torch"
.venv/bin/pip install --quiet --no-deps --force-reinstall --target "$work/site" "$wheel"
(cd "$work" && PYTHONPATH="$work/site" "$OLDPWD/.venv/bin/python" smoke.py)
