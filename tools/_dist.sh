# Sourced by dist_*.sh and slurm_*.sh: where the checkout is, which python, and torchrun.

tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$tools")
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"

# The python of the active environment; else the one that quickstart.sh made.
if [ -z "${VIRTUAL_ENV:-}${CONDA_PREFIX:-}" ] && [ -x "$root/.venv/bin/python" ]; then
    python=$root/.venv/bin/python
else
    python=$(command -v python || command -v python3)
fi

# launch PROCESSES SCRIPT [arguments]: run the script in so many processes on this machine.
launch() {
    local processes=$1 options=()
    shift
    if ! [[ $processes =~ ^[1-9][0-9]*$ ]]; then
        echo "error: the number of GPUs (or CPU processes) is a positive integer, not '$processes'" >&2
        return 2
    fi
    if [ "${NNODES:-1}" -gt 1 ]; then
        options=(--nnodes "$NNODES" --node-rank "${NODE_RANK:-0}"
            --master-addr "${MASTER_ADDR:?set MASTER_ADDR to the address of the first machine}"
            --master-port "${PORT:-29500}")
    elif [ -n "${PORT:-}" ]; then
        options=(--master-addr "${MASTER_ADDR:-127.0.0.1}" --master-port "$PORT")
    else
        options=(--standalone)
    fi
    exec "$python" -m mmaction.distributed.torchrun "${options[@]}" --nproc-per-node "$processes" \
        --max-restarts "${MAX_RESTARTS:-0}" "$@"
}

# tasks: set gpus, per_node and gres of a job from the environment.
tasks() {
    gpus=${GPUS:-8} per_node=${GPUS_PER_NODE:-8}
    local name
    for name in GPUS GPUS_PER_NODE CPUS_PER_TASK; do
        if ! [[ ${!name:-1} =~ ^[1-9][0-9]*$ ]]; then
            echo "error: $name is a positive integer, not '${!name}'" >&2
            return 2
        fi
    done
    [ "$per_node" -le "$gpus" ] || per_node=$gpus
    gres=${GRES-gpu:$per_node} # GRES= (empty) runs on CPUs
}

# submit PARTITION JOB_NAME SCRIPT [arguments]: run the script with one Slurm task per GPU.
submit() {
    local partition=$1 job=$2 gpus per_node gres
    shift 2
    tasks
    # shellcheck disable=SC2086  # SRUN_ARGS holds several words
    exec srun -p "$partition" --job-name="$job" ${gres:+--gres="$gres"} --ntasks="$gpus" \
        --ntasks-per-node="$per_node" --cpus-per-task="${CPUS_PER_TASK:-5}" --kill-on-bad-exit=1 \
        ${SRUN_ARGS:-} "$python" -u "$1" "${@:2}" --launcher slurm
}

# queue PARTITION JOB_NAME WORK_DIR SCRIPT [arguments]: the same as a job that Slurm starts when it
# can, that saves before its time is over and queues itself again. Writes WORK_DIR/train.sbatch.
queue() {
    local partition=$1 job=$2 work_dir=$3 gpus per_node gres command
    shift 3
    tasks
    if [ $((gpus % per_node)) -ne 0 ]; then
        echo "error: GPUS=$gpus is no multiple of GPUS_PER_NODE=$per_node" >&2
        return 2
    fi
    mkdir -p "$work_dir"
    work_dir=$(cd "$work_dir" && pwd)
    # A checkpoint that the options name is for the first start; the later ones find their own.
    [[ " $* " == *" --resume"* ]] || set -- "$@" --resume
    printf -v command '%q ' "$python" -u "$@" --launcher slurm
    cat >"$work_dir/train.sbatch" <<EOF
#!/usr/bin/env bash
#SBATCH --partition="$partition"
#SBATCH --job-name="$job"
#SBATCH --time=$TIME
#SBATCH --nodes=$((gpus / per_node))
#SBATCH --ntasks-per-node=$per_node
#SBATCH --cpus-per-task=${CPUS_PER_TASK:-5}
${gres:+#SBATCH --gres=$gres}
#SBATCH --output="$work_dir/slurm-%j.log"
#SBATCH --open-mode=append
#SBATCH --chdir="$PWD"
# A node that is lost, or a preemption: Slurm queues the job again.
#SBATCH --requeue
# So many seconds before the time is over all tasks get SIGUSR1: they save and end.
#SBATCH --signal=USR1@${SAVE_SECONDS:-180}

export PYTHONPATH=$(printf %q "$PYTHONPATH")
# The first node of those that the job has now, and a port that is free on it: a fixed one may
# belong to another job there.
MASTER_ADDR=\$(scontrol show hostnames "\$SLURM_JOB_NODELIST" | head -n 1)
MASTER_PORT=\$($(printf %q "$python") -c '
import socket
with socket.socket() as free:
    free.bind(("", 0))
    print(free.getsockname()[1])')
export MASTER_ADDR MASTER_PORT
echo "start \${SLURM_RESTART_COUNT:-0} of job \$SLURM_JOB_ID on \$SLURM_JOB_NODELIST"

# With --wait the tasks that are left do not hang in a collective operation for its timeout.
srun --kill-on-bad-exit=1 --wait=60 --cpus-per-task=${CPUS_PER_TASK:-5} ${SRUN_ARGS:-} $command
status=\$?
case \$status in
    # SIGUSR1, SIGKILL and SIGTERM: its time is nearly over, or a task or its node is lost. Slurm
    # ends the other tasks with SIGTERM as soon as the first one has ended.
    137 | 138 | 143) ;;
    *) exit \$status ;;
esac
# Tasks that are killed each time must not go round for ever.
if [ "\${SLURM_RESTART_COUNT:-0}" -ge ${MAX_REQUEUES:-100} ]; then
    echo "not queued again after ${MAX_REQUEUES:-100} times"
    exit \$status
fi
echo "queued again after exit status \$status"
scontrol requeue "\$SLURM_JOB_ID"
EOF
    if [ -n "${DRY_RUN:-}" ]; then
        echo "written, not queued: $work_dir/train.sbatch"
    else
        sbatch "$work_dir/train.sbatch"
    fi
}
