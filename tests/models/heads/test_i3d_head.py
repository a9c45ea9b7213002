"""I3DHead and what it takes from BaseHead."""

import pytest
import torch

from mmaction.models.heads import I3DHead
from mmaction.structures import ActionDataSample


def samples(labels):
    return [ActionDataSample().set_gt_label(label) for label in labels]


def test_forward_is_pool_dropout_linear(device):
    head = I3DHead(num_classes=5, in_channels=8).eval()
    features = torch.randn(2, 8, 3, 4, 4)
    assert torch.allclose(head(features), head.fc_cls(features.mean((2, 3, 4))), atol=1e-6)
    assert list(head.state_dict()) == ['fc_cls.weight', 'fc_cls.bias']
    assert I3DHead(5, 8, dropout_ratio=0).dropout is None
    pooled = I3DHead(5, 8, spatial_type=None).eval()
    assert torch.allclose(pooled(features[:, :, :1, 0, 0]), pooled.fc_cls(features[:, :, 0, 0, 0]))


def test_init_weights(device):
    head = I3DHead(num_classes=400, in_channels=512, init_std=0.01)
    head.init_weights()
    assert head.fc_cls.weight.std().item() == pytest.approx(0.01, rel=0.02)
    assert (head.fc_cls.bias == 0).all()


def test_loss_and_accuracy_of_hard_labels(device):
    head = I3DHead(num_classes=6, in_channels=8, topk=(1, 5))
    scores = torch.eye(6)[[0, 1, 2]] * 9 + torch.arange(6) * 0.01
    result = head.loss_by_feat(scores, samples([0, 1, 0]))
    assert result['top1_acc'].item() == pytest.approx(2 / 3)
    assert result['top5_acc'].item() == pytest.approx(2 / 3)  # label 0 is the last of row 2
    expected = -scores.log_softmax(1)[torch.arange(3), torch.tensor([0, 1, 0])].mean()
    assert torch.allclose(result['loss_cls'], expected)


def test_soft_labels_have_no_accuracy(device):
    head = I3DHead(num_classes=3, in_channels=8)
    soft = [ActionDataSample().set_gt_label(torch.tensor([0.2, 0.3, 0.5]))]
    scores = torch.randn(1, 3)
    result = head.loss_by_feat(scores, soft)
    assert list(result) == ['loss_cls']
    assert torch.allclose(
        result['loss_cls'], -(scores.log_softmax(1) * torch.tensor([[0.2, 0.3, 0.5]])).sum()
    )


def test_label_smoothing(device):
    head = I3DHead(num_classes=4, in_channels=8, label_smooth_eps=0.2)
    scores = torch.randn(2, 4)
    target = torch.full((2, 4), 0.05)
    target[0, 1] = target[1, 3] = 0.85
    result = head.loss_by_feat(scores, samples([1, 3]))
    assert torch.allclose(result['loss_cls'], -(target * scores.log_softmax(1)).sum(1).mean())
    assert 'top1_acc' in result


@pytest.mark.parametrize('average', ['prob', 'score', None])
def test_views_are_averaged(device, average):
    head = I3DHead(num_classes=3, in_channels=8, average_clips=average)
    logits = torch.randn(6, 3)
    expected = {
        'prob': torch.stack([logits[:3].softmax(1).mean(0), logits[3:].softmax(1).mean(0)]),
        'score': torch.stack([logits[:3].mean(0), logits[3:].mean(0)]),
        None: logits.view(2, 3, 3),
    }[average]
    assert torch.allclose(head.average_clip(logits, 3), expected)
    if average:
        predicted = head.predict_by_feat(logits, samples([0, 1]))
        assert torch.allclose(predicted[1].pred_score, expected[1])
        assert predicted[1].pred_label.tolist() == [expected[1].argmax().item()]


def test_views_of_maps_are_averaged_over_classes():
    head = I3DHead(num_classes=3, in_channels=8, average_clips='prob')
    maps = torch.randn(4, 3, 2, 5)  # logits at each place
    expected = head.average_clip(maps.permute(0, 2, 3, 1)[:, 1, 4], 2)
    assert torch.allclose(head.average_clip(maps, 2)[..., 1, 4], expected)


@pytest.mark.parametrize('multi_class', [False, True])
@pytest.mark.parametrize('average', ['prob', 'score', None])
@pytest.mark.parametrize('half', [torch.bfloat16, torch.float16])
def test_views_of_half_precision_are_averaged_in_fp32(device, average, multi_class, half):
    head = I3DHead(num_classes=9, in_channels=8, average_clips=average, multi_class=multi_class)
    logits = (torch.randn(8, 9) * 4).to(half)
    scores = head.average_clip(logits, 4)
    assert scores.dtype == torch.float32
    assert torch.equal(scores, head.average_clip(logits.float(), 4))
    predicted = head.predict_by_feat(logits, samples([0, 1]))
    assert predicted[0].pred_score.dtype == torch.float32


def test_wrong_use_is_refused():
    with pytest.raises(ValueError, match="average_clips='mean'"):
        I3DHead(3, 8, average_clips='mean')
    with pytest.raises(ValueError, match=r'topk=\(0,\)'):
        I3DHead(3, 8, topk=0)
    with pytest.raises(ValueError, match='4 predictions for 2 labels'):
        I3DHead(3, 8).loss_by_feat(torch.randn(4, 3), samples([0, 1]))
    mixed = samples([0, 1])
    for sample in mixed:  # by a blending for four classes
        sample.gt_label = torch.full((4,), 0.25)
    with pytest.raises(ValueError, match=r'soft labels \(2, 4\) do not go with num_classes=3'):
        I3DHead(3, 8).loss_by_feat(torch.randn(2, 3), mixed)
