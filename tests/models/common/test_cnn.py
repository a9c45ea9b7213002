"""Pretrained weights, initialization and freezing of the convolutional backbones."""

import copy

import pytest
import torch
from torch import nn
from torchvision.models import resnet18, resnet50

from mmaction.errors import CheckpointError
from mmaction.models.common.cnn import fit_2d, torchvision_names
from mmaction.models.common.layers import build_norm_layer
from mmaction.registry import MODELS
from mmaction.structures import ActionDataSample
from mmaction.visualization import GradCAM

SMALL = dict(depth=50, stage_blocks=(1, 1, 1, 1))


@pytest.fixture(scope='module')
def r18(tmp_path_factory):
    torch.manual_seed(0)
    net = resnet18(weights=None)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean)
    path = tmp_path_factory.mktemp('weights') / 'resnet18.pth'
    torch.save(net.state_dict(), path)
    return net.eval(), str(path)


def built(**cfg):
    backbone = MODELS.build(cfg)
    backbone.init_weights()
    return backbone.eval()


def features(net, images):
    """The last map of torchvision's ResNet."""
    x = net.maxpool(net.relu(net.bn1(net.conv1(images))))
    return net.layer4(net.layer3(net.layer2(net.layer1(x))))


def test_names_of_torchvision():
    own = MODELS.build(dict(type='ResNet', depth=50)).state_dict()
    theirs = torchvision_names(resnet50(weights=None).state_dict())
    assert {k: v.shape for k, v in theirs.items()} == {k: v.shape for k, v in own.items()}
    assert torchvision_names(own).keys() == own.keys()


def test_resnet_gives_what_torchvisions_gives(r18):
    net, path = r18
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        backbone = built(type='ResNet', depth=18, pretrained=path)
        torch.testing.assert_close(backbone(images), features(net, images))


@pytest.mark.parametrize(
    'wrapped',
    [
        dict(type='ResNetTSM', shift_place='blockres'),
        dict(type='ResNetTSM', shift_place='block', temporal_pool=True),
        dict(type='ResNetTIN', shift_div=4),
    ],
)
def test_wrapped_layers_get_the_weights_too(r18, wrapped):
    net, path = r18
    backbone = built(depth=18, num_segments=4, pretrained=path, **wrapped)
    loaded = fit_2d(net.state_dict(), backbone)
    new = {name for name in backbone.state_dict() if name not in loaded}
    assert all('net1.' in name for name in new)
    assert len(loaded) == len(net.state_dict()) - 2
    for name, value in loaded.items():
        assert torch.equal(backbone.state_dict()[name], value), name


def test_inflated_network_sees_a_still_image_as_the_2d_one(r18):
    """Of a still clip all frames away from the borders look alike (arXiv:1705.07750)."""
    net, path = r18
    backbone = built(
        type='ResNet3dSlowOnly', depth=18, conv1_kernel=(1, 7, 7), inflate=(0, 0, 0, 0),
        pretrained=path,
    )  # fmt: skip
    # In float32 the order of the sums shows, which processors choose differently.
    images = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        clip = backbone.double()(images[:, :, None].expand(-1, -1, 4, -1, -1))
        torch.testing.assert_close(clip[:, :, 1], features(copy.deepcopy(net).double(), images))
    inflated = built(type='ResNet3d', depth=18, pretrained=path)
    kernel = inflated.layer1[0].conv1.conv.weight
    assert kernel.shape[2] == 3
    torch.testing.assert_close(kernel.sum(2), net.layer1[0].conv1.weight)
    assert torch.equal(kernel[:, :, 0], kernel[:, :, 2])


def test_channels_from_another_pathway_start_at_zero(tmp_path):
    torch.save(resnet50(weights=None).state_dict(), tmp_path / 'x.pth')
    pathway = built(type='resnet3d', lateral=True, pretrained=str(tmp_path / 'x.pth'), **SMALL)
    weight = pathway.layer2[0].conv1.conv.weight
    assert weight.shape[1] == 256 + 64
    assert weight[:, 256:].abs().max() == 0
    assert weight[:, :256].abs().min() > 0
    assert pathway.layer1_lateral.conv.weight.abs().max() > 0


def test_weights_of_the_network_itself(tmp_path):
    source = MODELS.build(dict(type='ResNet3dCSN', **SMALL))
    state = {f'backbone.{name}': value for name, value in source.state_dict().items()}
    torch.save(dict(state_dict=state, meta={}), tmp_path / 'x.pth')
    loaded = built(
        type='ResNet3dCSN', pretrained=str(tmp_path / 'x.pth'), pretrained2d=False, **SMALL
    )
    for name, value in source.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name
    with pytest.raises(CheckpointError, match='no weight that fits X3D'):
        built(type='X3D', pretrained=str(tmp_path / 'x.pth'))


def test_address_of_torchvision(r18, monkeypatch):
    net, path = r18
    asked = []
    monkeypatch.setattr(
        'mmaction.utils.checkpoint_reading.download', lambda url, *_: asked.append(url) or path
    )
    backbone = built(type='ResNet', depth=18, pretrained='torchvision://resnet18')
    assert torch.equal(backbone.conv1.conv.weight, net.conv1.weight)
    assert asked[0].rpartition('/')[2].startswith('resnet18-')
    with pytest.raises(CheckpointError, match=r"torchvision has no weights 'resnet51'; did you"):
        built(type='ResNet', depth=18, pretrained='torchvision://resnet51')


@pytest.mark.parametrize('kind', ['ResNet3d', 'X3D'])
def test_residual_blocks_start_as_the_identity(kind):
    backbone = built(type=kind, **(SMALL if kind == 'ResNet3d' else {}))
    last = backbone.layer1[0].conv3.norm
    assert last.weight.abs().max() == 0
    assert backbone.layer1[0].conv1.norm.weight.min() == 1


def trainable(module):
    return any(parameter.requires_grad for parameter in module.parameters())


@pytest.mark.parametrize(
    ('cfg', 'stem'),
    [
        (dict(type='ResNet', depth=18), 'conv1'),
        (dict(type='ResNet3d', **SMALL), 'conv1'),
        (dict(type='X3D'), 'conv1_t'),
        (dict(type='MobileNetV2'), 'conv1'),
    ],
)
def test_frozen_stages_stay_in_eval_mode(cfg, stem):
    backbone = MODELS.build(dict(cfg, frozen_stages=1)).train()
    for name in (stem, 'layer1'):
        assert not getattr(backbone, name).training
        assert not trainable(getattr(backbone, name))
    assert backbone.layer2.training
    assert trainable(backbone.layer2)


def test_lateral_convolutions_freeze_with_their_stage():
    pathway = MODELS.build(dict(type='resnet3d', lateral=True, frozen_stages=2, **SMALL)).train()
    assert not trainable(pathway.layer2_lateral)
    assert trainable(pathway.conv1_lateral)
    assert trainable(pathway.layer3_lateral)


def test_norm_eval_and_partial_bn():
    backbone = MODELS.build(dict(type='ResNet', depth=18, norm_eval=True)).train()
    assert not backbone.layer4[1].conv2.norm.training
    assert trainable(backbone.layer4[1].conv2.norm)
    backbone = MODELS.build(dict(type='ResNet', depth=18, partial_bn=True)).train()
    assert backbone.conv1.norm.training
    assert not backbone.layer1[0].conv1.norm.training
    assert not trainable(backbone.layer1[0].conv1.norm)
    csn = MODELS.build(dict(type='ResNet3dCSN', norm_eval=True, bn_frozen=True, **SMALL)).train()
    assert not trainable(csn.conv1.norm)
    assert trainable(csn.conv1.conv)


def test_sync_bn_in_one_process_on_a_cpu_is_batch_norm():
    norms = [build_norm_layer(dict(type=kind), 4) for kind in ('SyncBN', 'BN')]
    maps = torch.randn(3, 4, 5, 5) * 3 + 2
    ours, theirs = (norm.train()(maps) for norm in norms)
    torch.testing.assert_close(ours, theirs)
    ours, theirs = (norm.state_dict() for norm in norms)
    torch.testing.assert_close(dict(ours), dict(theirs))


def test_checkpointed_blocks_have_the_same_gradients():
    plain = MODELS.build(dict(type='ResNet3d', **SMALL)).eval()
    other = MODELS.build(dict(type='ResNet3d', with_cp=True, **SMALL)).eval()
    other.load_state_dict(plain.state_dict())
    clip = torch.randn(1, 3, 4, 32, 32)
    for backbone in (plain, other):
        backbone(clip).sum().backward()
    torch.testing.assert_close(plain.conv1.conv.weight.grad, other.conv1.conv.weight.grad)


@pytest.mark.parametrize(
    ('cfg', 'message'),
    [
        (dict(type='ResNet', depth=51), 'depth=51 is none of'),
        (dict(type='ResNet', depth=50, style='tf'), "style='tf'"),
        (dict(type='ResNet', depth=50, num_stages=2), 'num_stages=2'),
        (dict(type='ResNet3d', inflate=((1, 1), 1, 1, 1)), 'inflate='),
        (dict(type='ResNet3dSlowOnly', lateral=True), 'lateral must be False'),
        (dict(type='ResNet3dCSN', depth=18), 'depth 50, 101 or 152'),
        (dict(type='ResNet2Plus1d', depth=18), 'pretrained2d=False'),
        (dict(type='TANet', depth=50, num_segments=2), 'num_segments >= 3'),
        (dict(type='X3D', se_style='none'), "'half' or 'all'"),
        (dict(type='ResNet3dSlowFast', resample_rate=2), 'resample_rate=2 must be at least'),
        (dict(type='SlowFastHead', num_classes=2, in_channels=8, spatial_type='max'), "be 'avg'"),
    ],
)
def test_options_that_do_not_go_together(cfg, message):
    with pytest.raises(ValueError, match=message):
        MODELS.build(cfg)


def test_frames_that_are_no_multiple_of_the_segments():
    backbone = MODELS.build(dict(type='ResNetTSM', depth=18, num_segments=8))
    with pytest.raises(ValueError, match='6 frames are no multiple of num_segments=8'):
        backbone(torch.randn(6, 3, 32, 32))


@pytest.mark.parametrize(
    ('backbone', 'head'),
    [
        (dict(type='ResNet3dCSN', base_channels=8, **SMALL), dict(in_channels=256)),
        (
            dict(
                type='ResNet3dSlowFast',
                slow_pathway=dict(type='resnet3d', lateral=True, base_channels=16, **SMALL),
                fast_pathway=dict(type='resnet3d', base_channels=2, **SMALL),
            ),
            dict(type='SlowFastHead', in_channels=576),
        ),
        (dict(type='C3D', out_dim=512 * 9), dict(in_channels=4096, spatial_type=None)),
    ],
)
def test_grad_cam_has_a_default_layer(backbone, head):
    model = MODELS.build(
        dict(
            type='Recognizer3D',
            backbone=backbone,
            cls_head=dict(dict(type='I3DHead', num_classes=3), **head),
        )
    ).eval()
    clip = torch.randint(0, 256, (1, 3, 16, 64, 64), dtype=torch.uint8)
    data = dict(inputs=[clip], data_samples=[ActionDataSample().set_gt_label(0)])
    blended, scores = GradCAM(model)(data)
    assert blended.shape == (1, 16, 64, 64, 3)
    assert scores.shape == (1, 3)
