import os
import socket

import pytest

from mmaction.distributed import launch, torchrun
from mmaction.errors import ConfigError, LaunchError


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
        STEP_NUM_TASKS='8',
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
    assert os.environ['MASTER_PORT'] == str(20000 + 41234 % 12000)
    # Ranks of a machine follow one another where Slurm does not say otherwise.
    monkeypatch.delenv('SLURM_LOCALID')
    monkeypatch.delenv('SLURM_NTASKS_PER_NODE')
    monkeypatch.setenv('SLURM_PROCID', '6')
    launch._slurm_env()
    assert (os.environ['LOCAL_RANK'], os.environ['LOCAL_WORLD_SIZE']) == ('2', '4')
    for name in ('MASTER_ADDR', 'MASTER_PORT'):
        del os.environ[name]


@pytest.fixture
def step(monkeypatch):
    """Sets what srun tells a task of a step; what has been set of it is taken back at the end."""
    for name in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'LOCAL_WORLD_SIZE', 'MASTER_ADDR'):
        monkeypatch.setenv(name, '')
        monkeypatch.delenv(name)

    def tell(**names):
        monkeypatch.setenv('MASTER_PORT', '')
        monkeypatch.delenv('MASTER_PORT')
        for name, value in names.items():
            monkeypatch.setenv(f'SLURM_{name}', value)
        launch.name_processes('slurm')
        return os.environ['MASTER_PORT']

    return tell


def test_steps_of_a_job_meet_at_ports_of_their_own(step):
    task = dict(PROCID='1', STEP_NUM_TASKS='2', JOB_ID='7', NODELIST='n1')
    ports = {step(STEP_ID=str(number), **task) for number in range(10)}
    assert len(ports) == 10
    # What Linux gives to outgoing connections begins at 32768.
    assert all(20000 <= int(port) < 32768 for port in ports)


def test_step_counts_and_not_the_job_that_it_is_a_part_of(step):
    job = dict(NTASKS='12', NNODES='4', NTASKS_PER_NODE='3', NODELIST='n[1-4]')
    step(**job, PROCID='5', STEP_NUM_TASKS='6', STEP_TASKS_PER_NODE='2(x2),1(x2)', NODEID='3',
         STEP_NODELIST='n2', LOCALID='0')  # fmt: skip
    assert (os.environ['WORLD_SIZE'], os.environ['LOCAL_WORLD_SIZE']) == ('6', '1')
    assert os.environ['MASTER_ADDR'] == 'n2'
    step(NODEID='1')
    assert os.environ['LOCAL_WORLD_SIZE'] == '2'


def test_batch_script_without_srun_does_not_wait_for_tasks(step):
    with pytest.raises(ConfigError, match=r'the job has 2 tasks.*put srun before the command'):
        step(PROCID='0', NTASKS='2')
    step(PROCID='0', NTASKS='1')
    assert os.environ['WORLD_SIZE'] == '1'


def test_address_of_an_earlier_run_is_an_error_at_once(step, monkeypatch):
    monkeypatch.setenv('MASTER_ADDR', '192.0.2.1')  # reserved for documents: no machine's
    with pytest.raises(LaunchError, match=r'=192\.0\.2\.1 is no address of.*"unset MASTER_ADDR'):
        step(PROCID='0', STEP_NUM_TASKS='2')
    step(PROCID='1')  # runs on any machine
    monkeypatch.setenv('MASTER_ADDR', 'localhost')
    step(PROCID='0')


def test_the_first_node_counts_whatever_its_address(step, monkeypatch):
    monkeypatch.setattr(launch, '_is_own_address', lambda host: False)  # behind NAT
    for _ in range(2):  # before the config is read, and when the processes meet
        step(PROCID='0', STEP_NUM_TASKS='2', STEP_NODELIST='n2')
        assert os.environ['MASTER_ADDR'] == 'n2'


def test_names_of_an_earlier_run_are_forgotten(monkeypatch):
    for name in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'LOCAL_WORLD_SIZE'):
        monkeypatch.setenv(name, '3')
    assert launch.name_processes('none') == 'none'
    assert 'RANK' not in os.environ
    assert 'WORLD_SIZE' not in os.environ


@pytest.mark.parametrize('terminal', [False, True])
def test_tasks_that_each_run_by_themselves_are_told(monkeypatch, capsys, terminal):
    monkeypatch.setattr('mmaction.utils.work_share._has_terminal', lambda: terminal)
    monkeypatch.setenv('SLURM_PROCID', '0')
    monkeypatch.setenv('SLURM_STEP_NUM_TASKS', '2')
    launch.init_processes('none')
    told = capsys.readouterr().err
    assert ('srun has started 2 tasks' in told and '--launcher slurm' in told) != terminal


@pytest.fixture
def first_of_two(monkeypatch):
    with socket.socket() as taken:
        taken.bind(('', 0))
        taken.listen()
        names = dict(RANK='0', WORLD_SIZE='2', LOCAL_RANK='0', LOCAL_WORLD_SIZE='2')
        names.update(MASTER_ADDR='127.0.0.1', MASTER_PORT=str(taken.getsockname()[1]))
        for name, value in names.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(launch, '_share_cores', lambda cores: None)
        yield taken


def test_port_in_use_is_one_sentence(first_of_two):
    port = first_of_two.getsockname()[1]
    with pytest.raises(LaunchError, match=f'port {port} of .* in use; set MASTER_PORT'):
        launch.init_processes('pytorch', timeout=5)


@pytest.mark.parametrize(
    ('options', 'where'),
    [
        ('--master-addr 127.0.0.1 --master-port {}', 'port {}'),
        ('--rdzv-endpoint 127.0.0.1:{}', '127.0.0.1:{}'),
    ],
)
def test_port_in_use_is_one_sentence_of_torchrun(first_of_two, capsys, options, where):
    port = first_of_two.getsockname()[1]
    options = options.format(port).split()
    assert torchrun.main([*options, '--nproc-per-node', '1', 'x.py']) == 1
    told = f'error: {where.format(port)} is in use; set PORT to another\n'
    assert capsys.readouterr().err == told


def test_others_that_do_not_come_are_told(first_of_two, monkeypatch, capfd):
    first_of_two.close()
    monkeypatch.setattr(launch, '_PATIENCE', 0.1)
    where = r'process 0 of 2 on .* the others at 127\.0\.0\.1:\d+ \(MASTER_ADDR'
    with pytest.raises(LaunchError, match=where.replace(' the', ' does not meet the')) as error:
        launch.init_processes('pytorch', timeout=1)
    assert 'frame #' not in str(error.value)
    assert 'still waits for the others at 127.0.0.1' in capfd.readouterr().err


@pytest.mark.parametrize(
    ('bound', 'asked', 'tasks', 'cores'),
    [
        (16, '4', 4, 4),  # a node that binds no task to cores
        (4, '4', 4, 4),  # and one that binds each to its own
        (4, None, 4, 4),
        (16, None, 4, 4),
        (2, '4', 4, 2),
        (16, None, 32, 1),
    ],
)
def test_cores_of_a_task_are_not_divided_twice(monkeypatch, bound, asked, tasks, cores):
    monkeypatch.setattr(launch, 'available_cores', lambda: bound)
    monkeypatch.setenv('SLURM_CPUS_ON_NODE', '16')
    if asked:
        monkeypatch.setenv('SLURM_CPUS_PER_TASK', asked)
    assert launch._task_cores(tasks) == cores


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
    launch._share_cores(launch.core_share(processes))
    assert threads == [share]
    assert os.environ['OMP_NUM_THREADS'] == os.environ['MKL_NUM_THREADS'] == str(share)
