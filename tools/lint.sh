#!/usr/bin/env bash
# Style, spelling, types and layers, without the tests: bash tools/lint.sh
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/_setup.sh"
set_up dev
"$python" -m ruff check .
"$python" -m ruff format --check .
"$python" -m codespell_lib
"$python" -m mypy
"$(dirname "$python")/lint-imports"
