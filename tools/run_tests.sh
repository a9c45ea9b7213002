#!/usr/bin/env bash
# Set up .venv, then check style and types and run the tests:
#   bash tools/run_tests.sh [--slow]               # everything; --slow: the slow tests as well
#   bash tools/run_tests.sh -k dualformer -x       # with other options, only pytest runs
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/_setup.sh"
set_up dev
if [ $# -eq 0 ] || [ "$*" = --slow ]; then
    "$python" -m ruff check .
    "$python" -m ruff format --check .
    "$python" -m mypy
    # one test process per core, one thread each
    export OMP_NUM_THREADS=1
    set -- -n auto --maxprocesses 4 --dist loadfile "$@"
fi
exec "$python" -m pytest "$@"
