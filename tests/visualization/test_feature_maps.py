"""Finding layers, and reading their outputs as maps."""

import pytest
import torch

from mmaction.visualization.feature_maps import default_layer, find_layer, to_channels_first
from tests.visualization.conftest import CLIP, build


def test_path_and_negative_numbers(model):
    blocks = model.backbone.blocks
    assert find_layer(model, 'backbone/blocks/1/0') == ('backbone/blocks/1/0', blocks[1][0])
    assert find_layer(model, 'backbone.blocks.-1.-2') == ('backbone/blocks/1/0', blocks[1][0])
    assert find_layer(model, '/backbone/norm') == ('backbone/norm', model.backbone.norm)
    assert find_layer(model, default_layer(model))[1] is blocks[-1][-1]


def test_a_stage_is_its_last_block(model):
    assert find_layer(model, 'backbone/blocks/0') == (
        'backbone/blocks/0/1',
        model.backbone.blocks[0][1],
    )
    assert find_layer(model, 'backbone/blocks')[0] == 'backbone/blocks/1/1'


@pytest.mark.parametrize(
    ('name', 'text'),
    [
        # A stage past the end is no other stage.
        ('backbone/blocks/9/0', "backbone/blocks has no '9'; did you mean \"backbone/blocks/"),
        ('backbone/blocks/7', "backbone/blocks has no '7'"),
        ('backbone/patch_embeds/9', "backbone/patch_embeds has no '9'"),
        ('backbone/pos_block/9', "backbone/pos_block has no '9'"),
        ('backbone/blocks/1/-3', "backbone/blocks/1 has no '-3'"),
        ('backbone/blocks/1/3x', "backbone/blocks/1 has no '3x'"),
        ('blocks/1/0', "the model has no 'blocks'; did you mean \"backbone/blocks/1/0"),
        ('model/model', "the model has no 'model'"),
        ('backbone/blocks/-3/0', '(there are: backbone/blocks/0, backbone/blocks/1)'),
        ('backbone/block/0', "backbone has no 'block'; did you mean \"backbone/blocks/0"),
        ('trunk', "the model has no 'trunk' (there are: data_preprocessor, backbone, cls_head)"),
        ('backbone/norm/gain', 'backbone/norm has no layers within it'),
    ],
)
def test_unknown_layer_lists_available_ones(model, name, text):
    with pytest.raises(ValueError, match=f'there is no layer {name!r}') as error:
        find_layer(model, name)
    assert text in str(error.value)


@pytest.mark.parametrize(
    'name',
    [
        'model.backbone.blocks.1.0',
        'module/backbone/blocks/1/0',
        'module.model.backbone.blocks.1.0',
        'model/backbone.blocks/-1/0',
    ],
)
def test_prefixes_of_wrappers_and_dots(model, name):
    assert find_layer(model, name) == ('backbone/blocks/1/0', model.backbone.blocks[1][0])


class Named(torch.nn.Module):
    """A model of named parts."""

    def __init__(self, **parts):
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)


def blocks_of(number):
    return [torch.nn.Conv3d(1, 1, 1) for _ in range(number)]


def _resnet():
    return Named(**{f'layer{i + 1}': torch.nn.Sequential(*blocks_of(2)) for i in range(4)})


def _swin():
    stages = [Named(blocks=torch.nn.ModuleList(blocks_of(n))) for n in (2, 2, 6)]
    return Named(layers=torch.nn.ModuleList(stages))


def _vit():
    return Named(blocks=torch.nn.ModuleList(blocks_of(3)))


def _torchvision_swin():
    first, second = (torch.nn.Sequential(*blocks_of(2)) for _ in range(2))
    return Named(features=torch.nn.Sequential(first, torch.nn.Conv3d(1, 1, 1), second))


@pytest.mark.parametrize(
    ('backbone', 'name', 'found'),
    [
        (_resnet, 'layer4/5', 'layer4/1'),
        (_swin, 'layers/2/blocks/17', 'layers/2/blocks/5'),
        (_vit, 'blocks/11', 'blocks/2'),
        (_torchvision_swin, 'features/2/5', 'features/2/1'),
    ],
)
def test_a_block_past_the_end_of_a_stage_is_its_last_block(backbone, name, found, logged):
    model = Named(backbone=backbone())
    path, layer = find_layer(model, f'backbone/{name}')
    assert path == f'backbone/{found}'
    assert layer is model.get_submodule(path.replace('/', '.'))
    (line,) = logged
    assert line.endswith(f'means its last: {path}')
    assert '\n' not in line


@pytest.mark.parametrize(
    ('backbone', 'name'),
    [(_resnet, 'layer5/0'), (_swin, 'layers/3/blocks/0'), (_torchvision_swin, 'features/9/0')],
)
def test_a_stage_past_the_end_is_an_error(backbone, name):
    with pytest.raises(ValueError, match='there is no layer'):
        find_layer(Named(backbone=backbone()), f'backbone/{name}')


@pytest.mark.parametrize('arch', ['tiny', 'small', 'base'])
def test_layer_of_the_readme_works_for_every_size(arch):
    """'backbone/blocks/3/3' exists in Tiny alone."""
    from mmaction.models import DualFormer

    model = Named(backbone=DualFormer(arch=arch))
    last = len(model.backbone.blocks[3]) - 1
    assert find_layer(model, 'backbone/blocks/3/3')[0] == f'backbone/blocks/3/{min(3, last)}'
    assert find_layer(model, 'backbone/blocks/2/99')[0].endswith(
        f'/{len(model.backbone.blocks[2]) - 1}'
    )


def outputs_of(model):
    """Every module's 5-D output by its path."""
    found = {}

    def keep(name):
        return lambda module, inputs, output: found.update({name: output})

    handles = [m.register_forward_hook(keep(name)) for name, m in model.named_modules()]
    model(torch.randn(2, 1, 3, *CLIP), mode='tensor', stage='head')
    for handle in handles:
        handle.remove()
    return {k: v for k, v in found.items() if isinstance(v, torch.Tensor) and v.ndim == 5}


def test_dualformer_feature_maps_have_correct_layout(model):
    """Channels are where the module's kind says: last but in convolutions and at the end."""
    outputs = outputs_of(model)
    blocks = [name for name in outputs if name.startswith('backbone.blocks')]
    assert len(blocks) > 20
    for name, out in outputs.items():
        module = model.get_submodule(name)
        first = name in ('', 'backbone') or type(module).__name__ in ('Conv3d', 'BatchNorm3d')
        first = first or ('pos_block' in name and name.endswith('proj'))
        if name.startswith('cls_head'):
            continue
        expected = out if first else out.movedim(4, 1)
        found = to_channels_first(out, CLIP, name)
        assert found.shape == expected.shape, name
        assert torch.equal(found, expected), name


def test_torchvision_swin_feature_maps_have_correct_layout():
    """Its tokens are channels-last, its patch embedding is a convolution."""
    clip = (4, 64, 96)
    model = build(dict(type='torchvision.swin3d_t'), 768)
    found = {}
    for name, module in model.backbone.net.named_modules():
        if name in ('patch_embed.proj', *(f'features.{i}' for i in range(7))):
            module.register_forward_hook(lambda _, __, out, name=name: found.update({name: out}))
    model(torch.randn(1, 1, 3, *clip), mode='tensor', stage='head')
    assert len(found) == 8
    for name, out in found.items():
        expected = out if name == 'patch_embed.proj' else out.movedim(4, 1)
        assert torch.equal(to_channels_first(out, clip, name), expected), name


@pytest.mark.parametrize(
    ('arch', 'clip'), [('tiny', (32, 224, 224)), ('small', (16, 256, 340)), ('base', (8, 96, 96))]
)
def test_grids_of_the_published_sizes(arch, clip):
    dims = dict(tiny=512, small=768, base=1024)[arch]
    for stage, dim in enumerate((dims // 8, dims // 4, dims // 2, dims)):
        step = 4 * 2**stage
        grid = (clip[0] // 2, -(-clip[1] // step), -(-clip[2] // step))
        last = torch.empty(1, *grid, dim)
        assert to_channels_first(last, clip, 'x').shape == (1, dim, *grid)
        first = torch.empty(1, dim, *grid)
        assert to_channels_first(first, clip, 'x').shape == (1, dim, *grid)


@pytest.mark.parametrize('shape', [(2, 9, 24), (2, 6), (2, 99, 99, 99, 99)])
def test_layers_without_map_are_errors(shape):
    with pytest.raises(ValueError, match=r'layer backbone/x gives a tensor of shape .* no map'):
        to_channels_first(torch.zeros(shape), CLIP, 'backbone/x')
