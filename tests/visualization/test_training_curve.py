import cv2
import numpy as np
import pytest
from mmengine.logging import MessageHub

from mmaction.visualization.training_curve import TrainingHistory, history_of, plot_training, smooth
from tests.video_factory import count_colors


def test_smoothing_is_the_mean_of_the_last_values():
    np.testing.assert_allclose(smooth([4, 2, 0, 6], 2), [4, 3, 1, 3])
    np.testing.assert_allclose(smooth([4, 2, 0, 6], 100), [4, 3, 2, 3])
    assert len(smooth([], 3)) == 0
    nan, inf = float('nan'), float('inf')
    np.testing.assert_allclose(smooth([nan, 4, nan, 0, inf, nan], 2), [nan, 4, 4, 0, 0, nan])


def test_history_of_a_run(request):
    hub = MessageHub.get_instance(request.node.name)
    for step in range(6):
        hub.update_scalar('train/loss', 1.0 / (step + 1))
        hub.update_scalar('train/lr', 0.1)
    for value in (0.5, 0.75):
        hub.update_scalar('val/acc/top1', value)
        hub.update_scalar('val/time', 1.0)
    hub.update_info('steps_of_val', [3, 6])
    history = history_of(hub, 3)
    assert list(history.loss) == [1.0 / (step + 1) for step in range(6)]
    assert history.val_steps == [3, 6]
    assert history.val_metrics == {'acc/top1': [0.5, 0.75]}
    assert list(history.train_accuracy) == []


HISTORY = TrainingHistory(
    loss=np.exp(-np.linspace(0, 2, 60)),
    learning_rate=np.linspace(1e-3, 0, 60),
    train_accuracy=np.linspace(0, 1, 60),
    val_steps=[20, 40, 60],
    val_metrics={'acc/top1': [0.3, 0.8, 0.7], 'acc/top5': [1.0, 1.0, 1.0]},
    steps_per_epoch=20,
)


@pytest.mark.parametrize(
    'history',
    [
        HISTORY,
        TrainingHistory(loss=[1.0], learning_rate=[0.1]),
        TrainingHistory(
            loss=[1.0, 2.0],
            learning_rate=[0.1, 0.1],
            val_steps=[1],
            val_metrics={'error': [7.0]},
            steps_per_epoch=2,
        ),
    ],
)
def test_curve_is_drawn(tmp_path, history):
    plot_training(history, tmp_path / 'curve.png', title='a run')
    picture = cv2.imread(str(tmp_path / 'curve.png'))
    assert picture.shape[1] == 8 * 130
    assert count_colors(picture) > 20


def test_best_value_is_marked(tmp_path):
    plot_training(HISTORY, tmp_path / 'curve.svg')
    text = (tmp_path / 'curve.svg').read_text()
    assert '<!-- validation top-1 (best 0.800) -->' in text
    assert 'top-5' not in text  # it is 1 throughout
