"""The heads of token labeling."""

import pytest
import torch

from mmaction.models.heads import I3DHead, I3DHead_Teacher, I3DHead_TL
from mmaction.models.heads.i3d_head import match_grid
from mmaction.models.losses import SoftCE_TL
from mmaction.structures import ActionDataSample


def samples(labels):
    return [ActionDataSample().set_gt_label(label) for label in labels]


def test_teacher_applies_classifier_to_each_token(device):
    plain = I3DHead(num_classes=5, in_channels=8)
    head = I3DHead_Teacher(num_classes=5, in_channels=8)
    head.load_state_dict(plain.state_dict(), strict=True)
    features = torch.randn(2, 8, 3, 2, 4)
    tokens = head.eval()(features)
    assert tokens.shape == (2, 3, 2, 4, 5)
    expected = head.fc_cls.weight @ features[1, :, 2, 1, 3] + head.fc_cls.bias
    assert torch.allclose(tokens[1, 2, 1, 3], expected, atol=1e-6)
    # the mean of the tokens is what the pooled classifier says
    assert torch.allclose(tokens.mean((1, 2, 3)), plain.eval()(features), atol=1e-6)


def test_published_names_and_the_token_branch(device):
    head = I3DHead_TL(num_classes=5, in_channels=8).eval()
    shapes = {name: tuple(value.shape) for name, value in head.state_dict().items()}
    assert shapes == {
        'fc_cls.weight': (5, 8),
        'fc_cls.bias': (5,),
        'token_linear.0.weight': (16, 8),
        'token_linear.0.bias': (16,),
        'token_linear.3.weight': (32, 16),
        'token_linear.3.bias': (32,),
        'token_linear.6.weight': (5, 32),
        'token_linear.6.bias': (5,),
    }
    features = torch.randn(2, 8, 3, 2, 4)
    assert torch.allclose(
        head.token_preds(features)[0, 1, 1, 2], head.token_linear(features[0, :, 1, 1, 2])
    )
    # dropout, then the classifier on the pooled map: what counts in testing
    assert torch.allclose(head(features), head.fc_cls(features.mean((2, 3, 4))), atol=1e-6)


def test_loss_is_soft_ce_of_both_branches(device):
    head = I3DHead_TL(num_classes=7, in_channels=8, topk=(1, 9)).eval()
    features, teacher = torch.randn(2, 8, 3, 2, 2), torch.randn(2, 3, 2, 2, 7)
    result = head.loss(features, samples([1, 4]), teacher_preds=teacher)
    assert set(result) == {'loss_cls', 'top1_acc', 'top9_acc', 'token_acc'}
    tokens = head.token_preds(features)
    expected = SoftCE_TL()(
        head(features), tokens.reshape(-1, 7), teacher.reshape(-1, 7), torch.tensor([1, 4])
    )
    assert torch.allclose(result['loss_cls'], expected)
    agree = (tokens.argmax(-1) == teacher.argmax(-1)).float().mean()
    assert result['token_acc'] == agree
    assert result['top9_acc'] == 1  # k above the number of classes


@pytest.mark.parametrize('ratio', [0, 0.3])
def test_dropout_ratio_is_that_of_every_dropout(device, ratio):
    head = I3DHead_TL(num_classes=7, in_channels=8, dropout_ratio=ratio).train()
    features, teacher = torch.randn(2, 8, 3, 2, 2), torch.randn(2, 3, 2, 2, 7)
    first, second = (head.loss(features, samples([1, 4]), teacher)['loss_cls'] for _ in range(2))
    assert torch.equal(first, second) == (ratio == 0)
    rates = [m.p for m in head.modules() if isinstance(m, torch.nn.Dropout)]
    # before the classifier, where there is one, and twice in the token branch
    assert rates == [ratio] * (3 if ratio else 2)


def test_every_parameter_gets_a_gradient(device):
    head = I3DHead_TL(num_classes=7, in_channels=8)
    features = torch.randn(2, 8, 3, 2, 2)
    head.loss(features, samples([1, 4]), torch.randn(2, 3, 2, 2, 7))['loss_cls'].backward()
    assert all(p.grad.abs().sum() > 0 for p in head.parameters())


def test_more_frames_are_averaged_as_published(device):
    preds = torch.randn(2, 6, 2, 2, 3)
    published = preds.reshape(2, 3, 2, 2, 2, 3).mean(1)
    assert torch.equal(match_grid(preds, (2, 2, 2)), published)
    assert torch.allclose(published[:, 0], preds[:, [0, 2, 4]].mean(1))


@pytest.mark.parametrize(
    ('theirs', 'grid'),
    [
        ((4, 7, 7), (4, 3, 5)),
        ((5, 4, 4), (3, 4, 4)),
        ((2, 2, 2), (4, 4, 4)),
        ((8, 6, 6), (4, 3, 2)),
        ((3, 2, 2), (3, 2, 2)),
    ],
)
def test_token_maps_of_other_sizes_are_resampled(device, theirs, grid):
    preds = torch.randn(2, *theirs, 5)
    matched = match_grid(preds, grid)
    assert matched.shape == (2, *grid, 5)
    same = torch.randn(5).expand(2, *theirs, 5)  # a constant map stays what it is
    assert torch.allclose(match_grid(same, grid), same[0, 0, 0, 0].expand(2, *grid, 5), atol=1e-6)
    if theirs == grid:
        assert torch.equal(matched, preds)
    if grid == (4, 4, 4):
        assert torch.allclose(matched[:, ::2, ::2, ::2], preds)  # each token is repeated
    if theirs == (8, 6, 6):
        halves = preds.reshape(2, 2, 4, 3, 2, 2, 3, 5).mean((1, 4, 6))
        assert torch.allclose(matched, halves, atol=1e-6)


def test_wrong_use_is_refused():
    head = I3DHead_TL(num_classes=3, in_channels=8)
    features, teacher = torch.randn(2, 8, 1, 1, 1), torch.randn(2, 1, 1, 1, 3)
    with pytest.raises(ValueError, match='train it in a Recognizer3D_TL'):
        head.loss(features, samples([0, 1]))
    with pytest.raises(ValueError, match='teacher has 4 classes, the student num_classes=3'):
        head.loss(features, samples([0, 1]), torch.randn(2, 1, 1, 1, 4))
    mixed = [ActionDataSample().set_gt_label(torch.tensor([0.3, 0.7, 0.0])) for _ in range(2)]
    with pytest.raises(ValueError, match='mixup and cutmix'):
        head.loss(features, mixed, teacher)
    with pytest.raises(ValueError, match='2 predictions for 1 labels'):
        head.loss(features, samples([0]), teacher)
    for name in ('multi_class', 'label_smooth_eps'):
        with pytest.raises(ValueError, match=f'no {name}'):
            I3DHead_TL(3, 8, **{name: 0.1})
