import hashlib
import json
import pickle
from types import SimpleNamespace

import pytest
import torch

from mmaction.engine.hooks.results_writer import TestResultsHook, in_list_order
from mmaction.errors import TrainingError
from mmaction.structures import ActionDataSample


@pytest.mark.parametrize('size', [1, 5, 6, 7, 8])
@pytest.mark.parametrize('processes', [1, 2, 3])
def test_gathered_samples_follow_list_order(size, processes):
    samples = list(range(size))
    assert in_list_order([samples[r::processes] for r in range(processes)], size) == samples


def test_repeated_samples_are_dropped():
    assert in_list_order([[0, 2, 4], [1, 3, 0]], 5) == [0, 1, 2, 3, 4]


def results_runner(work_dir, clips, checkpoint='none.pth'):
    return SimpleNamespace(
        work_dir=str(work_dir), _load_from=str(checkpoint), cfg=SimpleNamespace(filename='c.py'),
        test_dataloader=SimpleNamespace(dataset=range(clips)),
        logger=SimpleNamespace(info=lambda text: None),
    )  # fmt: skip


def a_test(hook, runner, unreadable=0):
    """Test all clips of a runner, of which the first are unreadable."""
    hook.before_test_epoch(runner)
    for index in runner.test_dataloader.dataset:
        facts = dict(filename=f'{index}.mp4', sample_idx=index)
        facts.update(dict(unreadable='cut off') if index < unreadable else {})
        sample = ActionDataSample(metainfo=facts)
        sample.set_pred_score(torch.tensor([0.25, 0.75]))
        hook.after_test_iter(runner, index, dict(data_samples=[sample]), [sample])
    hook.after_test_epoch(runner, {'acc/top1': 0.5})


def test_share_of_unreadable_clips_that_is_allowed(tmp_path, capsys):
    runner = results_runner(tmp_path, 4)
    a_test(TestResultsHook(max_unreadable=0.25), runner, unreadable=1)
    assert 'top1_acc: 0.5000' in capsys.readouterr().out
    with pytest.raises(TrainingError, match='2 of 4 clips could not be read'):
        a_test(TestResultsHook(max_unreadable=0.25), runner, unreadable=2)
    found = json.loads((tmp_path / 'metrics.json').read_text())
    assert (found['clips'], found['unreadable_clips']) == (4, 2)
    assert found['unreadable'][1] == dict(file='1.mp4', reason='cut off')


def test_second_test_starts_anew(tmp_path):
    runner = results_runner(tmp_path, 4)
    hook = TestResultsHook(out=str(tmp_path / 's.pkl'), max_unreadable=0.25)
    a_test(hook, runner, unreadable=1)
    runner.test_dataloader.dataset = range(3)
    a_test(hook, runner)
    assert len(pickle.loads((tmp_path / 's.pkl').read_bytes())) == 3
    assert json.loads((tmp_path / 'metrics.json').read_text())['unreadable'] == []


def test_metrics_name_the_checkpoint_by_its_digest(tmp_path):
    path = tmp_path / 'x.pth'
    path.write_bytes(b'weights')
    a_test(TestResultsHook(), results_runner(tmp_path, 1, path))
    found = json.loads((tmp_path / 'metrics.json').read_text())
    assert found['checkpoint_sha256'] == hashlib.sha256(b'weights').hexdigest()
