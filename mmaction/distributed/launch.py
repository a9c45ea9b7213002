"""Starting the processes of a run, on GPUs or on CPUs.

mmengine's own start asks for a GPU in every process. This one takes NCCL where
each process has a GPU and gloo where there is none.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from mmaction.errors import ConfigError
from mmaction.utils.cli import available_cores
from mmaction.utils.memory import keep_freed_memory

from .collectives import open_control_group

__all__ = [
    'Processes',
    'core_share',
    'init_processes',
]

LAUNCHERS = ('none', 'pytorch', 'slurm', 'mpi')


@dataclass(frozen=True)
class Processes:
    """Where this process stands among all of a run."""

    launcher: str
    rank: int = 0
    local_rank: int = 0
    world_size: int = 1
    local_world_size: int = 1
    device: str = 'cpu'


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
    """
    if launcher not in LAUNCHERS:
        raise ConfigError(f'--launcher is one of {", ".join(LAUNCHERS)}, not "{launcher}"')
    if launcher == 'none' and 'TORCHELASTIC_RUN_ID' in os.environ:
        launcher = 'pytorch'
    if not torch.cuda.is_available():
        keep_freed_memory()
    if launcher == 'none':
        return Processes('none', device='cuda' if torch.cuda.is_available() else 'cpu')
    {'pytorch': _torchrun_env, 'slurm': _slurm_env, 'mpi': _mpi_env}[launcher]()
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
        _share_cores(local_size)
    backend = backend if on_gpu and backend else ('nccl' if on_gpu else 'gloo')
    if not dist.is_initialized():
        store, rank, world_size = next(rendezvous('env://', timeout=timedelta(seconds=timeout)))
        # Processes that torchrun starts again share the store with those before
        # them, and must not find their addresses.
        attempt = os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')
        dist.init_process_group(
            backend,
            store=dist.PrefixStore(f'attempt {attempt}', store),
            rank=rank,
            world_size=world_size,
            timeout=timedelta(seconds=timeout),
        )
    open_control_group(backend, timeout)
    return Processes(
        launcher,
        dist.get_rank(),
        local_rank,
        dist.get_world_size(),
        local_size,
        'cuda' if on_gpu else 'cpu',
    )


def _torchrun_env() -> None:
    missing = [name for name in ('RANK', 'WORLD_SIZE', 'MASTER_ADDR') if name not in os.environ]
    if missing:
        raise ConfigError(
            f'--launcher pytorch needs the environment of torchrun ({", ".join(missing)} not '
            'set); start with tools/dist_train.sh or tools/dist_test.sh, or leave --launcher out'
        )
    os.environ.setdefault('LOCAL_RANK', '0')
    os.environ.setdefault('LOCAL_WORLD_SIZE', os.environ['WORLD_SIZE'])


def _slurm_env() -> None:
    if 'SLURM_PROCID' not in os.environ:
        raise ConfigError(
            '--launcher slurm needs a Slurm step (SLURM_PROCID not set); '
            'start with tools/slurm_train.sh or srun'
        )
    tasks = int(os.environ['SLURM_NTASKS'])
    nodes = int(os.environ.get('SLURM_NNODES', '1'))
    per_node = int(os.environ.get('SLURM_NTASKS_PER_NODE', str(max(1, tasks // nodes))))
    rank = int(os.environ['SLURM_PROCID'])
    os.environ['RANK'] = str(rank)
    os.environ['WORLD_SIZE'] = str(tasks)
    os.environ['LOCAL_RANK'] = os.environ.get('SLURM_LOCALID', str(rank % per_node))
    os.environ['LOCAL_WORLD_SIZE'] = str(per_node)
    if 'MASTER_ADDR' not in os.environ:
        os.environ['MASTER_ADDR'] = _first_host(os.environ.get('SLURM_NODELIST', 'localhost'))
    job = int(os.environ.get('SLURM_JOB_ID', '0'))
    os.environ.setdefault('MASTER_PORT', str(20000 + job % 20000))


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


def _share_cores(processes: int) -> None:
    """Give each CPU process its share of the cores, unless the user has decided."""
    share = str(core_share(processes))
    if 'OMP_NUM_THREADS' not in os.environ:
        torch.set_num_threads(int(share))
    # Set even for one process: mmengine would set 1 and warn about it.
    os.environ.setdefault('OMP_NUM_THREADS', share)
    os.environ.setdefault('MKL_NUM_THREADS', os.environ['OMP_NUM_THREADS'])
