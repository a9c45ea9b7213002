"""Heads of clips with several labels."""

import pytest
import torch
import torch.nn.functional as F

from mmaction.models import I3DHead
from mmaction.structures import ActionDataSample

HVU = dict(categories=('a', 'b'), category_nums=(2, 3), category_loss_weights=(1, 1))


def head(**kwargs):
    made = I3DHead(5, 8, multi_class=True, dropout_ratio=0, **kwargs)
    made.init_weights()
    return made


def samples(vectors, masks=None):
    made = [ActionDataSample().set_gt_label(vector) for vector in vectors]
    for sample, mask in zip(made, masks if masks is not None else [], strict=False):
        sample.set_field(mask, 'category_mask')
    return made


def test_each_label_has_a_loss_of_its_own(device):
    made = head(loss_cls=dict(type='BCELossWithLogits'))
    feats, labels = torch.randn(3, 8, 2, 2, 2), (torch.rand(3, 5) < 0.5).float()
    losses = made.loss(feats, samples(labels))
    assert list(losses) == ['loss_cls']
    expected = F.binary_cross_entropy_with_logits(made(feats), labels)
    assert torch.allclose(losses['loss_cls'], expected)


@pytest.mark.parametrize('average', ['prob', 'score', None])
def test_scores_are_probabilities_of_each_label(device, average):
    made = head(loss_cls=dict(type='BCELossWithLogits'), average_clips=average)
    logits = torch.randn(4, 5)
    found = made.predict_by_feat(logits, samples(torch.zeros(2, 5)))
    for number, sample in enumerate(found):
        views = logits[2 * number : 2 * number + 2]
        expected = {'prob': views.sigmoid().mean(0), 'score': views.mean(0), None: views}[average]
        assert torch.allclose(sample.pred_score, expected)


def test_loss_receives_its_declared_arguments(device):
    loss = dict(type='HVULoss', with_mask=True, loss_type='individual', **HVU)
    made = head(loss_cls=loss)
    feats, labels = torch.randn(2, 8, 1, 1, 1), torch.ones(2, 5)
    masks = torch.tensor([[1.0, 0], [1, 0]])
    losses = made.loss(feats, samples(labels, masks))
    assert losses['b_LOSS'] == 0
    expected = F.binary_cross_entropy_with_logits(made(feats)[:, :2], labels[:, :2])
    assert torch.allclose(losses['loss_cls'], expected)
    with pytest.raises(ValueError, match=r"HVULoss needs 'category_mask'.*algorithm_keys"):
        made.loss(feats, samples(labels, masks[:1]))
