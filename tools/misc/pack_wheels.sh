#!/usr/bin/env bash
# Gather wheels for a GPU machine without a network, without their dependencies:
#   bash tools/misc/pack_wheels.sh [--python 3.12] DIR NAME ...
# What has no wheel (fvcore, iopath) is built here, if it is pure Python. There:
#   python -m pip install --no-index --no-deps DIR/*.whl
set -euo pipefail

usage() {
    sed -n '2,4s/^# \{0,1\}//p' "$0"
    exit "$1"
}

version=3.12 limit=50
while [ $# -gt 0 ]; do
    case $1 in
        --python) [ $# -gt 1 ] || usage 2; version=$2; shift 2 ;;
        -h | --help) usage 0 ;;
        -*) echo "error: unknown option $1" >&2; usage 2 ;;
        *) break ;;
    esac
done
[ $# -ge 2 ] || usage 2
folder=$1
shift
python=$(cd "$(dirname "$0")/../.." && pwd)/.venv/bin/python
[ -x "$python" ] || python=python3
mkdir -p "$folder"

for name in "$@"; do
    platforms=()
    for glibc in 2_17 2_24 2_27 2_28 2_31 2_34; do
        platforms+=(--platform "manylinux_${glibc}_x86_64")
    done
    if "$python" -m pip download --quiet --disable-pip-version-check --no-deps --dest "$folder" \
        --only-binary :all: --python-version "$version" --implementation cp \
        --platform manylinux2014_x86_64 "${platforms[@]}" "$name" 2>"$folder/pip.log"; then
        continue
    fi
    # No wheel: one that is built here runs there only if it is pure Python.
    before=$(ls "$folder")
    if ! "$python" -m pip wheel --quiet --disable-pip-version-check --no-deps \
        --wheel-dir "$folder" "$name" 2>>"$folder/pip.log"; then
        echo "error: $name: neither a wheel for Python $version nor a source that builds:" >&2
        tail -n 3 "$folder/pip.log" >&2
        exit 1
    fi
    built=$(comm -13 <(sort <<<"$before") <(ls "$folder" | sort))
    if [[ $built != *-none-any.whl ]]; then
        rm -f "$folder/$built"
        echo "error: $name has no wheel for Python $version and is not pure Python" >&2
        exit 1
    fi
done
rm -f "$folder/pip.log"

size=$(du -sm "$folder" | cut -f1)
ls "$folder"
echo "$size MiB in $folder"
if [ "$size" -gt "$limit" ]; then
    echo "error: that is more than $limit MiB; leave out what the machine has" >&2
    exit 1
fi
