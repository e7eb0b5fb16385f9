#!/usr/bin/env bash
# Triton's kernels without a GPU: the operator tests through its interpreter, and ahead-of-time
# compilation with gates on registers, spills, wide accesses and atomics.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${1:-.venv/bin/python}
tests=()
for name in agreement autograd categorical compile counts edges errors gradcheck noise properties transforms values; do
  tests+=("tests/test_$name.py")
done

"$python" -m pip install --quiet triton
"$python" -m pytest -q tests/test_triton_compile.py tests/test_triton_plan.py \
  tests/test_triton_tune.py tests/test_backend.py &
compiled=$!
trap 'kill "$compiled" 2>/dev/null || true' EXIT
TRITON_INTERPRET=1 PYTHONPATH=tests "$python" -m pytest -q -p support.interpreter \
  tests/test_triton_interpreter.py tests/test_triton_plan.py "${tests[@]}"
wait "$compiled"
