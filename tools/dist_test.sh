#!/usr/bin/env bash
# Test with several processes:  bash tools/dist_test.sh CONFIG CHECKPOINT GPUS [options of tools/test.py]
# GPUS is the number of processes on this machine: one per GPU, or per CPU share where there is
# no GPU. Several machines: NNODES, NODE_RANK, MASTER_ADDR and PORT, the same but NODE_RANK on all.
set -euo pipefail
if [ $# -lt 3 ]; then
    sed -n '2,4s/^# //p' "$0" >&2
    exit 2
fi
config=$1 checkpoint=$2 gpus=$3
shift 3
source "$(dirname "${BASH_SOURCE[0]}")/_dist.sh"
launch "$gpus" "$tools/test.py" "$config" "$checkpoint" --launcher pytorch "$@"
