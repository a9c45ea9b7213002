import numpy as np

from mmaction.utils.metric_names import published_names


def test_names_of_the_published_tool():
    metrics = {
        'acc/top1': 0.5,
        'acc/top5': np.float64(1.0),
        'acc/top10': 0.9,
        'acc/mean1': 0.25,
        'acc/mean_average_precision': 0.75,
        'acc/rgb_top1': 0.1,
        'confusion_matrix/result': [[1]],
    }
    assert published_names(metrics) == {
        'top1_acc': 0.5,
        'top5_acc': 1.0,
        'top10_acc': 0.9,
        'mean_class_accuracy': 0.25,
        'mean_average_precision': 0.75,
        'rgb_top1': 0.1,
    }
