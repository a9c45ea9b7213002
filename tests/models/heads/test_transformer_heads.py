"""TimeSformerHead, MViTHead and UniFormerHead."""

import json

import pytest
import torch

from mmaction.models.heads import MViTHead, TimeSformerHead, UniFormerHead
from mmaction.registry import MODELS


def test_timesformer_head_is_dropout_and_linear(device):
    head = TimeSformerHead(num_classes=5, in_channels=8)
    x = torch.randn(3, 8)
    assert torch.equal(head(x), head.fc_cls(x))
    dropping = TimeSformerHead(num_classes=5, in_channels=8, dropout_ratio=0.5)
    assert not torch.equal(dropping(x), dropping.fc_cls(x))
    assert torch.equal(dropping.eval()(x), dropping.fc_cls(x))


def test_timesformer_head_starts_truncated_normal():
    head = TimeSformerHead(num_classes=400, in_channels=512)
    head.init_weights()
    assert head.fc_cls.weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert (head.fc_cls.bias == 0).all()


def test_mvit_head_takes_the_class_token_or_the_mean(device):
    maps, token = torch.randn(2, 8, 2, 3, 3), torch.randn(2, 8)
    head = MViTHead(num_classes=5, in_channels=8).eval()
    assert torch.equal(head(([maps, maps], [maps, token])), head.fc_cls(token))
    pooled = MViTHead(num_classes=5, in_channels=8, with_cls_token=False).eval()
    assert torch.allclose(pooled((maps,)), pooled.fc_cls(maps.mean((2, 3, 4))))


def test_mvit_head_scales_its_first_weights():
    head = MViTHead(num_classes=400, in_channels=512, init_scale=0.1)
    head.init_weights()
    assert head.fc_cls.weight.std().item() == pytest.approx(0.002, rel=0.02)
    assert head.fc_cls.bias.tolist() == pytest.approx([0.002] * 400)


@pytest.fixture
def pretrained(tmp_path):
    """A checkpoint of a head of 4 classes, and a map of 2 classes to them."""
    state = {
        'cls_head.fc_cls.weight': torch.arange(12.0).view(4, 3),
        'cls_head.fc_cls.bias': torch.arange(4.0),
        'backbone.norm.weight': torch.ones(3),
    }
    torch.save(dict(state_dict=state), tmp_path / 'k710.pth')
    (tmp_path / 'map.json').write_text(json.dumps([3, 1]))
    return dict(type='Pretrained', checkpoint=str(tmp_path / 'k710.pth'), prefix='cls_head.')


def test_uniformer_head_takes_its_classes_from_a_larger_one(pretrained, tmp_path):
    config = dict(type='UniFormerHead', num_classes=2, in_channels=3, init_cfg=pretrained)
    head = MODELS.build(dict(**config, channel_map=str(tmp_path / 'map.json')))
    head.init_weights()
    assert head.fc_cls.weight.tolist() == [[9, 10, 11], [3, 4, 5]]
    assert head.fc_cls.bias.tolist() == [3, 1]


def test_uniformer_head_refuses_maps_that_do_not_fit(pretrained, tmp_path):
    with pytest.raises(ValueError, match='needs channel_map'):
        UniFormerHead(2, 3, init_cfg=pretrained)
    (tmp_path / 'map.json').write_text('[3, 4]')
    head = UniFormerHead(2, 3, init_cfg=pretrained, channel_map=str(tmp_path / 'map.json'))
    with pytest.raises(ValueError, match='must list 2, each from 0 to 3'):
        head.init_weights()
    (tmp_path / 'map.json').unlink()
    with pytest.raises(FileNotFoundError, match=r'no channel_map .*map.json: mmaction2 keeps'):
        head.init_weights()
