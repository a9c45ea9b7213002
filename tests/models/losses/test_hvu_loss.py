"""HVULoss against sums over single labels."""

import math

import pytest
import torch

from mmaction.models.losses import HVULoss

SIZES = dict(categories=('a', 'b', 'c'), category_nums=(2, 3, 1), category_loss_weights=(1, 1, 1))
PARTS = [slice(0, 2), slice(2, 5), slice(5, 6)]


@pytest.fixture
def case():
    scores = torch.randn(4, 6)
    labels = (torch.rand(4, 6) < 0.4).float()
    known = torch.tensor([[1.0, 1, 0], [1, 0, 0], [0, 1, 0], [0, 0, 0]])
    return scores, labels, known


def one(score, label):
    """The loss of a single label, from its definition."""
    p = 1 / (1 + math.exp(-float(score)))
    return -math.log(p if label else 1 - p)


def table(scores, labels):
    return [
        [one(s, y) for s, y in zip(*rows, strict=True)] for rows in zip(scores, labels, strict=True)
    ]


@pytest.mark.parametrize('reduction', ['mean', 'sum'])
def test_all_labels_alike(device, case, reduction):
    scores, labels, known = case
    rows = table(scores, labels)
    loss = HVULoss(**SIZES, reduction=reduction)(scores, labels)
    divisor = 6 if reduction == 'mean' else 1
    assert loss['loss_cls'].item() == pytest.approx(sum(map(sum, rows)) / 4 / divisor, rel=1e-5)
    masked = HVULoss(**SIZES, with_mask=True, reduction=reduction)
    expected = 0
    for row, clip in zip(rows, known, strict=True):
        kept = [v for part, on in zip(PARTS, clip, strict=True) if on for v in row[part]]
        expected += sum(kept) / (max(len(kept), 1) if reduction == 'mean' else 1) / 4
    found = masked(scores, labels, category_mask=known)
    assert list(found) == ['loss_cls']
    assert found['loss_cls'].item() == pytest.approx(expected, rel=1e-5)
    mask = known.repeat_interleave(torch.tensor([2, 3, 1]), 1)
    assert torch.equal(masked(scores, labels, mask)['loss_cls'], found['loss_cls'])


@pytest.mark.parametrize('with_mask', [False, True])
@pytest.mark.parametrize('reduction', ['mean', 'sum'])
def test_each_category_alike(device, case, with_mask, reduction):
    scores, labels, known = case
    rows = table(scores, labels)
    sizes = {**SIZES, 'category_loss_weights': (3, 1, 5)}
    loss = HVULoss(**sizes, loss_type='individual', with_mask=with_mask, reduction=reduction)
    found = loss(scores, labels, category_mask=known)
    total, weights = 0, 0
    for number, (name, part, weight) in enumerate(zip('abc', PARTS, (3, 1, 5), strict=True)):
        clips = [i for i in range(4) if known[i, number] or not with_mask]
        size = part.stop - part.start if reduction == 'mean' else 1
        value = sum(sum(rows[i][part]) / size for i in clips) / max(len(clips), 1)
        assert found[f'{name}_LOSS'].item() == pytest.approx(value, rel=1e-5, abs=1e-7)
        if clips:
            total, weights = total + weight * value, weights + weight
    assert found['loss_cls'].item() == pytest.approx(total / weights, rel=1e-5)
    assert loss.sample_keys == (('category_mask',) if with_mask else ())


def test_what_is_not_labeled_gets_no_gradient(device, case):
    scores, labels, known = case
    for loss_type in ('all', 'individual'):
        leaf = scores.clone().requires_grad_()
        loss = HVULoss(**SIZES, loss_type=loss_type, with_mask=True, loss_weight=2)
        loss(leaf, labels, category_mask=known)['loss_cls'].backward()
        repeated = known.repeat_interleave(torch.tensor([2, 3, 1]), 1) > 0
        assert ((leaf.grad != 0) == repeated).all()
        # A batch in which nothing is labeled changes nothing.
        leaf = scores.clone().requires_grad_()
        nothing = loss(leaf, labels, category_mask=torch.zeros(4, 3))['loss_cls']
        nothing.backward()
        assert nothing == 0
        assert not leaf.grad.any()


def test_only_the_loss_itself_is_weighted_and_summed(device, case):
    scores, labels, _ = case
    single = HVULoss(**SIZES, loss_type='individual')(scores, labels)
    double = HVULoss(**SIZES, loss_type='individual', loss_weight=2)(scores.half(), labels)
    assert double['loss_cls'].item() == pytest.approx(2 * single['loss_cls'].item(), rel=1e-2)
    assert double['a_LOSS'].item() == pytest.approx(single['a_LOSS'].item(), rel=1e-2)
    assert double['loss_cls'].dtype == torch.float32
    assert [name for name in single if 'loss' in name] == ['loss_cls']
    assert not HVULoss().state_dict()
    assert sum(HVULoss().category_nums) == 3142


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(categories=('a', 'b')), '2 categories, 3 category_nums'),
        (dict(category_loss_weights=(1, -1, 1)), 'must not be negative'),
        (dict(loss_type='some'), "loss_type='some' is neither"),
        (dict(reduction='none'), "reduction='none' is neither"),
    ],
)
def test_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        HVULoss(**{**SIZES, **arguments})


def test_calls(case):
    scores, labels, _ = case
    with pytest.raises(ValueError, match=r'must both be \(clips, 6\)'):
        HVULoss(**SIZES)(scores[:, :5], labels[:, :5])
    for loss_type in ('all', 'individual'):
        with pytest.raises(ValueError, match='needs the category_mask'):
            HVULoss(**SIZES, loss_type=loss_type, with_mask=True)(scores, labels)
