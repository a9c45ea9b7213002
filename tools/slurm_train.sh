#!/usr/bin/env bash
# Train on a Slurm cluster; GRES= trains on CPUs:
#   [GPUS=8 GPUS_PER_NODE=8 CPUS_PER_TASK=5 GRES=gpu:8 SRUN_ARGS="..."] \
#       bash tools/slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR [options of tools/train.py]
# With TIME=24:00:00 (a time limit) the job is queued, not waited for: WORK_DIR/train.sbatch saves
# SAVE_SECONDS=180 before the limit, queues itself again at most MAX_REQUEUES=100 times, and goes on
# from the last checkpoint, on whatever nodes. DRY_RUN=1 only writes it.
set -euo pipefail
if [ $# -lt 4 ]; then
    sed -n '2,7s/^# //p' "$0" >&2
    exit 2
fi
partition=$1 job=$2 config=$3 work_dir=$4
shift 4
source "$(dirname "${BASH_SOURCE[0]}")/_dist.sh"
if [ -n "${TIME:-}" ]; then
    queue "$partition" "$job" "$work_dir" "$tools/train.py" "$config" --work-dir "$work_dir" "$@"
    exit
fi
submit "$partition" "$job" "$tools/train.py" "$config" --work-dir "$work_dir" "$@"
