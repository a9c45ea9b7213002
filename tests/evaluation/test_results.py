import json
import pickle

import numpy as np
import pytest
import yaml

from mmaction.engine.hooks.results_writer import in_list_order
from mmaction.errors import ConfigError
from mmaction.evaluation.results import check_out_file, write_scores
from mmaction.utils.metric_names import published_names


def test_names_of_the_published_tool():
    metrics = {
        'acc/top1': 0.5,
        'acc/top5': np.float64(1.0),
        'acc/mean1': 0.25,
        'acc/mean_average_precision': 0.75,
        'acc/rgb_top1': 0.1,
        'confusion_matrix/result': [[1]],
    }
    assert published_names(metrics) == {
        'top1_acc': 0.5,
        'top5_acc': 1.0,
        'mean_class_accuracy': 0.25,
        'mean_average_precision': 0.75,
        'rgb_top1': 0.1,
    }


@pytest.mark.parametrize(
    ('name', 'load'),
    [
        ('s.pkl', lambda p: pickle.loads(p.read_bytes())),
        ('s.json', lambda p: json.loads(p.read_text())),
        ('s.yaml', lambda p: yaml.safe_load(p.read_text())),
    ],
)
def test_scores_are_written_in_each_format(tmp_path, name, load):
    scores = [np.float32([0.1, 0.9]), np.float32([[0.5, 0.5], [1, 0]])]
    write_scores(scores, tmp_path / 'new' / name)
    loaded = load(tmp_path / 'new' / name)
    for score, other in zip(scores, loaded, strict=True):
        np.testing.assert_array_equal(score, np.float32(other))
    assert isinstance(loaded[0], np.ndarray) == name.endswith('.pkl')


def test_other_formats_are_refused():
    check_out_file(None)
    check_out_file('x.YML')
    with pytest.raises(ConfigError, match=r'--out x\.npy: .* \.pkl, \.json or \.yaml'):
        check_out_file('x.npy')


@pytest.mark.parametrize('size', [1, 5, 6, 7, 8])
@pytest.mark.parametrize('processes', [1, 2, 3])
def test_gathered_samples_follow_list_order(size, processes):
    samples = list(range(size))
    assert in_list_order([samples[r::processes] for r in range(processes)], size) == samples


def test_repeated_samples_are_dropped():
    assert in_list_order([[0, 2, 4], [1, 3, 0]], 5) == [0, 1, 2, 3, 4]
