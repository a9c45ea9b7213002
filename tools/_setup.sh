# Sourced by quickstart.sh and run_tests.sh: make .venv and install the project into it.
# PYTHON=/path/to/python chooses the interpreter. Safe to source again: it reuses what is there.

# Containers often set it; every process would then compile the package's files anew.
unset PYTHONDONTWRITEBYTECODE

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
python=$root/.venv/bin/python

find_python() {
    local candidate
    for candidate in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11 python3.10}; do
        if "$candidate" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 15))' \
            2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    echo "error: Python 3.10 to 3.14 is needed; name one: PYTHON=/path/to/python bash $0" >&2
    return 1
}

# set_up [EXTRA]: install the project, with an optional extra such as dev.
set_up() {
    local extra=${1:-} stamp=$root/.venv/.installed${1:+-$1} wanted interpreter
    wanted=$(cat pyproject.toml requirements.txt setup.py | cksum)
    if [ -x "$python" ] && [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
        return
    fi
    if [ ! -x "$python" ]; then
        interpreter=$(find_python)
        echo "Making .venv with $interpreter"
        "$interpreter" -m venv .venv
    fi
    echo "Installing the project into .venv (the first time this fetches PyTorch: minutes)"
    # Without compiling all modules, which takes two minutes: the few that are needed are compiled
    # when they are first imported.
    "$python" -m pip install --quiet --disable-pip-version-check --no-compile -e ".${extra:+[$extra]}"
    "$python" -m pip check
    echo "$wanted" >"$stamp"
}
