import json
import pickle

import numpy as np
import pytest
import torch
import yaml

from mmaction.errors import ConfigError
from mmaction.evaluation.results import (
    check_dump_file,
    check_out_file,
    read_results,
    write_predictions,
    write_scores,
)


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


@pytest.mark.parametrize('name', ['dump.json', 'dump.pkl'])
def test_predictions_are_read_as_written(tmp_path, name):
    samples = [
        dict(
            pred_score=torch.tensor([0.25, 0.75]),
            pred_label=torch.tensor([1]),
            gt_label=torch.tensor([i]),
            img_shape=(40, 40),
            filename='a b.mp4',
            sample_idx=i,
        )
        for i in range(2)
    ]
    samples[1]['pred_score'] = {'rgb': torch.tensor([0.5, 0.5]), 'flow': torch.tensor([1.0, 0.0])}
    write_predictions(samples, tmp_path / name)
    for sample, other in zip(samples, read_results(tmp_path / name), strict=True):
        assert other.keys() == sample.keys()
        torch.testing.assert_close(other['pred_score'], sample['pred_score'])
        assert torch.equal(other['gt_label'], sample['gt_label'])
        assert other['gt_label'].dtype == torch.int64
        assert list(other['img_shape']) == [40, 40]
        assert other['filename'] == 'a b.mp4'


def test_other_dump_formats_are_refused():
    check_dump_file(None)
    with pytest.raises(ConfigError, match=r'--dump x\.npz: .* \.json or \.pkl'):
        check_dump_file('x.npz')


class Planted:
    """Unpickles as a call of a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    ('function', 'arguments', 'name'),
    [
        (np.testing.assert_equal, (1, 1), r'numpy\.testing'),
        (np.lib.format.open_memmap, ('planted.npy',), r'numpy\.lib'),
        (np.load, ('planted.npy',), r'numpy\.load'),
        (np.frompyfunc, (print, 1, 1), r'numpy\.frompyfunc'),
        (eval, ('1 + 1',), r'builtins\.eval'),
        (torch.load, ('planted.pth',), r'torch\.serialization\.load'),
    ],
    ids=lambda value: value if isinstance(value, str) else '',
)
def test_functions_in_a_results_file_are_refused(tmp_path, function, arguments, name):
    path = tmp_path / 'planted.pkl'
    path.write_bytes(pickle.dumps([Planted(function, *arguments)]))
    with pytest.raises(ValueError, match=f'it holds objects of {name}'):
        read_results(path)


def test_tensors_and_arrays_of_a_results_file_are_read(tmp_path):
    path = tmp_path / 'plain.pkl'
    clip = dict(
        pred_score=torch.tensor([0.25, 0.75]),
        gt_label=np.array([1]),
        half=np.float32(0.5),
        metainfo=dict(filename='a.mp4'),
    )
    path.write_bytes(pickle.dumps([clip]))
    (found,) = read_results(path)
    assert torch.equal(found['pred_score'], clip['pred_score'])
    np.testing.assert_array_equal(found['gt_label'], [1])
    assert (found['half'], found['metainfo']) == (0.5, dict(filename='a.mp4'))
