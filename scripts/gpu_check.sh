#!/usr/bin/env bash
# Builds, tests and benchmarks on a machine with an NVIDIA GPU, in less than nine minutes, no network needed:
#   scripts/gpu_check.sh OUT_DIR
# writes gpu_check.log, gpu.json and gpu.png into OUT_DIR. Every stage runs, whatever happened to those
# before it; the exit status is 0 only if all of them succeeded. `--dry-run` prints the stages.
# PYTHON chooses the interpreter; needs PyTorch with CUDA, nvcc, pytest, hypothesis and matplotlib.
# VAE_FAST_REVISION names the revision where there is no git history.
set -uo pipefail

TOTAL=525  # seconds for everything
dry=
[ "${1:-}" = --dry-run ] && { dry=1; shift; set -- "${1:-/tmp}"; }
[ $# = 1 ] || { echo "usage: $0 [--dry-run] OUT_DIR" >&2; exit 2; }

root=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$1"
out=$(cd "$1" && pwd)
cd "$root"
python=${PYTHON:-python3}
log=$out/gpu_check.log
stages=()
failed=0

has() { "$python" -c "import $1" 2>/dev/null; }

# stage NAME SECONDS COMMAND...: runs the command within its time and what is left of all of it.
stage() {
    local name=$1 limit=$2 left=$((TOTAL - SECONDS)) before=$SECONDS code result offset
    shift 2
    [ -n "$dry" ] && { printf '%-12s %4d s  %s\n' "$name" "$limit" "$*"; return; }
    [ "$limit" -gt "$left" ] && limit=$left
    echo "== $name: $*" | tee -a "$log"
    offset=$(stat -c %s "$log")
    if [ "$limit" -lt 5 ]; then
        code=skipped
    else
        # Interrupted, not killed: pytest then still says what failed.
        timeout -s INT -k 10 "$limit" "$@" >>"$log" 2>&1
        code=$?
    fi
    case $code in
        0) result=ok ;;
        124 | 137) result="time over" ;;
        skipped) result="no time" ;;
        *) result="FAILED ($code)" ;;
    esac
    local note
    note=$(tail -c "+$((offset + 1))" "$log" | grep -aE '^=* ?[0-9]+ (passed|failed|skipped|deselected|error)' | tail -n 1)
    note=$(tr -d '=|' <<<"$note" | xargs)
    # Tests that were all skipped have shown nothing.
    [[ $result = ok && $* = *" pytest "* && $note != *passed* ]] && result="NOTHING RAN"
    [ "$result" = ok ] || { failed=1; tail -c "+$((offset + 1))" "$log" | tail -n 25; }
    stages+=("$name|$result|$((SECONDS - before))|$note")
    echo "== $name: $result, $((SECONDS - before)) s"
}

[ -n "$dry" ] || : >"$log"
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1
export VAE_FAST_TEST_SEED=${VAE_FAST_TEST_SEED:-$RANDOM}
export VAE_FAST_CUDA=1 VAE_FAST_CPU=1
export TORCH_CUDA_ARCH_LIST=${TORCH_CUDA_ARCH_LIST:-$("$python" -c '
import torch
print("%d.%d" % torch.cuda.get_device_capability())' 2>/dev/null)}

[ -n "$dry" ] || echo "VAE_FAST_TEST_SEED=$VAE_FAST_TEST_SEED TORCH_CUDA_ARCH_LIST=$TORCH_CUDA_ARCH_LIST" >>"$log"

tests=("$python" -m pytest -m gpu -q -ra --tb=short --durations=5 -p no:cacheprovider)
has pytest_timeout && tests+=(--timeout 100)
# Tests of values share a GPU well; those of memory and streams want it for themselves.
operators=("${tests[@]}" tests --ignore tests/gpu)
# They need what a machine for measuring may not have, and no GPU.
for module in cli data train; do operators+=(--ignore "tests/test_$module.py"); done
has xdist && operators+=(-n 6)

stage machine 20 bash -c "nvidia-smi; nvcc --version; $python -m pip list 2>/dev/null | grep -iE '^(torch|triton|numpy|pytest|hypothesis|setuptools|ninja) '; lscpu | grep 'Model name'; git describe --always --dirty; true"
stage build 160 "$python" setup.py build_ext --inplace
stage info 40 "$python" -m vae_fast.info
stage noise 60 "${tests[@]}" tests/gpu/test_gpu_noise.py
stage gpu 120 "${tests[@]}" tests/gpu --ignore tests/gpu/test_gpu_noise.py --ignore tests/gpu/test_gpu_sanitizer.py
stage benchmark 150 "$python" -m benchmarks --device cuda --quick --budget 110 --out "$out"
stage cuda 100 "${operators[@]}" -k "not triton and not cuda-reference"
stage triton 100 "${operators[@]}" -k triton
stage reference 60 "${operators[@]}" -k cuda-reference
stage sanitizer 100 "${tests[@]}" tests/gpu/test_gpu_sanitizer.py
stage steps 90 "$python" -m benchmarks.steps --device cuda --seconds 2 --out "$out"
[ -n "$dry" ] && exit 0

# The stages go into the benchmark's JSON: one file says what ran and what came out.
"$python" - "$out/gpu.json" "${stages[@]}" <<'END' || failed=1
import json, pathlib, sys
path = pathlib.Path(sys.argv[1])
result = json.loads(path.read_text()) if path.exists() else {"rows": []}
names = ("name", "result", "seconds", "tests")
result["stages"] = [dict(zip(names, line.split("|"))) for line in sys.argv[2:]]
path.write_text(json.dumps(result, indent=2) + "\n")
END

{
    echo
    printf '%-11s %-12s %5s  %s\n' stage result s tests
    for line in "${stages[@]}"; do
        IFS='|' read -r name result seconds note <<<"$line"
        printf '%-11s %-12s %5s  %s\n' "$name" "$result" "$seconds" "$note"
    done
    echo
    [ $failed = 0 ] && echo "all stages succeeded in $SECONDS s" || echo "FAILED, after $SECONDS s"
} | tee -a "$log"
exit $failed
