"""Recognizer3D with a small DualFormer."""

import logging
from collections import OrderedDict

import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope
from torch import nn

from mmaction.models import Recognizer3D
from mmaction.models.utils import linear_cpu
from mmaction.registry import MODELS
from mmaction.structures import ActionDataSample

BACKBONE = dict(
    type='DualFormer',
    arch=dict(embed_dims=[8], num_heads=[2], depths=[2], mlp_ratios=[1]),
    local_sizes=[[2, 2, 2]],
    fine_pysizes=[[2, 2, 2]],
    coarse_pysizes=[None],
    video_size=[4, 16, 16],
)


def build(test_cfg=None, **head):
    return MODELS.build(
        dict(
            type='Recognizer3D',
            backbone=BACKBONE,
            cls_head=dict(type='I3DHead', num_classes=7, in_channels=8, **head),
            data_preprocessor=dict(
                type='ActionDataPreprocessor', mean=[100] * 3, std=[50] * 3, format_shape='NCTHW'
            ),
            test_cfg=test_cfg,
        )
    ).to(torch.get_default_device())


def data(n=2, views=1):
    clips = [torch.randint(0, 256, (views, 3, 4, 16, 16), dtype=torch.uint8) for _ in range(n)]
    return dict(inputs=clips, data_samples=[ActionDataSample().set_gt_label(i) for i in range(n)])


def test_modes(device):
    model = build().eval()
    batch = model.data_preprocessor(data(2, views=3))
    inputs, samples = batch['inputs'], batch['data_samples']
    features = model(inputs)
    assert features.shape == (6, 8, 2, 4, 4)
    assert torch.equal(model(inputs, mode='tensor', stage='head'), model.cls_head(features))
    losses = model(inputs[:, :1], samples, mode='loss')
    assert set(losses) == {'loss_cls', 'top1_acc', 'top5_acc'}
    with pytest.raises(RuntimeError, match="mode='train'"):
        model(inputs, mode='train')
    with pytest.raises(ValueError, match="mode='loss' needs data_samples"):
        model(inputs, mode='loss')
    with pytest.raises(ValueError, match="stage='hed'"):
        model(inputs, stage='hed')


@pytest.mark.parametrize('mode', ['loss', 'predict'])
def test_losses_and_predictions_need_a_head(mode):
    model = MODELS.build(dict(type='Recognizer3D', backbone=BACKBONE))
    batch = model.data_preprocessor(data())
    assert model(batch['inputs']).shape == (2, 8, 2, 4, 4)
    with pytest.raises(ValueError, match=r'^model\.cls_head is None: without a head'):
        model(batch['inputs'], batch['data_samples'], mode=mode)


@pytest.mark.parametrize('backbone', [BACKBONE, dict(type='C3D')])
def test_bytes_that_were_not_normalized_are_refused(backbone):
    model = MODELS.build(dict(type='Recognizer3D', backbone=backbone)).eval()
    clips = torch.zeros(2, 1, 3, 4, 16, 16, dtype=torch.uint8)
    with pytest.raises(ValueError, match=r'clips of floats, not torch\.uint8.*data_preprocessor'):
        model(clips)


@MODELS.register_module(force=True)
class ByteBackbone(nn.Module):
    """A backbone that normalizes by itself."""

    def forward(self, x):
        return x / 255


def test_a_backbone_that_takes_bytes():
    model = MODELS.build(dict(type='Recognizer3D', backbone=dict(type='ByteBackbone')))
    clips = torch.full((2, 1, 3, 4, 16, 16), 255, dtype=torch.uint8)
    assert torch.equal(model(clips), torch.ones(2, 3, 4, 16, 16))


def test_clips_alone_are_predicted(device):
    model = build(average_clips='prob').eval()
    inputs = model.data_preprocessor(data(2, views=3))['inputs']
    given = model(inputs, [ActionDataSample() for _ in inputs], mode='predict')
    for sample, wanted in zip(model(inputs, mode='predict'), given, strict=True):
        assert torch.equal(sample.pred_score, wanted.pred_score)


@MODELS.register_module(force=True)
class HalfScale(nn.Module):
    """A neck that gives features, and no loss beside them."""

    def forward(self, x, data_samples=None):
        return x / 2


def test_a_neck_without_a_loss(device):
    model = build().eval()
    inputs = model.data_preprocessor(data())['inputs']
    features = model(inputs)
    model.neck = HalfScale()
    assert torch.equal(model(inputs, stage='neck'), features / 2)
    assert set(model(inputs, data()['data_samples'], mode='loss')) > {'loss_cls'}


def test_parts_are_found_without_a_default_scope(monkeypatch):
    monkeypatch.setattr(DefaultScope, '_instance_dict', OrderedDict())
    assert build().data_preprocessor.mean is not None


def test_train_step_moves_every_parameter_and_test_step_predicts(device):
    model = build(test_cfg=dict(average_clips='prob'))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    losses = model(**model.data_preprocessor(data(), True), mode='loss')
    losses['loss_cls'].backward()
    optimizer.step()
    moved = [name for name, p in model.named_parameters() if not torch.equal(p, before[name])]
    assert moved == list(before)
    predictions = model.eval().test_step(data(2, views=3))
    assert len(predictions) == 2
    assert predictions[0].pred_score.sum().item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize('at_once', [1, 2, 4, 5, 100])
def test_views_are_chunked_at_any_batch_size(device, at_once):
    model = build(test_cfg=dict(average_clips='prob')).eval()
    batch = model.data_preprocessor(data(3, views=4))
    with torch.no_grad():
        expected = [s.pred_score.clone() for s in model(**batch, mode='predict')]
        model.test_cfg['max_testing_views'] = at_once
        sizes = []
        model.backbone.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
        scores = [s.pred_score for s in model(**batch, mode='predict')]
    assert torch.allclose(torch.stack(scores), torch.stack(expected), atol=1e-6)
    assert max(sizes) <= at_once
    assert sum(sizes) == 12


def test_max_testing_views_has_no_part_in_training(device):
    model = build(test_cfg=dict(average_clips='prob', max_testing_views=1))
    sizes = []
    model.backbone.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    losses = model(**model.data_preprocessor(data(3), True), mode='loss')
    assert sizes == [3]
    assert bool(torch.isfinite(losses['loss_cls']))


def test_linear_layers_of_all_parts_are_the_fast_ones(monkeypatch):
    expected = build().state_dict()
    monkeypatch.setattr(linear_cpu, 'GAINS', True)
    model = build()
    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    assert {type(layer) for layer in layers} == {linear_cpu.Linear}
    assert model.cls_head.fc_cls in layers
    assert list(model.state_dict()) == list(expected)


def test_average_clips_on_recognizer_or_head():
    assert build(test_cfg=dict(average_clips='prob')).cls_head.average_clips == 'prob'
    assert build(average_clips='score').cls_head.average_clips == 'score'
    assert build(dict(average_clips='prob'), average_clips='prob').cls_head.average_clips == 'prob'
    with pytest.raises(ValueError, match="'prob', but cls_head says 'score'"):
        build(dict(average_clips='prob'), average_clips='score')


def test_unknown_settings_are_refused():
    with pytest.raises(ValueError, match='max_testing_view'):
        build(test_cfg=dict(max_testing_view=4))
    with pytest.raises(ValueError, match='aux_info'):
        Recognizer3D(BACKBONE, train_cfg=dict(aux_info=['x']))


@pytest.mark.parametrize('views', [-1, 1.5, [1], '4'])
def test_max_testing_views_that_is_no_number_of_views_is_refused(views):
    with pytest.raises(ValueError, match=r'test_cfg\.max_testing_views=.*: expected a positive'):
        build(test_cfg=dict(max_testing_views=views))


def test_init_weights_loads_the_backbone(tmp_path):
    model = build()
    torch.save(model.backbone.state_dict(), tmp_path / 'pre.pth')
    other = build()
    other.backbone.pretrained = str(tmp_path / 'pre.pth')
    other.init_weights()
    for name, value in model.backbone.state_dict().items():
        assert torch.equal(other.backbone.state_dict()[name], value), name
    assert other.cls_head.fc_cls.weight.std() < 0.02


def test_weights_are_initialized_after_a_run_has_closed_its_log(tmp_path):
    log = logging.FileHandler(tmp_path / 'run.log', mode='w')
    logger = MMLogger.get_current_instance()
    logger.addHandler(log)
    log.close()
    vit = dict(type='VisionTransformer', img_size=32, embed_dims=8, depth=1, num_heads=1)
    head = dict(type='TimeSformerHead', in_channels=8, num_classes=3)
    MODELS.build(dict(type='Recognizer3D', backbone=vit, cls_head=head)).init_weights()
    assert log not in logger.handlers


def test_frozen_backbone_stays_as_it_is_in_training(device):
    backbone = dict(BACKBONE, frozen=True, drop_rate=0.5)
    head = dict(type='I3DHead', num_classes=7, in_channels=8)
    model = MODELS.build(dict(type='Recognizer3D', backbone=backbone, cls_head=head)).to(device)
    model.train()
    assert not any(part.training for part in model.backbone.modules())
    assert model.cls_head.training
    clips = torch.randn(2, 1, 3, 4, 16, 16, device=device)
    model(clips, data()['data_samples'], mode='loss')['loss_cls'].backward()
    assert all(p.grad is None and not p.requires_grad for p in model.backbone.parameters())
    assert all(p.grad is not None for p in model.cls_head.parameters())
