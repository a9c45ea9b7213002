"""Starting the processes of a run, on GPUs or on CPUs.

mmengine's own start asks for a GPU in every process. This one takes NCCL where
each process has a GPU and gloo where there is none.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from mmaction.errors import ConfigError, LaunchError
from mmaction.utils.cli import available_cores, one_line, print_notes
from mmaction.utils.memory import keep_freed_memory
from mmaction.utils.work_share import task_of_step

from .collectives import open_control_group

__all__ = [
    'Processes',
    'core_share',
    'init_processes',
    'name_processes',
]

LAUNCHERS = ('none', 'pytorch', 'slurm', 'mpi')

_PATIENCE = 60.0
"""Seconds of waiting for other processes after which a line says so."""


@dataclass(frozen=True)
class Processes:
    """Where this process stands among all of a run."""

    launcher: str
    rank: int = 0
    local_rank: int = 0
    world_size: int = 1
    local_world_size: int = 1
    device: str = 'cpu'


def name_processes(launcher: str) -> str:
    """Put what a launcher says of this process under the names that torchrun has.

    Errors of the config, which is read before the processes meet, are then the first one's to
    print. Names that nobody set for this process, as in a shell that was a rank of another run,
    are taken away.

    Args:
        launcher: 'none' (one process), 'pytorch' (torchrun), 'slurm' or 'mpi'.

    Returns:
        The launcher: under torchrun 'none' means 'pytorch'.

    Raises:
        ConfigError: The launcher's environment is missing.
    """
    if launcher not in LAUNCHERS:
        raise ConfigError(f'--launcher is one of {", ".join(LAUNCHERS)}, not "{launcher}"')
    if launcher == 'none' and 'TORCHELASTIC_RUN_ID' in os.environ:
        launcher = 'pytorch'
    if launcher != 'none':
        {'pytorch': _torchrun_env, 'slurm': _slurm_env, 'mpi': _mpi_env}[launcher]()
        return launcher
    for name in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'LOCAL_WORLD_SIZE'):
        os.environ.pop(name, None)
    return launcher


def init_processes(
    launcher: str = 'none', backend: str | None = None, timeout: float = 1800.0
) -> Processes:
    """Join the process group that the launcher describes.

    Args:
        launcher: 'none' (one process), 'pytorch' (torchrun), 'slurm' or 'mpi'.
            Under torchrun 'none' means 'pytorch'.
        backend: 'nccl' or 'gloo'; by default NCCL with GPUs and gloo without.
        timeout: Seconds after which a stuck collective operation fails.

    Raises:
        ConfigError: The launcher's environment is missing, or there are fewer
            GPUs than processes.
        LaunchError: The processes do not meet.
    """
    launcher = name_processes(launcher)
    if not torch.cuda.is_available():
        keep_freed_memory()
    if launcher == 'none':
        task = task_of_step()
        if task is not None:
            print_notes(
                f'note: srun has started {task[1]} tasks, each of which runs by itself; '
                '--launcher slurm makes them one run'
            )
        return Processes('none', device='cuda' if torch.cuda.is_available() else 'cpu')
    local_rank, local_size = int(os.environ['LOCAL_RANK']), int(os.environ['LOCAL_WORLD_SIZE'])
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        if local_rank >= torch.cuda.device_count():
            raise ConfigError(
                f'{local_size} processes were started on a machine with '
                f'{torch.cuda.device_count()} visible GPUs; start one process per GPU'
            )
        torch.cuda.set_device(local_rank)
    else:
        _share_cores(_task_cores(local_size) if launcher == 'slurm' else core_share(local_size))
    backend = backend if on_gpu and backend else ('nccl' if on_gpu else 'gloo')
    if not dist.is_initialized():
        with _meeting(timeout):
            _meet(backend, timedelta(seconds=timeout))
    open_control_group(backend, timeout)
    return Processes(
        launcher,
        dist.get_rank(),
        local_rank,
        dist.get_world_size(),
        local_size,
        'cuda' if on_gpu else 'cpu',
    )


def _meet(backend: str, timeout: timedelta) -> None:
    """Make the process group of all processes."""
    store, rank, world_size = next(rendezvous('env://', timeout=timeout))
    # Processes that torchrun starts again share the store with those before
    # them, and must not find their addresses.
    attempt = os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')
    dist.init_process_group(
        backend,
        store=dist.PrefixStore(f'attempt {attempt}', store),
        rank=rank,
        world_size=world_size,
        timeout=timeout,
    )


@contextmanager
def _meeting(timeout: float) -> Iterator[None]:
    """Say where this process waits for the others, once it has taken long and if it fails."""
    given = os.environ
    port = given.get('MASTER_PORT')
    where = (
        f'process {given["RANK"]} of {given["WORLD_SIZE"]} on {socket.gethostname()} {{}} the '
        f'others at {given["MASTER_ADDR"]}:{port} (MASTER_ADDR, MASTER_PORT){{}}: these have to '
        'name the machine of process 0, all processes have to run, and no firewall may be between'
    )
    late = threading.Timer(
        _PATIENCE, lambda: print(where.format('still waits for', ''), file=sys.stderr, flush=True)
    )
    late.daemon = True
    late.start()
    try:
        yield
    except dist.DistError as error:
        if 'EADDRINUSE' in str(error):
            text = f'port {port} of {socket.gethostname()} is in use; set MASTER_PORT to another'
            raise LaunchError(text) from error
        reason = one_line(str(error)).partition(' Exception raised from ')[0]
        text = where.format('does not meet', f' within {timeout:g} s')
        raise LaunchError(f'{text} ({reason})') from error
    finally:
        late.cancel()


def _torchrun_env() -> None:
    missing = [name for name in ('RANK', 'WORLD_SIZE', 'MASTER_ADDR') if name not in os.environ]
    if missing:
        raise LaunchError(
            f'--launcher pytorch needs the environment of torchrun ({", ".join(missing)} not '
            'set); start with tools/dist_train.sh or tools/dist_test.sh, or leave --launcher out'
        )
    os.environ.setdefault('LOCAL_RANK', '0')
    os.environ.setdefault('LOCAL_WORLD_SIZE', os.environ['WORLD_SIZE'])


def _slurm_env() -> None:
    if 'SLURM_PROCID' not in os.environ:
        raise LaunchError(
            '--launcher slurm needs a Slurm step (SLURM_PROCID not set); '
            'start with tools/slurm_train.sh or srun'
        )
    given = os.environ
    tasks = int(given.get('SLURM_STEP_NUM_TASKS', given.get('SLURM_NTASKS', '1')))
    if tasks > 1 and 'SLURM_STEP_NUM_TASKS' not in given:
        raise ConfigError(
            f'--launcher slurm: the job has {tasks} tasks, but this process is the batch script '
            'itself, and waits for the others for ever; put srun before the command'
        )
    rank = int(given['SLURM_PROCID'])
    per_node = _tasks_of_node(tasks)
    given['RANK'] = str(rank)
    given['WORLD_SIZE'] = str(tasks)
    given['LOCAL_RANK'] = given.get('SLURM_LOCALID', str(rank % per_node))
    given['LOCAL_WORLD_SIZE'] = str(per_node)
    nodes = given.get('SLURM_STEP_NODELIST', given.get('SLURM_NODELIST', 'localhost'))
    if 'MASTER_ADDR' not in given:
        given['MASTER_ADDR'] = _first_host(nodes)
    elif (
        rank == 0
        and not _is_own_address(given['MASTER_ADDR'])
        and given['MASTER_ADDR'] != _first_host(nodes)
    ):
        raise LaunchError(
            f'MASTER_ADDR={given["MASTER_ADDR"]} is no address of {socket.gethostname()}, where '
            'the first task runs: "unset MASTER_ADDR MASTER_PORT" leaves them to Slurm'
        )
    # Steps of a job may run at the same time. Above 32767 are the ports that Linux gives to
    # outgoing connections.
    job, step = (int(given.get(f'SLURM_{name}_ID', '0')) for name in ('JOB', 'STEP'))
    given.setdefault('MASTER_PORT', str(20000 + (job + 1009 * step) % 12000))


def _tasks_of_node(tasks: int) -> int:
    """Tasks of this step on this node; what is said of the job may be another number."""
    counts: list[int] = []
    # 4(x2),1: two nodes with four tasks and one with one
    given = os.environ.get('SLURM_STEP_TASKS_PER_NODE', '')
    for count, times in re.findall(r'(\d+)(?:\(x(\d+)\))?', given):
        counts += [int(count)] * int(times or 1)
    node = int(os.environ.get('SLURM_NODEID', '0'))
    if node < len(counts):
        return counts[node]
    nodes = int(os.environ.get('SLURM_NNODES', '1'))
    return int(os.environ.get('SLURM_NTASKS_PER_NODE', str(max(1, tasks // nodes))))


def _is_own_address(host: str) -> bool:
    """Whether a host is this machine; also if its name cannot be looked up."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, 0)[0]
        with socket.socket(family) as probe:
            probe.bind(address)
    except socket.gaierror:
        pass
    except OSError:
        return False
    return True


def _first_host(nodes: str) -> str:
    """The first host of a Slurm node list."""
    if '[' not in nodes and ',' not in nodes:
        return nodes
    try:
        reply = subprocess.run(
            ['scontrol', 'show', 'hostnames', nodes], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise ConfigError(
            f'the first of the Slurm nodes {nodes} cannot be told ({error}); set MASTER_ADDR'
        ) from error
    return reply.stdout.split()[0]


def _mpi_env() -> None:
    names = {
        'RANK': 'OMPI_COMM_WORLD_RANK',
        'WORLD_SIZE': 'OMPI_COMM_WORLD_SIZE',
        'LOCAL_RANK': 'OMPI_COMM_WORLD_LOCAL_RANK',
        'LOCAL_WORLD_SIZE': 'OMPI_COMM_WORLD_LOCAL_SIZE',
    }
    for name, source in names.items():
        if source not in os.environ:
            raise ConfigError(f"--launcher mpi needs Open MPI's mpirun ({source} not set)")
        os.environ[name] = os.environ[source]
    if 'MASTER_ADDR' not in os.environ:
        if os.environ['WORLD_SIZE'] != os.environ['LOCAL_WORLD_SIZE']:
            raise ConfigError('--launcher mpi over several machines needs MASTER_ADDR')
        os.environ['MASTER_ADDR'] = '127.0.0.1'
    os.environ.setdefault('MASTER_PORT', '29500')


def core_share(processes: int) -> int:
    """Cores of this machine for each of so many processes, at least 1."""
    return max(1, available_cores() // processes)


def _task_cores(tasks: int) -> int:
    """Cores of a task of Slurm, which may have bound each task to its own already."""
    node = int(os.environ.get('SLURM_CPUS_ON_NODE', '0')) or available_cores()
    asked = int(os.environ.get('SLURM_CPUS_PER_TASK', '0')) or node // tasks
    return max(1, min(asked, available_cores()))


def _share_cores(cores: int) -> None:
    """Give this CPU process its share of the cores, unless the user has decided."""
    share = str(cores)
    if 'OMP_NUM_THREADS' not in os.environ:
        torch.set_num_threads(int(share))
    # Set even for one process: mmengine would set 1 and warn about it.
    os.environ.setdefault('OMP_NUM_THREADS', share)
    os.environ.setdefault('MKL_NUM_THREADS', os.environ['OMP_NUM_THREADS'])
