import os

import pytest

from mmaction.distributed import launch
from mmaction.errors import ConfigError


def test_one_process():
    processes = launch.init_processes('none')
    assert (processes.rank, processes.world_size, processes.launcher) == (0, 1, 'none')


@pytest.mark.parametrize(
    ('launcher', 'message'),
    [
        ('pytorch', r'torchrun \(RANK, WORLD_SIZE, MASTER_ADDR not set\).*dist_train\.sh'),
        ('slurm', r'SLURM_PROCID not set.*slurm_train\.sh'),
        ('mpi', 'OMPI_COMM_WORLD_RANK not set'),
        ('ray', 'is one of none, pytorch, slurm, mpi, not "ray"'),
    ],
)
def test_unknown_launcher_is_error(launcher, message):
    with pytest.raises(ConfigError, match=message):
        launch.init_processes(launcher)


def test_slurm_environment(monkeypatch):
    slurm = dict(
        PROCID='5',
        NTASKS='8',
        NNODES='2',
        LOCALID='1',
        NODELIST='n1',
        JOB_ID='41234',
        NTASKS_PER_NODE='4',
    )
    for name, value in slurm.items():
        monkeypatch.setenv(f'SLURM_{name}', value)
    for name in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'LOCAL_WORLD_SIZE'):
        monkeypatch.setenv(name, 'to be replaced')
    monkeypatch.setenv('MASTER_PORT', '')
    monkeypatch.delenv('MASTER_PORT')
    launch._slurm_env()
    found = {name: os.environ[name] for name in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK')}
    assert found == dict(RANK='5', WORLD_SIZE='8', LOCAL_RANK='1')
    assert os.environ['LOCAL_WORLD_SIZE'] == '4'
    assert os.environ['MASTER_ADDR'] == 'n1'
    # All tasks of a job meet at the port that its number gives.
    assert os.environ['MASTER_PORT'] == str(20000 + 41234 % 20000)
    # Ranks of a machine follow one another where Slurm does not say otherwise.
    monkeypatch.delenv('SLURM_LOCALID')
    monkeypatch.delenv('SLURM_NTASKS_PER_NODE')
    monkeypatch.setenv('SLURM_PROCID', '6')
    launch._slurm_env()
    assert (os.environ['LOCAL_RANK'], os.environ['LOCAL_WORLD_SIZE']) == ('2', '4')
    for name in ('MASTER_ADDR', 'MASTER_PORT'):
        del os.environ[name]


def test_several_mpi_machines_need_an_address(monkeypatch):
    for name, value in dict(RANK='0', SIZE='4', LOCAL_RANK='0', LOCAL_SIZE='2').items():
        monkeypatch.setenv(f'OMPI_COMM_WORLD_{name}', value)
    for name in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'LOCAL_WORLD_SIZE'):
        monkeypatch.setenv(name, '')
    with pytest.raises(ConfigError, match='needs MASTER_ADDR'):
        launch._mpi_env()


@pytest.mark.parametrize(('processes', 'share'), [(1, 8), (2, 4), (3, 2), (16, 1)])
def test_cores_are_divided_by_the_processes_of_the_machine(monkeypatch, processes, share):
    monkeypatch.setattr(os, 'sched_getaffinity', lambda pid: set(range(8)))
    assert launch.core_share(processes) == share
    for name in ('OMP_NUM_THREADS', 'MKL_NUM_THREADS'):
        monkeypatch.setenv(name, 'to be restored')
        monkeypatch.delenv(name)
    threads = []
    monkeypatch.setattr('torch.set_num_threads', threads.append)
    launch._share_cores(processes)
    assert threads == [share]
    assert os.environ['OMP_NUM_THREADS'] == os.environ['MKL_NUM_THREADS'] == str(share)
