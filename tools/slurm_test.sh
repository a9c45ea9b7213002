#!/usr/bin/env bash
# Test on a Slurm cluster; GRES= tests on CPUs:
#   [GPUS=8 GPUS_PER_NODE=8 CPUS_PER_TASK=5 GRES=gpu:8 SRUN_ARGS="..."] \
#       bash tools/slurm_test.sh PARTITION JOB_NAME CONFIG CHECKPOINT [options of tools/test.py]
set -euo pipefail
if [ $# -lt 4 ]; then
    sed -n '2,4s/^# //p' "$0" >&2
    exit 2
fi
partition=$1 job=$2 config=$3 checkpoint=$4
shift 4
source "$(dirname "${BASH_SOURCE[0]}")/_dist.sh"
submit "$partition" "$job" "$tools/test.py" "$config" "$checkpoint" "$@"
