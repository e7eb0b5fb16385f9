#!/usr/bin/env bash
# The documentation: built strictly, every link and anchor in the result followed, no formula left raw.
set -euo pipefail
cd "$(dirname "$0")/.."

make docs
.venv/bin/linkchecker --config .ci/linkchecker.ini site/index.html
if grep -rlE '\.\. math::|:math:`' site --include='*.html'; then
    echo "raw formulas in the pages above"
    exit 1
fi
