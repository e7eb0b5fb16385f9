#!/usr/bin/env bash
# One build for every supported PyTorch: builds sdist and wheel once, checks what is in them, runs the
# tests on the installed wheel beside another PyTorch than it was built with, and a smoke test beside
# the newest.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

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
(cd "$work" && old/bin/python smoke.py && old/bin/pytest -q --ignore tests/test_benchmarks.py)

echo "== $(basename "$wheel") beside the newest torch"
.venv/bin/pip install --quiet --no-deps --force-reinstall --target "$work/site" "$wheel"
(cd "$work" && PYTHONPATH="$work/site" "$OLDPWD/.venv/bin/python" smoke.py)
