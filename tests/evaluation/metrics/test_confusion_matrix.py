import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix

from mmaction.evaluation import ConfusionMatrix
from mmaction.registry import METRICS


def samples(preds, labels, key='pred_score'):
    return [
        {key: pred, 'gt_label': torch.tensor([label]), 'sample_idx': i, 'filename': f'{i}.mp4'}
        for i, (pred, label) in enumerate(zip(preds, labels, strict=True))
    ]


def test_matrix_of_scores_equals_sklearn():
    rng = np.random.default_rng(0)
    scores, labels = torch.from_numpy(rng.normal(size=(40, 6))), rng.integers(0, 5, 40)
    metric = METRICS.build(dict(type='ConfusionMatrix'))
    metric.process(None, samples(scores, labels))
    found = metric.evaluate(40)
    assert list(found) == ['confusion_matrix/result']
    expected = confusion_matrix(labels, scores.argmax(1), labels=range(6))
    np.testing.assert_array_equal(found['confusion_matrix/result'], expected)


def test_matrix_of_labels():
    metric = ConfusionMatrix(num_classes=4)
    metric.process(None, samples([torch.tensor([1]), torch.tensor([2])], [1, 0], 'pred_label'))
    result = metric.evaluate(2)['confusion_matrix/result']
    assert result.nonzero().tolist() == [[0, 2], [1, 1]]
    assert result.shape == (4, 4)


def test_unreadable_clips_are_listed_and_in_no_cell():
    made = samples(torch.eye(3), [0, 1, 2])
    made[1]['unreadable'] = 'empty file'
    metric = ConfusionMatrix()
    metric.process(None, made)
    found = metric.evaluate(3)
    assert found['confusion_matrix/result'].diag().tolist() == [1, 0, 1]
    assert found['confusion_matrix/unreadable'] == 1
    assert metric.unreadable == [('1.mp4', 'empty file')]


def test_calculate():
    scores = [[0.1, 0.9], [0.8, 0.2], [0.3, 0.7]]
    matrix = ConfusionMatrix.calculate(torch.tensor(scores), [1, 1, 0])
    assert matrix.tolist() == [[0, 1], [1, 1]]
    assert ConfusionMatrix.calculate([0, 2], [0, 1], 3).tolist() == [
        [1, 0, 0],
        [0, 0, 1],
        [0, 0, 0],
    ]


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (([0, 1], [0, 1]), 'num_classes is needed'),
        (([0, 1], [0], 2), '2 predictions for 1 labels'),
        (([0, 3], [0, 1], 3), 'prediction 3 is outside the 3 classes'),
        (([0, 1], [0, -1], 3), 'label -1 is outside'),
    ],
)
def test_calculate_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        ConfusionMatrix.calculate(*arguments)


@pytest.mark.parametrize(
    ('made', 'classes', 'message'),
    [
        (samples([torch.tensor([1])], [1], 'pred_label'), None, 'needs num_classes'),
        (samples(torch.eye(3), [0, 1, 2]), 4, r'several numbers of classes: \[3, 4\]'),
        (samples(torch.eye(3), [0, 5, 2]), None, r'1\.mp4 has label 5'),
        (samples([None], [0]), 3, r'0\.mp4 has neither'),
        (samples([torch.zeros(2, 3)], [0]), 3, r'\(2, 3\).*average_clips'),
    ],
)
def test_errors(made, classes, message):
    metric = ConfusionMatrix(classes)
    with pytest.raises(ValueError, match=message):  # noqa: PT012 (either call may raise)
        metric.process(None, made)
        metric.evaluate(len(made))


@pytest.mark.parametrize(
    ('most', 'ticks'), [(1, [0, 1]), (2, [0, 1, 2]), (50, list(range(0, 51, 10)))]
)
def test_the_color_bar_of_counts_has_whole_ticks(most, ticks):
    import matplotlib

    matplotlib.use('Agg')
    import matplotlib.pyplot as plt

    matrix = torch.tensor([[most, 0], [0, 1]])
    bar = ConfusionMatrix.plot(matrix, show=False).axes[1]
    assert bar.get_yticks().tolist() == ticks
    shares = ConfusionMatrix.plot(matrix / most, show=False).axes[1]
    assert len(shares.get_yticks()) > 2
    plt.close('all')


def test_plot(tmp_path):
    import matplotlib

    matplotlib.use('Agg')
    import matplotlib.pyplot as plt

    matrix = torch.tensor([[4, 1, 0], [0, 5, 0], [2, 0, 3]])
    figure = ConfusionMatrix.plot(
        matrix, include_values=True, classes=['run', 'jump', 'sit'], show=False
    )
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.texts] == list('410050203')
    colors = {text.get_text(): text.get_color() for text in axes.texts}
    assert colors['0'] == colors['1'] != colors['4'] == colors['5']
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ['run', 'jump', 'sit']
    assert (axes.get_xlabel(), axes.get_ylabel()) == ('predicted', 'true')
    figure.savefig(tmp_path / 'matrix.png')
    shares = ConfusionMatrix.plot(matrix / 5, include_values=True, colorbar=False, show=False)
    assert shares.axes[0].texts[0].get_text() == '0.8'
    assert len(shares.axes) == 1
    plt.close('all')
    with pytest.raises(ValueError, match='2 class names for a matrix of 3'):
        ConfusionMatrix.plot(matrix, classes=['a', 'b'], show=False)
    with pytest.raises(ValueError, match='square'):
        ConfusionMatrix.plot(matrix[:2], show=False)
