"""LoRA on backbones with linear layers: what trains, what is saved, merging and resuming."""

import copy

import pytest
import torch

pytest.importorskip('peft')

from mmaction.engine.runner.checkpoint import load_weights, save_checkpoint_file
from mmaction.errors import CheckpointError, ConfigError
from mmaction.models.lora import has_lora, merge_lora
from mmaction.registry import MODELS
from mmaction.structures import ActionDataSample
from tests.apis.conftest import tiny_config


@pytest.fixture
def base(tmp_path):
    """A checkpoint of the whole recognizer."""
    torch.manual_seed(5)
    model = MODELS.build(tiny_config().model)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
    save_checkpoint_file(dict(state_dict=model.state_dict()), tmp_path / 'base.pth')
    return tmp_path / 'base.pth'


def built(base, **options):
    cfg = tiny_config().model
    cfg.backbone.lora = dict(r=4, base=str(base), **options)
    model = MODELS.build(cfg)
    model.init_weights()
    return model


def train(model, steps=3):
    torch.manual_seed(1)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.01)
    clips = torch.randn(2, 1, 3, 4, 32, 32)
    samples = [ActionDataSample().set_gt_label(i) for i in range(2)]
    model.train()
    for _ in range(steps):
        optimizer.zero_grad()
        model(clips, samples, mode='loss')['loss_cls'].backward()
        optimizer.step()
    return model.eval()


def test_updates_of_multihead_attention_take_part(tmp_path):
    backbone = dict(
        type='TimeSformer',
        num_frames=4,
        img_size=32,
        patch_size=16,
        embed_dims=16,
        num_heads=2,
        num_transformer_layers=1,
    )
    plain = MODELS.build(dict(type='Recognizer3D', backbone=backbone))
    save_checkpoint_file(dict(state_dict=plain.state_dict()), tmp_path / 'base.pth')
    lora = dict(r=2, targets=['out_proj'], base=str(tmp_path / 'base.pth'))
    model = MODELS.build(dict(type='Recognizer3D', backbone=dict(backbone, lora=lora)))
    model.backbone(torch.randn(1, 3, 4, 32, 32)).square().sum().backward()
    updates = {n: p for n, p in model.named_parameters() if 'out_proj.lora_B' in n}
    assert len(updates) == 2  # of time and of space
    # That of time goes into a layer of zeros at first.
    assert all(p.grad is not None for p in updates.values())
    assert any(p.grad.any() for p in updates.values())


def test_only_the_updates_and_the_head_train_and_are_saved(base):
    model = built(base)
    before = {name: value.clone() for name, value in model.named_parameters()}
    train(model)
    changed = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    assert changed == {n for n in before if 'lora_' in n or n.startswith('cls_head.')}
    assert sum('lora_A' in name for name in changed) >= 8
    saved = set(model.state_dict())
    assert {n for n in saved if n in before} == changed
    frozen = sum(v.numel() for n, v in before.items() if n not in changed)
    assert sum(v.numel() for v in model.state_dict().values()) < frozen / 2


def test_untrained_updates_leave_the_base_as_it_is(base):
    model = built(base).eval()
    plain = MODELS.build(tiny_config().model).eval()
    load_weights(plain, torch.load(base), base, strict=True)
    clips = torch.randn(1, 3, 4, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(model.backbone(clips), plain.backbone(clips))


def test_saved_updates_load_on_the_same_base_only(base, tmp_path):
    model = train(built(base))
    again = built(base).eval()
    load_weights(again, dict(state_dict=model.state_dict()), 'x.pth', strict=True)
    clips = torch.randn(1, 1, 3, 4, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(again(clips, stage='head'), model(clips, stage='head'))
    other = torch.load(base)
    name = next(n for n in other['state_dict'] if n.endswith('attn.proj.weight'))
    other['state_dict'][name] += 1e-3
    torch.save(other, tmp_path / 'other.pth')
    with pytest.raises(CheckpointError, match='trained on other weights'):
        load_weights(
            built(tmp_path / 'other.pth'), dict(state_dict=model.state_dict()), 'x', strict=True
        )


def test_merged_model_has_plain_names_and_gives_the_same(base):
    model = train(built(base))
    merged = copy.deepcopy(model)
    assert merge_lora(merged)
    assert not has_lora(merged)
    assert not merge_lora(merged)
    assert set(merged.state_dict()) == set(MODELS.build(tiny_config().model).state_dict())
    clips = torch.randn(1, 1, 3, 4, 32, 32)
    with torch.no_grad():
        expected = model(clips, stage='head')
        torch.testing.assert_close(merged(clips, stage='head'), expected, rtol=1e-4, atol=1e-5)
    assert has_lora(model)
    # Without LoRA it is a recognizer as any other, which trains as a whole.
    assert all(weight.requires_grad for weight in merged.parameters())


def test_scale_and_dropout_of_the_updates(base):
    from peft.tuners.lora import LoraLayer

    for given, scale, rate in ((dict(), 2.0, 0.0), (dict(alpha=2, dropout=0.25), 0.5, 0.25)):
        layers = [m for m in built(base, **given).modules() if isinstance(m, LoraLayer)]
        assert layers
        for layer in layers:
            assert layer.scaling['default'] == scale
            assert getattr(layer.lora_dropout['default'], 'p', 0.0) == rate


def test_targets_choose_layers(base):
    names = {n for n, _ in built(base, targets=['proj']).named_parameters() if 'lora_A' in n}
    assert names
    assert all('attn.proj.lora_A' in name for name in names)
    regex = {n for n, _ in built(base, targets=r'.*attn\.proj').named_parameters()}
    assert {n for n in regex if 'lora_A' in n} == names
    with pytest.raises(
        ConfigError, match=r'lora\.targets: no linear layer is called .projj.; did you mean "proj"'
    ):
        built(base, targets=['projj'])


def test_weights_that_nothing_determines_are_refused(base, tmp_path):
    cfg = tiny_config().model
    cfg.backbone.lora = dict(r=4)
    with pytest.raises(ConfigError, match=r'set lora\.base'):
        MODELS.build(cfg)
    state = torch.load(base)['state_dict']
    partly = {n: v for n, v in state.items() if 'attn.proj' not in n}
    torch.save(dict(state_dict=partly), tmp_path / 'part.pth')
    with pytest.raises(CheckpointError, match=r'lora\.base: .*part\.pth does not fit.*attn\.proj'):
        built(tmp_path / 'part.pth')


def test_pretrained_that_leaves_weights_random_is_refused(tmp_path):
    timm = pytest.importorskip('timm')
    net = timm.create_model('vit_tiny_patch16_224', img_size=32)
    torch.save(net.state_dict(), tmp_path / 'vit.pth')
    cfg = dict(
        type='Recognizer2D',
        backbone=dict(
            type='timm.vit_tiny_patch16_224',
            img_size=32,
            pretrained=str(tmp_path / 'vit.pth'),
            lora=dict(r=2, targets=['qkv']),
        ),
        cls_head=dict(type='TSNHead', num_classes=3, in_channels=192),
    )
    model = MODELS.build(cfg)
    with torch.no_grad():
        found = model.eval().backbone(torch.ones(1, 3, 32, 32)).flatten()
        net.reset_classifier(0)
        torch.testing.assert_close(found, net.eval()(torch.ones(1, 3, 32, 32))[0])
    partial = dict(cfg, backbone=dict(type='MViT', arch='tiny', pretrained='x', lora=dict(r=2)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('mmaction.models.MViT.init_weights', lambda self: self.apply(_draw))
        with pytest.raises(ConfigError, match='leaves some weights of the backbone random'):
            MODELS.build(partial)


def _draw(module):
    if isinstance(module, torch.nn.Linear):
        torch.nn.init.normal_(module.weight)
