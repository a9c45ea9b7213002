#!/usr/bin/env bash
# Style, spelling, types and layers, without the tests: bash tools/lint.sh
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/_setup.sh"
set_up dev
"$python" -m ruff check .
"$python" -m ruff format --check .
"$python" -m codespell_lib
"$python" -m mypy
# What Windows lacks, macOS lacks some of as well. The two files are for Linux alone.
"$python" -m mypy --platform win32 --cache-dir .mypy_cache/win32 \
    --exclude '(forked_call|memory_files)\.py$' mmaction demo
"$(dirname "$python")/lint-imports"
