import os
import subprocess
import sys
import textwrap

import pytest

from mmaction.distributed.launch import Processes

WORKER = """
    import os
    import torch
    from mmaction.distributed.launch import *
    from mmaction.distributed import collectives
    from mmaction.distributed.collectives import *
    assert os.environ['MASTER_ADDR'] == '127.0.0.1'  # the machine's name may have no address
    processes = init_processes('none')
    if processes.rank == 1:
        assert gather_objects(1) is None
    else:
        assert gather_objects(0) == [0, 1]
    assert collectives.broadcast_object({'rank': processes.rank}) == {'rank': 0}
    assert any_rank(processes.rank == 1) and not any_rank(False)
    mean = collectives.reduce_mean({'loss': torch.tensor(1.0 + processes.rank), 'acc': 0.5})
    assert mean == {'loss': 1.5, 'acc': 0.5}
    line = f'{processes} {torch.get_num_threads()}{os.linesep}'
    os.write(1, line.encode())  # at once, so that lines of two processes stay whole
    close_processes()
    assert not torch.distributed.is_initialized()
"""


@pytest.mark.dist
def test_two_processes_under_torchrun(tmp_path):
    script = tmp_path / 'worker.py'
    script.write_text(textwrap.dedent(WORKER))
    environment = {**os.environ, 'PYTHONPATH': os.getcwd()}
    environment.pop('OMP_NUM_THREADS', None)
    command = [
        sys.executable,
        '-m',
        'mmaction.distributed.torchrun',
        '--standalone',
        '--nproc-per-node',
    ]
    done = subprocess.run(
        [*command, '2', str(script)], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    threads = max(1, len(os.sched_getaffinity(0)) // 2)
    expected = [f'{Processes("pytorch", rank, rank, 2, 2, "cpu")} {threads}' for rank in (0, 1)]
    # Gloo of some releases of PyTorch says on stdout that it is connected.
    told = [line for line in done.stdout.splitlines() if line.startswith('Processes')]
    assert sorted(told) == expected
    assert done.stderr == ''


@pytest.mark.dist
def test_torchrun_passes_the_exit_status_on(tmp_path):
    script = tmp_path / 'worker.py'
    script.write_text(
        'import os, sys, time\nif os.environ["RANK"] == "1": sys.exit(7)\ntime.sleep(60)'
    )
    command = [
        sys.executable,
        '-m',
        'mmaction.distributed.torchrun',
        '--standalone',
        '--nproc-per-node',
    ]
    done = subprocess.run(
        [*command, '2', str(script)],
        capture_output=True,
        text=True,
        timeout=50,
        env={**os.environ, 'PYTHONPATH': os.getcwd()},
    )
    assert done.returncode == 7
    assert done.stderr == 'process 1 ended with status 7; the others were stopped\n'
