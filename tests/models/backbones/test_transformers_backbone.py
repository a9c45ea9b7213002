"""Backbones of transformers, held against transformers itself."""

import pytest
import torch

transformers = pytest.importorskip('transformers')

from mmaction.errors import CheckpointError, ConfigError  # noqa: E402
from mmaction.models import Recognizer2D, Recognizer3D, TransformersBackbone  # noqa: E402
from mmaction.models.backbones.transformers_backbone import _resized  # noqa: E402
from mmaction.registry import MODELS  # noqa: E402
from mmaction.structures import ActionDataSample  # noqa: E402
from mmaction.visualization import GradCAM  # noqa: E402
from tests.tiny_transformers import CONFIGS, VIDEO, save  # noqa: E402


def clip(kind, frames=4, batch=2):
    config = CONFIGS[kind]
    size = config.get('image_size') or config['crop_size']
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, 3, frames, size, size, generator=generator)


def built(folder, **kwargs):
    backbone = MODELS.build(dict(type=f'transformers.{folder}', **kwargs)).eval()
    backbone.init_weights()
    return backbone


def theirs(model, kind, x):
    """What transformers itself gives: the tokens of the base model, and its classifier's input."""
    seen = []
    model.classifier.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    key = 'pixel_values_videos' if kind == 'vjepa2' else 'pixel_values'
    with torch.no_grad():
        model(**{key: x})
        tokens = model.base_model(**{key: x}).last_hidden_state
    return tokens, seen[0]


@pytest.mark.parametrize('kind', VIDEO)
def test_clips_give_what_transformers_gives(kind, tmp_path):
    model = save(kind, tmp_path)
    x = clip(kind)
    tokens, vector = theirs(model, kind, x.transpose(1, 2))
    if kind == 'vjepa2':  # whose classifier has an attentive pooler: tokens are what is shared
        vector = tokens.mean(1)
    with torch.no_grad():
        pooled = built(tmp_path)(x)
        maps = built(tmp_path, output='map')(x)
    assert pooled.shape == (2, 24, 1, 1, 1)
    torch.testing.assert_close(pooled.flatten(1), vector, rtol=0, atol=1e-5)
    patches = tokens[:, tokens.shape[1] - maps[0, 0].numel() :]
    if kind == 'timesformer':  # in time first
        patches = patches.unflatten(1, (2, 2, 4)).permute(0, 3, 1, 2, 4).flatten(1, 3)
    assert maps.shape == (2, 24, 4 if kind == 'timesformer' else 2, 2, 2)
    torch.testing.assert_close(maps.flatten(2).mT, patches, rtol=0, atol=1e-5)


@pytest.mark.parametrize('kind', ['vit', 'dinov2', 'convnext', 'swin'])
def test_images_give_what_transformers_gives(kind, tmp_path):
    model = save(kind, tmp_path)
    x = clip(kind)
    frames = x.transpose(1, 2).flatten(0, 1)
    tokens, vector = theirs(model, kind, frames)
    if kind == 'dinov2':  # whose classifier has the mean of the patches beside the class token
        vector = vector[:, :24]
    with torch.no_grad():
        backbone = built(tmp_path)
        pooled = backbone(frames)
        torch.testing.assert_close(pooled.flatten(1), vector, rtol=0, atol=1e-5)
        by_clip = backbone(x)
        assert by_clip.shape == (2, pooled.shape[1], 4, 1, 1)
        torch.testing.assert_close(by_clip.transpose(1, 2).flatten(0, 1), pooled)
        maps = built(tmp_path, output='map')(frames)
    if tokens.ndim == 3:
        tokens = tokens[:, -maps[0, 0].numel() :].mT.unflatten(2, maps.shape[2:])
    torch.testing.assert_close(maps, tokens, rtol=0, atol=1e-5)


@pytest.mark.parametrize('kind', [*VIDEO, 'vit'])
def test_equality_notices_two_layers_that_are_swapped(kind, tmp_path):
    model = save(kind, tmp_path)
    x = clip(kind)
    backbone = built(tmp_path, output='map')
    with torch.no_grad():
        before = backbone(x)
        state = model.state_dict()
        first = {n: v for n, v in state.items() if '.0.' in n and '.layer' in n}
        assert first
        for name, value in first.items():
            other = name.replace('.0.', '.1.', 1)
            if other in state:
                state[name], state[other] = state[other].clone(), value.clone()
        model.load_state_dict(state)
        model.save_pretrained(tmp_path)
        assert (built(tmp_path, output='map')(x) - before).abs().max() > 1e-3


def test_weights_that_are_missing_or_unsafe_are_errors(tmp_path):
    from safetensors.torch import load_file, save_file

    save('videomae', tmp_path)
    file = tmp_path / 'model.safetensors'
    state = load_file(file)
    del state['videomae.encoder.layer.1.output.dense.weight']
    save_file(state, file, metadata=dict(format='pt'))
    with pytest.raises(ValueError, match=r'missing: encoder\.layer\.1\.output\.dense\.weight'):
        built(tmp_path)
    file.unlink()
    torch.save(state, tmp_path / 'pytorch_model.bin')
    with pytest.raises(CheckpointError, match=r'holds no \.safetensors file'):
        built(tmp_path)


def test_names_of_models(tmp_path):
    with pytest.raises(ConfigError, match=r'no folder of a model of transformers .*nowhere'):
        MODELS.build(dict(type=f'transformers.{tmp_path}/nowhere'))
    with pytest.raises(ConfigError, match=r'pin a revision'):
        MODELS.build(dict(type='transformers.org/model'))
    with pytest.raises(ConfigError, match=r'pin a revision'):
        MODELS.build(dict(type='transformers.org/model@main'))
    (tmp_path / 'x').mkdir()
    with pytest.raises(ConfigError, match=r'holds no config\.json'):
        MODELS.build(dict(type=f'transformers.{tmp_path}/x'))
    with pytest.raises(ValueError, match=r'bert.* takes input_ids'):
        MODELS.build(dict(type='transformers.bert', hidden_size=8, num_attention_heads=1))
    save('vit', tmp_path / 'vit')
    with pytest.raises(ValueError, match=r"no config key 'droppath'"):
        MODELS.build(dict(type=f'transformers.{tmp_path}/vit', droppath=0.1))


def test_code_in_a_folder_is_not_run(tmp_path):
    save('vit', tmp_path)
    config = (tmp_path / 'config.json').read_text()
    entry = '{"auto_map": {"AutoConfig": "evil.Config", "AutoModel": "evil.Model"},'
    (tmp_path / 'config.json').write_text(
        config.replace('{', entry, 1).replace('"vit"', '"unheard_of"')
    )
    (tmp_path / 'evil.py').write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(ConfigError, match=r'config\.json cannot be read by transformers'):
        MODELS.build(dict(type=f'transformers.{tmp_path}'))
    assert not (tmp_path / 'ran').exists()


@pytest.mark.parametrize('kind', VIDEO)
def test_model_types_make_the_same_network_without_the_folder(kind, tmp_path):
    save(kind, tmp_path)
    of_folder = built(tmp_path, output='map')
    again = MODELS.build({**of_folder.full_config(), 'pretrained': False}).eval()
    again.load_state_dict(of_folder.state_dict())
    x = clip(kind)
    with torch.no_grad():
        torch.testing.assert_close(again(x), of_folder(x), rtol=0, atol=0)


@pytest.mark.parametrize('kind', [*VIDEO, 'vit'])
def test_other_sizes_interpolate_positions(kind, tmp_path):
    save(kind, tmp_path)
    frames = None if kind == 'vit' else 8
    backbone = built(tmp_path, num_frames=frames, img_size=48, output='map')
    with torch.no_grad():
        found = backbone(torch.randn(1, 3, 8, 48, 48))
    times = 8 if kind in ('timesformer', 'vit') else 4
    assert found.shape == (1, 24, times, 3, 3)
    with pytest.raises(ValueError, match=r'takes clips of .*48, 48.* not .*32, 32'):
        backbone(torch.randn(1, 3, 8, 32, 32))


def test_positions_of_another_grid_follow_a_slope():
    """Codes that rise along an axis rise along it on a finer grid too; the class token stays."""
    t, h, w = torch.meshgrid(torch.arange(4.0), torch.arange(6.0), torch.arange(6.0), indexing='ij')
    codes = torch.stack((t, h, w), -1).flatten(0, 2)[None]
    codes = torch.cat((torch.full((1, 1, 3), 9.0), codes), 1)
    found = _resized(codes, (4, 6, 6), (8, 12, 12))
    assert (found[:, 0] == 9).all()
    grid = found[0, 1:].unflatten(0, (8, 12, 12))
    for axis in range(3):
        inner = grid[2:6, 3:9, 3:9].movedim(axis, 0)[..., axis].flatten(1)
        # bicubic interpolation, with the constant that torch has, bends slopes a little
        tolerance = dict(rtol=0, atol=0.1 if axis else 1e-5)
        torch.testing.assert_close(inner.diff(dim=0), torch.full_like(inner[1:], 0.5), **tolerance)


@pytest.mark.parametrize('kind', [*VIDEO, 'vit'])
def test_checkpointing_gives_the_same_gradients(kind, tmp_path):
    save(kind, tmp_path)
    gradients = []
    for with_cp in (False, True):
        backbone = built(tmp_path, with_cp=with_cp).train()
        torch.manual_seed(0)
        backbone(clip(kind)).square().sum().backward()
        gradients.append([p.grad for p in backbone.parameters() if p.grad is not None])
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize('kind', [*VIDEO, 'vit'])
def test_grad_cam_and_training_step(kind, tmp_path):
    save(kind, tmp_path)
    size = CONFIGS[kind].get('image_size', 32)
    model = Recognizer3D(
        backbone=dict(type=f'transformers.{tmp_path}'),
        cls_head=dict(type='I3DHead', in_channels=24, num_classes=3, average_clips='prob'),
    )
    model.init_weights()
    clips = [torch.randint(0, 256, (1, 3, 4, size, size)).float() / 99]
    sample = ActionDataSample().set_gt_label(0)
    saliency, _ = GradCAM(model.eval(), None).saliency(dict(inputs=clips, data_samples=[sample]))
    assert saliency.shape == (1, 4, size, size)
    assert saliency.max() == 1
    losses = model.train()(clips[0][None], [sample], mode='loss')
    losses['loss_cls'].backward()
    without = [n for n, p in model.named_parameters() if p.grad is None]
    assert without == []


def test_grad_cam_of_frames(tmp_path):
    save('dinov2', tmp_path)
    model = Recognizer2D(
        backbone=dict(type=f'transformers.{tmp_path}'),
        cls_head=dict(type='TSNHead', in_channels=24, num_classes=3),
    ).eval()
    model.init_weights()
    frames = torch.rand(5, 3, 28, 28)
    saliency, logits = GradCAM(model).saliency(
        dict(inputs=[frames], data_samples=[ActionDataSample().set_gt_label(0)])
    )
    assert saliency.shape == (1, 5, 28, 28)
    assert logits.shape == (1, 3)


@pytest.mark.parametrize('kind', [*VIDEO, 'vit', 'swin', 'convnext'])
def test_layer_decay_counts_blocks(kind, tmp_path):
    from mmaction.engine.optimizers.layer_decay import _depths, layer_of

    names = [f'backbone.{n}' for n, _ in MODELS.build(
        dict(type=f'transformers.{kind}', pretrained=False, **CONFIGS[kind])
    ).named_parameters()]  # fmt: skip
    depths = _depths(names)
    blocks = dict(swin=[1, 2], convnext=[1, 1, 2, 1]).get(kind, [3])
    assert depths == blocks
    layers = {name: layer_of(name, depths) for name in names}
    assert {n: layer for n, layer in layers.items() if layer == 0} == {
        n: 0 for n in names if '.embeddings.' in n
    }
    assert set(layers.values()) == set(range(sum(blocks) + 2)) - (
        {sum(blocks) + 1} if kind == 'videomae' and not any('norm' in n for n in names) else set()
    )


def test_compiled_backbone_gives_the_same(tmp_path):
    save('videomae', tmp_path)
    backbone = built(tmp_path)
    x = clip('videomae')
    with torch.no_grad():
        expected = backbone(x)
        backbone.compile(backend='eager', fullgraph=True)
        torch.testing.assert_close(backbone(x), expected)


def test_class_is_one_of_the_package(tmp_path):
    assert isinstance(
        MODELS.build(dict(type='transformers.vit', **CONFIGS['vit'])), TransformersBackbone
    )


@pytest.mark.slow
@pytest.mark.parametrize('kind', [*VIDEO, 'vit', 'dinov2', 'convnext', 'swin'])
def test_exported_backbone_gives_the_same_for_any_batch(kind, tmp_path):
    save(kind, tmp_path)
    backbone = built(tmp_path)
    shapes = dict(x={0: torch.export.Dim('batch', min=1, max=16)})
    program = torch.export.export(backbone, (clip(kind),), dynamic_shapes=shapes)
    x = clip(kind, batch=3)
    with torch.no_grad():
        torch.testing.assert_close(program.module()(x), backbone(x))
