"""Grad-CAM of mmaction2's transformers, whose blocks give rows of tokens."""

import copy

import pytest
import torch

from mmaction.registry import MODELS
from mmaction.structures import ActionDataSample
from mmaction.visualization import GradCAM
from tests.models.backbones.reference import recorded

HEADS = {
    'vit_mae/vit': ('TimeSformerHead', 24, (2, 4, 4)),
    'timesformer/tsf_div': ('TimeSformerHead', 24, (4, 4, 4)),
    'timesformer/tsf_joint': ('TimeSformerHead', 24, (4, 4, 4)),
    'timesformer/tsf_space': ('TimeSformerHead', 24, (4, 4, 4)),
    'mvit/mvit': ('MViTHead', 48, (4, 8, 8)),
    'uniformerv2/uni2': ('TimeSformerHead', 24, (4, 4, 4)),
    'uniformer/uni': ('I3DHead', 32, (2, 2, 2)),
    'swin/swin': ('I3DHead', 48, (3, 2, 3)),
}


def recognizer(name):
    case = copy.deepcopy(recorded()[name])
    kind, channels, _ = HEADS[name]
    head = dict(type=kind, num_classes=3, in_channels=channels)
    model = MODELS.build(dict(type='Recognizer3D', backbone=case['backbone'], cls_head=head))
    for parameter in model.parameters():  # no branch starts at zero
        if not parameter.count_nonzero():
            torch.nn.init.normal_(parameter, std=0.05)
    return model.eval(), case['input_shape']


@pytest.mark.parametrize('name', HEADS)
def test_default_layer_gives_a_map_of_patches(name):
    model, (_, *clip) = recognizer(name)
    data = dict(inputs=[torch.randn(1, *clip)] * 2, data_samples=[ActionDataSample()] * 2)
    maps, logits, clip_shape = GradCAM(model).raw_saliency(data)
    assert (maps.shape[1:], clip_shape) == (HEADS[name][2], tuple(clip[1:]))
    assert len(maps) == len(logits) == 2
    assert maps.amax() > 0


@pytest.mark.parametrize(
    'name', ['vit_mae/vit', 'mvit/mvit', 'uniformerv2/uni2', *list(HEADS)[1:4]]
)
def test_tokens_are_put_where_their_patches_are(name):
    """A pixel of one patch alone, where patches overlap, changes its place of the map most."""
    model, shape = recognizer(name)
    layer = model.backbone.get_submodule(
        {'vit_mae/vit': 'blocks.0', 'mvit/mvit': 'blocks.0'}.get(
            name, 'transformer.resblocks.0' if 'uni2' in name else 'transformer_layers.layers.0'
        )
    )
    outputs = []
    layer.register_forward_hook(lambda *args: outputs.append(args[2]))
    clip = torch.zeros(1, *shape[1:])
    changed = clip.clone()
    frame, row, column = shape[2] - 1, shape[3] // 4, shape[4] * 5 // 8
    changed[:, :, frame, row, column] += 30
    with torch.no_grad():
        model.backbone(clip)
        model.backbone(changed)
    rows = [output[0] if isinstance(output, tuple) else output for output in outputs]
    before, after = (model.backbone.token_map(tokens, tuple(shape[2:])) for tokens in rows)
    place = (after - before).norm(dim=1)[0]
    found = torch.unravel_index(place.argmax(), place.shape)
    t, h, w = (n / size for n, size in zip(place.shape, shape[2:], strict=True))
    assert [int(i) for i in found] == [int(frame * t), int(row * h), int(column * w)]
