"""Jobs of tools/slurm_train.sh on a real Slurm, where Debian's slurm-wlm is installed."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.engine.toy import last_checkpoint, write_toy
from tests.slurm_cluster import SlurmCluster, why_not

ROOT = Path(__file__).resolve().parents[2]


def submit(cluster, config, work_dir, *options, gpus, per_node=1, **environment):
    """Queue a training; the number of the job."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(('SLURM_', 'TORCHELASTIC'))}
    clean.update(
        cluster.environment,
        VIRTUAL_ENV=sys.prefix,
        PATH=f'{Path(sys.executable).parent}:{os.environ["PATH"]}',
        GPUS=str(gpus),
        GPUS_PER_NODE=str(per_node),
        CPUS_PER_TASK='1',
        GRES='',
        OMP_NUM_THREADS='1',
        **environment,
    )
    done = subprocess.run(
        ['bash', str(ROOT / 'tools/slurm_train.sh'), 'debug', 'my job', str(config), str(work_dir)]
        + ['--seed', '1', '--no-validate', *options],
        env=clean,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    return re.search(r'Submitted batch job (\d+)|written', done.stdout)[1]


def wait_for(test, seconds, what):
    end = time.time() + seconds
    while not test():
        assert time.time() < end, what()
        time.sleep(0.5)


def state(cluster, job):
    found = re.search(r'JobState=(\w+)', cluster.call('scontrol', 'show', 'job', job))
    return found[1] if found else ''


def log_of(work_dir, job):
    path = work_dir / f'slurm-{job}.log'
    return path.read_text(errors='replace') if path.exists() else ''


def weights(work_dir):
    return last_checkpoint(work_dir)['state_dict']


def test_job_says_what_it_does(tmp_path):
    class Nothing:
        environment = dict(TIME='10:00', DRY_RUN='1', SAVE_SECONDS='90', MAX_REQUEUES='3')

    submit(Nothing, 'my config.py', tmp_path / 'w', gpus=4, per_node=2)
    text = (tmp_path / 'w' / 'train.sbatch').read_text()
    for line in (
        '#SBATCH --time=10:00',
        '#SBATCH --nodes=2',
        '#SBATCH --ntasks-per-node=2',
        '#SBATCH --requeue',
        '#SBATCH --signal=USR1@90',
    ):
        assert f'\n{line}\n' in text
    assert '--gres' not in text
    assert r'my\ config.py --work-dir' in text
    assert '--no-validate --resume --launcher slurm' in text
    assert subprocess.run(['bash', '-n', str(tmp_path / 'w' / 'train.sbatch')]).returncode == 0


def test_job_begins_with_the_checkpoint_that_is_named(tmp_path):
    class Nothing:
        environment = dict(TIME='10:00', DRY_RUN='1')

    submit(Nothing, 'c.py', tmp_path / 'w', '--resume', 'my.pth', gpus=1)
    text = (tmp_path / 'w' / 'train.sbatch').read_text()
    assert '--no-validate --resume my.pth --launcher slurm' in text


def kill_task(work_dir):
    """Kill one of the tasks that train into a work dir."""
    for path in Path('/proc').glob('[0-9]*/cmdline'):
        with contextlib.suppress(OSError):
            words = path.read_bytes().decode(errors='replace').split('\0')
            if 'python' in words[0] and str(work_dir) in words and '--launcher' in words:
                os.kill(int(path.parent.name), signal.SIGKILL)
                return
    raise AssertionError('no task runs')


@pytest.mark.slow
@pytest.mark.dist
def test_job_saves_before_its_limit_and_goes_on(tmp_path):
    """Two tasks: SIGUSR1 from Slurm's own --signal, a killed task, and the weights at the end."""
    reason = why_not()
    if reason:
        pytest.skip(reason)
    config = write_toy(tmp_path)
    slow = ['--cfg-options', 'train_dataloader.dataset.delay=0.1', 'train_cfg.max_epochs=3']
    with SlurmCluster(tmp_path / 'slurm') as cluster:
        whole = submit(cluster, config, tmp_path / 'whole', *slow, gpus=2, per_node=2, TIME='10:00')
        wait_for(
            lambda: state(cluster, whole) == 'COMPLETED',
            240,
            lambda: log_of(tmp_path / 'whole', whole),
        )
        work_dir = tmp_path / 'w'
        slow[1] = 'train_dataloader.dataset.delay=5'
        # Its limit is less than it needs: --signal comes after about 110 of 180 seconds.
        job = submit(
            cluster, config, work_dir, *slow, gpus=2, per_node=2, TIME='3:00', SAVE_SECONDS='70'
        )

        def told():
            return log_of(work_dir, job) + cluster.call('scontrol', 'show', 'job', job)

        pending = []

        def starts_again(count):
            # Slurm waits for two minutes before it starts a job again, which need not be so many.
            if state(cluster, job) != 'PENDING':
                pending.clear()
            pending.append(time.time())
            if state(cluster, job) == 'PENDING' and time.time() - pending[0] > 20:
                cluster.call('scontrol', 'update', f'jobid={job}', 'starttime=now')
            return f'start {count} of job' in log_of(work_dir, job)

        wait_for(lambda: starts_again(1), 300, told)
        assert 'SIGUSR1: stopped after step' in log_of(work_dir, job)
        wait_for(lambda: 'resumes ' in log_of(work_dir, job), 100, told)
        time.sleep(8)
        kill_task(work_dir)
        wait_for(lambda: starts_again(2), 100, told)
        wait_for(lambda: starts_again(9) or state(cluster, job) == 'COMPLETED', 600, told)
        assert log_of(work_dir, job).count('queued again after exit status') >= 2
    one, other = weights(tmp_path / 'whole'), weights(work_dir)
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.slow
@pytest.mark.dist
def test_lost_node_ends_in_a_requeue_and_not_in_a_hang(tmp_path):
    """Two nodes in network namespaces; one is cut off the network in the middle."""
    reason = why_not(2)
    if reason:
        pytest.skip(reason)
    config = write_toy(tmp_path)
    slow = ['--cfg-options', 'train_dataloader.dataset.delay=4', 'train_cfg.max_epochs=3']
    work_dir = tmp_path / 'w'
    with SlurmCluster(tmp_path / 'slurm', nodes=2) as cluster:
        job = submit(cluster, config, work_dir, *slow, gpus=2, TIME='20:00')

        def told():
            return log_of(work_dir, job) + cluster.call('scontrol', 'show', 'job', job)

        wait_for(lambda: list(work_dir.glob('iter_*.pth')), 200, told)
        cluster.cut_off('sn1')
        wait_for(lambda: state(cluster, job) == 'PENDING', 150, told)
        cluster.reconnect('sn1')
        wait_for(lambda: 'idle' in cluster.call('sinfo', '-h', '-o', '%t', '-n', 'sn1'), 60, told)
        time.sleep(20)
        cluster.call('scontrol', 'update', f'jobid={job}', 'starttime=now')
        wait_for(lambda: state(cluster, job) == 'COMPLETED', 400, told)
        assert f'start 1 of job {job} on sn[0-1]' in log_of(work_dir, job)
        assert 'resumes ' in log_of(work_dir, job)
    assert last_checkpoint(work_dir)['meta']['iter'] == 12
