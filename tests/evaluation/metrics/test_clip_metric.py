import json

import numpy as np
import pytest
import torch
import torch.distributed as dist
from mmengine.dataset import DefaultSampler, pseudo_collate
from mmengine.evaluator import Evaluator
from torch.utils.data import DataLoader

from mmaction.datasets import EpochSampler
from mmaction.errors import TrainingError
from mmaction.evaluation import AccMetric, ConfusionMatrix
from mmaction.evaluation.metrics.clip_metric import merge_results, to_array
from mmaction.structures import ActionDataSample
from tests.processes import context


def result(index, name=None):
    return dict(sample_idx=index, filename=name or f'{index}.mp4', pred=index, label=0)


def test_results_are_sorted_and_deduplicated_by_index():
    parts = [[result(4), result(0), result(2)], [result(1), result(3), result(4), result(0)]]
    assert [r['sample_idx'] for r in merge_results(parts, 5)] == [0, 1, 2, 3, 4]


def test_concat_datasets_have_separate_indices():
    parts = [[result(0, 'a'), result(1, 'b')], [result(0, 'c'), result(0, 'a')]]
    assert [r['filename'] for r in merge_results(parts, 3)] == ['a', 'c', 'b']


def test_results_without_index_must_be_complete():
    plain = [result(None, 'a'), result(None, 'b')]
    assert merge_results([plain], 2) == plain
    with pytest.raises(ValueError, match='2 of them have no sample_idx: add'):
        merge_results([plain], 1)
    with pytest.raises(ValueError, match='1 of them have no sample_idx'):
        merge_results([[result(0)], plain[:1]], 2)


@pytest.mark.parametrize(
    ('indices', 'size', 'message'),
    [
        ([0, 1, 3], 5, r'5 clips.*of 3: 2 missing \(sample_idx 2, 4\), 0 unexpected'),
        ([0], 9, r'8 missing \(sample_idx 1, 2, 3, \.\.\.\)'),
        ([0, 1, 2, 3], 2, r'0 missing, 2 unexpected \(sample_idx 2 \(2\.mp4\), 3 \(3\.mp4\)\)'),
        ([0, 1, 7], 3, r'unexpected \(sample_idx 7'),
        ([0, -1], 2, r'1 unexpected \(sample_idx -1'),
    ],
)
def test_missing_and_unexpected_clips_are_errors(indices, size, message):
    with pytest.raises(ValueError, match=message):
        merge_results([[result(index) for index in indices]], size)


def test_renamed_clip_is_unexpected():
    with pytest.raises(ValueError, match='0 missing, 1 unexpected'):
        merge_results([[result(0), result(1)], [result(1, 'other.mp4')]], 2)


@pytest.mark.parametrize(('parts', 'size'), [([[], []], 3), ([[]], 0)])
def test_nothing_to_evaluate(parts, size):
    with pytest.raises(ValueError, match='nothing to evaluate'):
        merge_results(parts, size)


SIZE = 13


class Clips(torch.utils.data.Dataset):
    """Results of 13 clips, two of which cannot be read."""

    def __len__(self):
        return SIZE

    def __getitem__(self, key):
        index = int(key)
        draws = np.random.default_rng(index)
        sample = ActionDataSample().set_gt_label(int(draws.integers(6)))
        sample.set_pred_score(draws.normal(size=6))
        sample.set_metainfo(dict(sample_idx=index, filename=f'{index}.mp4'))
        if index in (5, 12):
            sample.set_metainfo(dict(unreadable='broken'))
        return sample


def evaluate(clips, sampler):
    names = ('top_k_accuracy', 'mean_class_accuracy', 'mean_average_precision')
    metrics = [AccMetric(names), ConfusionMatrix()]
    evaluator = Evaluator(metrics)
    count = 0
    for batch in DataLoader(clips, 2, sampler=sampler, collate_fn=pseudo_collate):
        evaluator.process(batch)
        count += len(batch)
    try:
        found = evaluator.evaluate(SIZE)
    except ValueError as error:
        return dict(error=str(error))
    found = {key: getattr(value, 'tolist', lambda v=value: v)() for key, value in found.items()}
    return dict(metrics=found, unreadable=[m.unreadable for m in metrics], count=count)


def evaluate_shares(rank, world):
    """What each sampler's share of the clips gives on one of `world` ranks."""
    clips = Clips()

    def fixed(*shares):
        return shares[rank] if world > 1 else [*shares[0], *shares[1]]

    samplers = dict(
        padded=DefaultSampler(clips, shuffle=False, round_up=True),
        exact=DefaultSampler(clips, shuffle=False, round_up=False),
        shuffled=DefaultSampler(clips, shuffle=True, seed=3, round_up=True),
        epoch_padded=EpochSampler(clips, shuffle=False, round_up=True),
        epoch_exact=EpochSampler(clips, shuffle=True, seed=1, round_up=False),
        uneven=fixed([12, 3, 7, 0, 9, 11, 5, 2, 8, 1, 10, 3], [4, 6]),
        idle=fixed(list(range(13)), []),
        incomplete=fixed([0, 1, 2, 3], [4, 5, 6, 7, 8, 8]),
    )
    found = {name: evaluate(clips, sampler) for name, sampler in samplers.items()}
    return json.loads(json.dumps(found))


def work(rank, world, folder):
    """One of several ranks, in a process of its own."""
    dist.init_process_group('gloo', f'file://{folder}/store', rank=rank, world_size=world)
    (folder / f'{rank}.json').write_text(json.dumps(evaluate_shares(rank, world)))
    dist.destroy_process_group()


@pytest.mark.dist
def test_two_ranks_equal_one(tmp_path):
    processes = [context.Process(target=work, args=(rank, 2, tmp_path)) for rank in range(2)]
    for process in processes:
        process.start()
    alone = evaluate_shares(0, 1)
    for process in processes:
        process.join(180)
        assert process.exitcode == 0
    first, second = (json.loads((tmp_path / f'{rank}.json').read_text()) for rank in range(2))

    reference = alone['padded']
    assert reference['metrics']['acc/unreadable'] == 2
    assert 0 < reference['metrics']['acc/top1'] < 1
    for name, one in alone.items():
        if name == 'incomplete':
            assert '4 missing (sample_idx 9, 10, 11, ...)' in one['error']
            assert first[name] == second[name] == one
            continue
        for many in (first[name], second[name]):
            assert many['metrics'] == one['metrics'] == reference['metrics']
            expected = [['5.mp4', 'broken'], ['12.mp4', 'broken']]
            assert many['unreadable'] == [expected, expected]
    # The samplers did repeat a clip, or share the clips out unevenly.
    counts = {name: (first[name].get('count'), second[name].get('count')) for name in first}
    assert counts['padded'] == counts['epoch_padded'] == (7, 7)
    assert counts['exact'] == counts['epoch_exact'] == (7, 6)
    assert counts['uneven'] == (12, 2)
    assert counts['idle'] == (13, 0)


def test_first_of_two_results_of_a_clip_counts():
    """A sampler repeats clips at the end, so the second is the repetition."""
    first, second = dict(result(0), pred='first'), dict(result(0), pred='second')
    assert merge_results([[first, second]], 1) == [first]
    assert merge_results([[first], [second]], 1) == [first]


@pytest.mark.parametrize(
    'half',
    [
        torch.tensor([0.1, 0.9], dtype=torch.float16),
        torch.tensor([0.1, 0.9], dtype=torch.bfloat16),
        np.array([0.1, 0.9], dtype=np.float16),
    ],
)
def test_half_precision_becomes_single(half):
    found = to_array(half)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [0.1, 0.9], atol=5e-3)


def test_other_types_stay():
    assert to_array(torch.tensor([1, 2])).dtype == np.int64
    assert to_array(torch.tensor([0.5], dtype=torch.float64)).dtype == np.float64
    assert to_array([0.5, 1.5]).dtype == np.float64


@pytest.mark.parametrize('metric', [AccMetric, ConfusionMatrix])
@pytest.mark.parametrize('bad', [float('nan'), float('inf')])
def test_scores_of_a_diverged_model(metric, bad):
    sample = dict(gt_label=torch.tensor([0]), pred_score=torch.tensor([0.5, bad]), filename='a.mp4')
    with pytest.raises(TrainingError, match=r'the scores of a\.mp4 are not numbers: the weights'):
        metric().process(None, [sample])
    metric().process(None, [{**sample, 'unreadable': 'cut off'}])
