"""Losses against their formulas."""

import math

import pytest
import torch

from mmaction.models.losses import BCELossWithLogits, CrossEntropyLoss
from mmaction.registry import MODELS


def test_hard_labels(device):
    scores, labels = torch.randn(5, 4), torch.tensor([0, 3, 1, 1, 2])
    expected = -scores.log_softmax(1)[torch.arange(5), labels].mean()
    assert torch.allclose(CrossEntropyLoss()(scores, labels), expected)
    assert torch.allclose(CrossEntropyLoss(loss_weight=0.5)(scores, labels), 0.5 * expected)


@pytest.mark.parametrize('weight', [None, [1.0, 2.0, 0.5, 3.0]])
def test_one_hot_equals_hard_label(device, weight):
    scores, labels = torch.randn(5, 4), torch.tensor([0, 3, 1, 1, 2])
    loss = CrossEntropyLoss(class_weight=weight)
    one_hot = torch.eye(4)[labels]
    assert torch.allclose(loss(scores, one_hot), loss(scores, labels))
    assert not loss.state_dict()


def test_soft_labels_mix_linearly(device):
    scores = torch.randn(3, 4)
    a, b = torch.eye(4)[[0, 1, 2]], torch.eye(4)[[3, 3, 0]]
    loss = CrossEntropyLoss()
    mixed = loss(scores, 0.3 * a + 0.7 * b)
    assert torch.allclose(mixed, 0.3 * loss(scores, a) + 0.7 * loss(scores, b))
    with pytest.raises(ValueError, match='ignore_index'):
        loss(scores, a, ignore_index=3)


def test_losses_are_computed_in_fp32(device):
    scores = torch.randn(4, 3).half()
    assert CrossEntropyLoss()(scores, torch.tensor([0, 1, 2, 0])).dtype == torch.float32
    assert BCELossWithLogits()(scores, torch.zeros(4, 3)).dtype == torch.float32


def test_binary_cross_entropy(device):
    scores, labels = torch.randn(3, 4), torch.randint(2, (3, 4))
    p = scores.sigmoid()
    terms = -(labels * p.log() + (1 - labels) * (1 - p).log())
    assert torch.allclose(BCELossWithLogits()(scores, labels), terms.mean(), atol=1e-6)
    weight = torch.tensor([1.0, 0.0, 2.0, 1.0])
    weighted = BCELossWithLogits(class_weight=weight.tolist())(scores, labels)
    assert torch.allclose(weighted, (terms * weight).mean(), atol=1e-6)


@pytest.mark.parametrize('gamma', [0.0, 2.0])
def test_class_balanced_focal_loss_against_a_plain_loop(gamma):
    counts, beta = [3, 40, 500], 0.99
    scores = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 2, 1, 2])
    weights = [(1 - beta) / (1 - beta**n) for n in counts]
    total = 0.0
    for score, label in zip(scores.tolist(), labels.tolist(), strict=True):
        for k, logit in enumerate(score):
            p = 1 / (1 + math.exp(-logit if k == label else logit))  # of the true outcome
            term = -((1 - p) ** gamma) * math.log(p)
            total += weights[label] * 3 / sum(weights) * term
    loss = MODELS.build(
        dict(type='CBFocalLoss', loss_weight=0.5, samples_per_cls=counts, beta=beta, gamma=gamma)
    )
    assert float(loss(scores, labels)) == pytest.approx(0.5 * total / 4, rel=1e-5)


@pytest.mark.parametrize('counts', [(), (3, 0)])
def test_class_balanced_focal_loss_needs_clips_of_each_class(counts):
    with pytest.raises(ValueError, match='positive number for each class'):
        MODELS.build(dict(type='CBFocalLoss', samples_per_cls=counts))
