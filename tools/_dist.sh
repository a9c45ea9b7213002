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

# submit PARTITION JOB_NAME SCRIPT [arguments]: run the script with one Slurm task per GPU.
submit() {
    local partition=$1 job=$2 gpus=${GPUS:-8} per_node=${GPUS_PER_NODE:-8}
    shift 2
    [ "$per_node" -le "$gpus" ] || per_node=$gpus
    # shellcheck disable=SC2086  # SRUN_ARGS holds several words
    exec srun -p "$partition" --job-name="$job" --gres="gpu:$per_node" --ntasks="$gpus" \
        --ntasks-per-node="$per_node" --cpus-per-task="${CPUS_PER_TASK:-5}" --kill-on-bad-exit=1 \
        ${SRUN_ARGS:-} "$python" -u "$1" "${@:2}" --launcher slurm
}
