"""Labels and scores of a clip in every form that mmaction2 takes."""

import numpy as np
import pytest
import torch

from mmaction.structures import ActionDataSample


@pytest.mark.parametrize(
    'label',
    [
        2,
        np.int64(2),
        [2],
        (2,),
        np.array([2]),
        np.array(2),
        torch.tensor([2]),
        torch.tensor(2),
        torch.tensor(2.0),
    ],
    ids=repr,
)
def test_label_becomes_a_tensor(label):
    sample = ActionDataSample().set_gt_label(label).set_pred_label(label)
    for found in (sample.gt_label, sample.pred_label):
        assert found.dtype == torch.int64
        assert found.tolist() == [2]
    assert set(sample.keys()) == {'gt_label', 'pred_label'}


@pytest.mark.parametrize(
    'scores', [[0.25, 0.75], np.float64([0.25, 0.75]), torch.tensor([0.25, 0.75])], ids=repr
)
def test_scores_become_floats_and_tell_the_number_of_classes(scores):
    sample = ActionDataSample().set_pred_score(scores)
    assert sample.pred_score.dtype == torch.float32
    assert sample.pred_score.tolist() == [0.25, 0.75]
    assert sample.num_classes == 2
    assert 'num_classes' in sample.metainfo_keys()
    with pytest.raises(AssertionError, match='3 scores were given for a sample of 2 classes'):
        sample.set_pred_score([0.1, 0.2, 0.7])


def test_scores_of_several_modalities_are_kept():
    scores = dict(rgb=torch.ones(2), flow=torch.zeros(3))
    sample = ActionDataSample().set_pred_score(scores)
    assert sample.pred_score == scores
    assert 'num_classes' not in sample


def test_other_types_are_refused():
    with pytest.raises(TypeError, match='a label must be an int, sequence, array or tensor'):
        ActionDataSample().set_gt_label('2')
    with pytest.raises(TypeError, match='scores must be a sequence, array, tensor or dict'):
        ActionDataSample().set_pred_score(0.5)
