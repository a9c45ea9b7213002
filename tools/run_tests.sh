#!/usr/bin/env bash
# Set up .venv, then check style and types and run the tests:
#   bash tools/run_tests.sh [--slow]               # everything; --slow: the slow tests as well
#   bash tools/run_tests.sh -k dualformer -x       # with other options, only pytest runs
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/_setup.sh"
set_up dev
# The accessibility test of the web page runs axe-core in Chromium, and skips itself without it.
if command -v npm >/dev/null && [ ! -d .venv/node_modules/axe-core ]; then
    npm install --silent --no-save --no-package-lock --no-audit --no-fund --prefix .venv axe-core ||
        echo "axe-core cannot be installed: the accessibility test of the web page is skipped" >&2
fi
if [ $# -eq 0 ] || [ "$*" = --slow ]; then
    bash tools/lint.sh
    # One thread each, and a test process more than cores: some tests wait, for a child process or a
    # timeout. Files go in the order of tests/conftest.py.
    export OMP_NUM_THREADS=1
    cores=$("$python" -c 'import os; print(os.cpu_count() or 1)')
    set -- -n "$((cores < 4 ? cores + 1 : 4))" --dist loadfile --no-loadscope-reorder "$@"
fi
exec "$python" -m pytest "$@"
