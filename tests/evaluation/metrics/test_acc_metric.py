import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator

from mmaction.evaluation import AccMetric
from mmaction.registry import METRICS
from mmaction.structures import ActionDataSample


def samples(scores, labels, **meta):
    """What a model returns: one `ActionDataSample` for each row of scores."""
    made = []
    for index, (score, label) in enumerate(zip(scores, labels, strict=True)):
        sample = ActionDataSample().set_gt_label(label)
        if score is not None:
            sample.set_pred_score(score)
        facts = {key: values[index] for key, values in meta.items() if values[index] is not None}
        sample.set_metainfo({'sample_idx': index, 'filename': f'clip{index}.mp4', **facts})
        made.append(sample)
    return made


def evaluate(metric, made, batch=3):
    evaluator = Evaluator([metric])
    for start in range(0, len(made), batch):
        evaluator.process(made[start : start + batch])
    return evaluator.evaluate(len(made))


@pytest.fixture
def case():
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.normal(size=(11, 7))).float(), rng.integers(0, 7, 11)


def test_keys_and_values(case):
    scores, labels = case
    found = evaluate(METRICS.build(dict(type='AccMetric')), samples(scores, labels.tolist()))
    assert list(found) == ['acc/top1', 'acc/top5', 'acc/mean1']
    best = scores.argsort(1, descending=True).numpy()
    assert found['acc/top1'] == np.mean(best[:, 0] == labels)
    assert found['acc/top5'] == np.mean((best[:, :5] == labels[:, None]).any(1))
    per_class = []
    for label in np.union1d(labels, best[:, 0]):
        own = labels == label
        per_class.append((best[own, 0] == label).mean() if own.any() else 0)
    assert found['acc/mean1'] == pytest.approx(np.mean(per_class))


@pytest.mark.parametrize('names', ['top_k_accuracy', ('top_k_accuracy',), ['top_k_accuracy']])
@pytest.mark.parametrize('topk', [2, (2,), [2]])
def test_forms_of_arguments(case, names, topk):
    metric = AccMetric(names, metric_options=dict(top_k_accuracy=dict(topk=topk)), prefix='val')
    assert list(evaluate(metric, samples(*case))) == ['val/top2']


def test_dicts_without_meta_data_as_in_mmaction2(case):
    metric = AccMetric()
    scores, labels = case
    metric.process(
        None,
        [
            dict(pred_score=score, gt_label=torch.tensor([label]))
            for score, label in zip(scores, labels, strict=True)
        ],
    )
    assert set(metric.compute_metrics(metric.results)) == {'top1', 'top5', 'mean1'}
    assert set(metric.evaluate(11)) == {'acc/top1', 'acc/top5', 'acc/mean1'}
    assert metric.results == []


def test_half_precision_and_single_view(case):
    scores, labels = case
    plain = evaluate(AccMetric(), samples(scores.bfloat16().float(), labels))
    assert evaluate(AccMetric(), samples(scores.bfloat16(), labels)) == plain
    assert evaluate(AccMetric(), samples(scores.bfloat16()[:, None], labels)) == plain


def test_modalities():
    rgb = [torch.tensor([3.0, 0.0]), torch.tensor([0.0, 1.0]), torch.tensor([1.0, 0.0])]
    pose = [torch.tensor([0.0, 1.0]), torch.tensor([1.5, 0.0]), torch.tensor([0.0, 4.0])]
    made = samples([dict(rgb=a, pose=b) for a, b in zip(rgb, pose, strict=True)], [0, 1, 1])
    metric = AccMetric(metric_options=dict(top_k_accuracy=dict(topk=1)))
    found = evaluate(metric, made)
    assert found['acc/rgb_top1'] == pytest.approx(2 / 3)
    assert found['acc/pose_top1'] == pytest.approx(1 / 3)
    assert found['acc/RGBPose_1:1_top1'] == pytest.approx(2 / 3)
    assert found['acc/RGBPose_2:1_top1'] == pytest.approx(1)
    assert found['acc/RGBPose_1:2_top1'] == pytest.approx(2 / 3)
    assert 'acc/rgb_mean1' in found
    other = [dict(audio=score['rgb']) for score in (s.pred_score for s in made)]
    assert set(evaluate(AccMetric('mean_class_accuracy'), samples(other, [0, 1, 1]))) == {
        'acc/audio_mean1'
    }


def test_mean_average_precision():
    scores = torch.tensor([[0.9, 0.8, 0.1], [0.7, 0.3, 0.5], [0.5, 0.9, 0.2]])
    vectors = [torch.tensor(row) for row in ([1.0, 1, 0], [0, 1.0, 0], [1.0, 0, 0])]
    names = ('mean_average_precision', 'mmit_mean_average_precision')
    found = evaluate(AccMetric(names), samples(scores, vectors))
    # Class 0 is found at ranks 1 and 3, class 1 at 2 and 3.
    assert found['acc/mean_average_precision'] == pytest.approx((5 / 6 + 7 / 12) / 2)
    assert found['acc/mmit_mean_average_precision'] == pytest.approx((1 + 1 / 3 + 1 / 2) / 3)


def test_mean_average_precision_of_clips_with_one_label():
    scores = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.7, 0.3]])
    found = evaluate(AccMetric('mean_average_precision'), samples(scores, [0, 1, 0]))
    assert found['acc/mean_average_precision'] == pytest.approx(1)


def test_unreadable_clips_count_as_wrong():
    scores = torch.eye(4)[[0, 1, 2, 3]]
    reasons = [None, 'no video stream', None, 'empty file']
    made = samples(scores, [0, 1, 2, 3], unreadable=reasons)
    del made[3].pred_score  # the scores of a black clip, or none, make no difference
    names = ('top_k_accuracy', 'mean_class_accuracy', 'mean_average_precision')
    metric = AccMetric((*names, 'mmit_mean_average_precision'))
    found = evaluate(metric, made)
    assert metric.unreadable == [('clip1.mp4', 'no video stream'), ('clip3.mp4', 'empty file')]
    assert found.pop('acc/unreadable') == 2
    # All four would be right; top5 of four classes is no comfort either.
    assert found == dict.fromkeys(found, 0.5)
    assert len(found) == 5


def test_only_unreadable_clips():
    metric = AccMetric()
    found = evaluate(metric, samples([None, None], [3, 0], unreadable=['broken', 'broken']))
    assert found == {'acc/top1': 0, 'acc/top5': 0, 'acc/mean1': 0, 'acc/unreadable': 2}


def test_clips_without_labels_have_no_metrics():
    assert evaluate(AccMetric(), samples(torch.eye(4)[:2], [-1, -1])) == {}


def test_unreadable_clip_of_two_modalities_and_of_several_labels():
    both = dict(rgb=torch.tensor([0.9, 0.1]), pose=torch.tensor([0.9, 0.1]))
    found = evaluate(
        AccMetric('top_k_accuracy'), samples([both, None], [0, 0], unreadable=[None, 'broken'])
    )
    assert found['acc/rgb_top1'] == found['acc/RGBPose_1:2_top1'] == 0.5
    vector = torch.tensor([1.0, 0.0, 1.0])
    found = evaluate(
        AccMetric('mmit_mean_average_precision'),
        samples([vector, None], [vector, vector], unreadable=[None, 'broken']),
    )
    assert found['acc/mmit_mean_average_precision'] == 0.5


def test_evaluation_state_is_reset(case):
    metric = AccMetric()
    evaluate(metric, samples([None], [0], unreadable=['broken']))
    found = evaluate(metric, samples(*case))
    assert metric.unreadable == []
    assert 'acc/unreadable' not in found


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(metric_list='top_k_acuracy'), '\'top_k_acuracy\'; did you mean "top_k_accuracy"'),
        (dict(metric_list=('mAP',)), "'mAP'.*mean_average_precision"),
        (dict(metric_list=()), 'empty'),
        (dict(metric_options=dict(topk_accuracy=dict(topk=1))), 'metric_options.*topk_accuracy'),
        (dict(metric_options=dict(top_k_accuracy=dict(top_k=1))), 'did you mean "topk"'),
        (dict(metric_options=dict(top_k_accuracy=dict(topk=(0,)))), 'at least 1'),
        (dict(metric_options=dict(mean_class_accuracy=dict(k=1))), 'there are: none'),
        (dict(collect_device='cuda'), "'cpu' or 'gpu', not 'cuda'"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        AccMetric(**arguments)


@pytest.mark.parametrize(
    'arguments',
    [
        dict(metric_list={'top_k_accuracy'}),
        dict(metric_options=dict(top_k_accuracy=dict(topk='1'))),
        dict(metric_options=dict(top_k_accuracy=dict(topk=(1, 2.5)))),
    ],
)
def test_wrong_types_are_named(arguments):
    with pytest.raises(TypeError, match=r'metric_list must be|topk must be'):
        AccMetric(**arguments)


ROWS = torch.eye(3)


@pytest.mark.parametrize(
    ('scores', 'labels', 'metrics', 'message'),
    [
        (ROWS, [0, 3, 1], 'top_k_accuracy', r'clip1\.mp4 has label 3.*3 classes'),
        (ROWS, [0, 1, -1], 'top_k_accuracy', r'clip2\.mp4 has label -1'),
        ([*ROWS[:2], None], [0, 1, 2], 'top_k_accuracy', r'clip2\.mp4 has no pred_score'),
        (ROWS[:, None].expand(3, 2, 3), [0, 1, 2], 'top_k_accuracy', r'\(2, 3\).*average_clips'),
        (ROWS * np.nan, [0, 1, 2], 'top_k_accuracy', r'clip0\.mp4 are not numbers'),
        ([*ROWS[:2], torch.eye(4)[0]], [0, 1, 2], 'top_k_accuracy', r'clip2\.mp4 has 4 scores'),
        (ROWS, list(ROWS), 'mean_class_accuracy', 'one label for each clip'),
        (ROWS, list(torch.eye(4)[:3]), 'mean_average_precision', r'clip0\.mp4 .* 4 values'),
    ],
)
def test_mismatched_predictions_are_errors(scores, labels, metrics, message):
    with pytest.raises(ValueError, match=message):
        evaluate(AccMetric(metrics), samples(list(scores), labels))


def test_missing_label_is_named():
    with pytest.raises(ValueError, match=r'a\.mp4 has no gt_label'):
        AccMetric().process(None, [dict(pred_score=ROWS[0], filename='a.mp4')])
