"""Shares of work for several machines, or the jobs of an array."""

import argparse

import pytest

from mmaction.utils import work_share
from mmaction.utils.work_share import WorkShare, add_share_option, parse_share, with_rank


@pytest.mark.parametrize('count', [1, 2, 3, 7, 20])
def test_all_shares_hold_everything_once(count):
    items = list(range(16))
    shares = [WorkShare(index, count) for index in range(count)]
    assert sorted(item for share in shares for item in share.of(items)) == items
    assert [i for share in shares for i in share.stretch(16)] == items  # in order
    sizes = [len(share.stretch(16)) for share in shares]
    assert max(sizes) - min(sizes) <= 1
    assert shares[0].is_all == (count == 1)


def test_label_sorts_as_the_shares_do():
    assert WorkShare(3, 16).label == '003-of-016'


@pytest.mark.parametrize('text', ['', '1', '8/8', '-1/8', '1/0', '1/x', '1.0/8', '1/8/9'])
def test_what_is_no_share_is_one_sentence(text):
    with pytest.raises(argparse.ArgumentTypeError, match='is not I/N with I from 0 to N - 1'):
        parse_share(text)


def options(*arguments):
    parser = argparse.ArgumentParser()
    add_share_option(parser)
    return parser.parse_args(arguments).shard


def test_option_and_slurm_array(monkeypatch):
    for name in ('ID', 'COUNT', 'MIN', 'MAX'):
        monkeypatch.delenv(f'SLURM_ARRAY_TASK_{name}', raising=False)
    assert options() == WorkShare(0, 1)
    assert options('--shard', '0/8') == WorkShare(0, 8)
    array = dict(ID='2', COUNT='4', MIN='0', MAX='3')  # --array=0-3
    for name, value in array.items():
        monkeypatch.setenv(f'SLURM_ARRAY_TASK_{name}', value)
    assert options() == WorkShare(2, 4)
    assert options('--shard', '1/2') == WorkShare(1, 2)


@pytest.mark.parametrize('terminal', [False, True])
def test_tasks_of_srun_share_and_a_shell_that_it_has_started_does_not(monkeypatch, terminal):
    for name in ('RANK', 'WORLD_SIZE'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(work_share, '_has_terminal', lambda: terminal)
    monkeypatch.setenv('SLURM_PROCID', '1')
    monkeypatch.setenv('SLURM_STEP_NUM_TASKS', '4')
    assert with_rank(WorkShare(1, 2)) == (WorkShare(1, 2) if terminal else WorkShare(5, 8))
