"""HVUMetric against average precisions worked out one by one."""

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from sklearn.metrics import average_precision_score

from mmaction.errors import DivergedError
from mmaction.registry import METRICS
from mmaction.structures import ActionDataSample

CATEGORIES = dict(tag_categories=('a', 'b', 'c'), tag_category_nums=(2, 3, 1))
PARTS = dict(a=slice(0, 2), b=slice(2, 5), c=slice(5, 6))


@pytest.fixture
def case():
    rng = np.random.default_rng(0)
    labels = (rng.random((12, 6)) < 0.4).astype(np.float32)
    masks = (rng.random((12, 3)) < 0.7).astype(np.float32)
    masks[:, 2] = 0
    return rng.normal(size=(12, 6)).astype(np.float32), labels, masks


def samples(scores, labels, masks, unreadable=()):
    made = []
    for index, row in enumerate(zip(scores, labels, masks, strict=True)):
        score, label, mask = map(torch.from_numpy, row)
        sample = ActionDataSample(metainfo=dict(sample_idx=index, filename=f'{index}.mp4'))
        sample.set_gt_label(label).set_pred_score(score).set_field(mask, 'category_mask')
        if index in unreadable:
            sample.set_metainfo(dict(unreadable='broken'))
        made.append(sample)
    return made


def evaluate(made, **kwargs):
    evaluator = Evaluator([METRICS.build(dict(type='HVUMetric', **CATEGORIES, **kwargs))])
    evaluator.process(made[:5])
    evaluator.process(made[5:])
    return evaluator.evaluate(len(made))


def test_category_ap_uses_annotated_clips_only(case):
    scores, labels, masks = case
    found = evaluate(samples(*case))
    assert list(found) == ['hvu/mAP', 'hvu/a_mAP', 'hvu/b_mAP']
    expected = []
    for number, name in enumerate('ab'):
        rows = masks[:, number] > 0
        part = labels[rows, PARTS[name]], scores[rows, PARTS[name]]
        each = [average_precision_score(y, s) for y, s in zip(part[0].T, part[1].T, strict=True)]
        expected.append(np.mean(each))
        assert found[f'hvu/{name}_mAP'] == pytest.approx(expected[-1])
    assert found['hvu/mAP'] == pytest.approx(np.mean(expected))


def test_scores_of_each_category_follow_those_before(case):
    scores, labels, masks = case
    found = evaluate(samples(scores, labels, np.ones_like(masks)))
    for name, part in PARTS.items():
        pairs = zip(labels[:, part].T, scores[:, part].T, strict=True)
        expected = np.mean([average_precision_score(y, s) for y, s in pairs])
        assert found[f'hvu/{name}_mAP'] == pytest.approx(expected)


def test_masked_labels_are_ignored(case):
    scores, labels, masks = case
    changed = labels.copy()
    off = np.repeat(masks, [2, 3, 1], axis=1) == 0
    changed[off] = 1 - changed[off]
    assert evaluate(samples(scores, changed, masks)) == evaluate(samples(*case))


def test_unreadable_clip_never_matches(case):
    whole = evaluate(samples(*case))
    broken = evaluate(samples(*case, unreadable=range(6)))
    assert broken['hvu/unreadable'] == 6
    assert broken['hvu/b_mAP'] < whole['hvu/b_mAP']


def test_errors_name_what_is_missing(case):
    scores, labels, masks = case
    made = samples(*case)
    del made[3].category_mask
    with pytest.raises(ValueError, match=r'3.mp4 has no category_mask.*algorithm_keys'):
        evaluate(made)
    other = METRICS.build(dict(type='HVUMetric', tag_categories=('a',), tag_category_nums=(7,)))
    with pytest.raises(ValueError, match='6 scores, but the categories of HVUMetric have 7'):
        other.process(None, [sample.to_dict() for sample in samples(*case)])
    with pytest.raises(ValueError, match='nothing to measure'):
        evaluate(samples(scores, labels, 0 * masks))
    with pytest.raises(DivergedError, match='are not numbers'):
        evaluate(samples(scores * np.nan, labels, masks))
    with pytest.raises(ValueError, match='1 tag_categories, but 2 tag_category_nums'):
        METRICS.build(dict(type='HVUMetric', tag_categories=('a',), tag_category_nums=(7, 1)))
