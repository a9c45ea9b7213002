#!/usr/bin/env bash
# Train with several processes:  bash tools/dist_train.sh CONFIG GPUS [options of tools/train.py]
# GPUS is the number of processes on this machine: one per GPU, or per CPU share where there is
# no GPU. Several machines: NNODES, NODE_RANK, MASTER_ADDR and PORT, the same but NODE_RANK on all.
# MAX_RESTARTS=3 starts the processes again after a crash; they go on from the last checkpoint.
set -euo pipefail
if [ $# -lt 2 ]; then
    sed -n '2,5s/^# //p' "$0" >&2
    exit 2
fi
config=$1 gpus=$2
shift 2
source "$(dirname "${BASH_SOURCE[0]}")/_dist.sh"
launch "$gpus" "$tools/train.py" "$config" --launcher pytorch "$@"
