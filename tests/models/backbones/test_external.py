"""Backbones of torchvision and timm."""

import pytest
import timm
import torch
from torchvision.models import get_model

from mmaction.errors import CheckpointError
from mmaction.models import Recognizer2D, TimmBackbone, TorchvisionBackbone
from mmaction.registry import MODELS
from mmaction.structures import ActionDataSample
from mmaction.visualization import GradCAM

CLIP = torch.randn(1, 3, 8, 64, 64)


@pytest.mark.parametrize(
    ('name', 'shape'),
    [
        ('torchvision.swin3d_t', (1, 768, 4, 2, 2)),
        ('torchvision.s3d', (1, 1024, 1, 2, 2)),
        ('torchvision.r3d_18', (1, 512, 1, 4, 4)),
    ],
)
def test_video_models_return_map_before_pooling(name, shape):
    backbone = MODELS.build(dict(type=name)).eval()
    assert isinstance(backbone, TorchvisionBackbone)
    with torch.no_grad():
        found = backbone(CLIP)
    assert found.shape == shape


@pytest.mark.parametrize('name', ['swin3d_t', 'r3d_18'])
def test_pooled_and_classified_output_equals_library_model(name, tmp_path):
    torch.manual_seed(0)
    whole = get_model(name, weights=None).eval()
    torch.save(whole.state_dict(), tmp_path / 'x.pth')
    backbone = MODELS.build(dict(type=f'torchvision.{name}', pretrained=str(tmp_path / 'x.pth')))
    backbone.init_weights()
    head = whole.head if name == 'swin3d_t' else whole.fc
    with torch.no_grad():
        found = head(backbone.eval()(CLIP).mean((2, 3, 4)))
        torch.testing.assert_close(found, whole(CLIP), rtol=1e-4, atol=1e-5)


def test_class_token_output_is_a_1x1_map():
    backbone = MODELS.build(dict(type='torchvision.mvit_v2_s')).eval()
    with torch.no_grad():
        assert backbone(torch.randn(1, 3, 16, 224, 224)).shape == (1, 768, 1, 1, 1)


@pytest.mark.parametrize('name', ['resnet18', 'vit_tiny_patch16_224'])
def test_image_models_of_timm(name, tmp_path):
    torch.manual_seed(0)
    whole = timm.create_model(name).eval()
    torch.save(whole.state_dict(), tmp_path / 'x.pth')
    backbone = MODELS.build(dict(type=f'timm.{name}', pretrained=str(tmp_path / 'x.pth'))).eval()
    backbone.init_weights()
    assert isinstance(backbone, TimmBackbone)
    image = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        features = backbone(image)
        assert features.shape[2:] == (1, 1)
        found = whole.get_classifier()(features.flatten(1))
        torch.testing.assert_close(found, whole(image), rtol=1e-4, atol=1e-5)


def test_weights_that_do_not_fit_are_listed(tmp_path):
    state = get_model('r3d_18', weights=None).state_dict()
    state['layer5.weight'] = state.pop('stem.1.bias')
    torch.save(state, tmp_path / 'x.pth')
    backbone = MODELS.build(dict(type='torchvision.r3d_18', pretrained=str(tmp_path / 'x.pth')))
    with pytest.raises(ValueError, match=r'missing: stem\.1\.bias\n *unknown: layer5\.weight'):
        backbone.init_weights()
    backbone.pretrained = str(tmp_path / 'none.pth')
    with pytest.raises(CheckpointError, match=r'none\.pth'):
        backbone.init_weights()


def test_weights_of_a_whole_recognizer_are_those_of_its_backbone(tmp_path):
    backbone = dict(type='torchvision.r3d_18')
    head = dict(type='I3DHead', num_classes=3, in_channels=512)
    model = MODELS.build(dict(type='Recognizer3D', backbone=backbone, cls_head=head))
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'x.pth')
    found = MODELS.build(dict(backbone, pretrained=str(tmp_path / 'x.pth')))
    found.init_weights()
    torch.testing.assert_close(found.state_dict(), model.backbone.state_dict())


def test_unknown_model_names_suggest_nearest():
    with pytest.raises(
        ValueError, match=r'torchvision has no model .swin3d.; did you mean "swin3d'
    ):
        MODELS.build(dict(type='torchvision.swin3d'))
    with pytest.raises(ValueError, match=r'timm has no model .resnet19.; did you mean "resnet1'):
        MODELS.build(dict(type='timm.resnet19'))


def test_frames_are_averaged_and_clips_are_frames():
    torch.manual_seed(0)
    model = Recognizer2D(
        backbone=dict(type='timm.resnet18'),
        cls_head=dict(type='TSNHead', in_channels=512, num_classes=3),
        test_cfg=dict(average_clips='prob'),
    ).eval()
    frames = torch.randn(2, 6, 3, 32, 32)
    with torch.no_grad():
        logits = model(frames, stage='head')
        features = model.backbone(frames.flatten(0, 1)).view(2, 6, 512).mean(1)
        torch.testing.assert_close(logits, model.cls_head.fc_cls(features))
        clips = frames.view(2, 2, 3, 3, 32, 32).transpose(2, 3)
        torch.testing.assert_close(model(clips, stage='head'), logits)
    samples = [ActionDataSample().set_gt_label(label) for label in (0, 2)]
    scores = model(clips, samples, mode='predict')[1].pred_score
    torch.testing.assert_close(scores, logits[1].softmax(0))
    loss = model.train()(frames, samples, mode='loss')
    assert set(loss) == {'loss_cls', 'top1_acc', 'top5_acc'}


def test_grad_cam_of_a_video_model():
    torch.manual_seed(0)
    model = MODELS.build(
        dict(
            type='Recognizer3D',
            backbone=dict(type='torchvision.r3d_18'),
            cls_head=dict(type='I3DHead', in_channels=512, num_classes=3),
        )
    ).eval()
    data = dict(
        inputs=[torch.randint(0, 256, (1, 3, 8, 64, 64)).float()],
        data_samples=[ActionDataSample().set_gt_label(0)],
    )
    for layer in ('backbone', 'backbone/layer3'):
        blended, _ = GradCAM(model, layer)(data)
        assert blended.shape == (1, 8, 64, 64, 3)
