from pathlib import Path

import pytest
import torch
from torch import nn

from mmaction.engine.optimizers import DefaultOptimWrapperConstructor
from mmaction.errors import ConfigError
from mmaction.models.backbones import DualFormer
from tests.engine.toy import Run, build_runner, last_checkpoint, toy_config

ARCH = dict(
    embed_dims=[8, 8],
    num_heads=[2, 2],
    depths=[2, 2],
    mlp_ratios=[2, 2],
    local_sizes=[(2, 2, 2)] * 2,
    fine_pysizes=[(1, 1, 1), (2, 1, 1)],
    coarse_pysizes=[(1, 1, 1), None],
)
CLIPS = (2, 3, 4, 8, 8)


def backbone(frozen_stages, **kwargs):
    options = dict(drop_rate=0.4, drop_path_rate=0.4, **kwargs)
    return DualFormer(ARCH, video_size=CLIPS[2:], frozen_stages=frozen_stages, **options)


def stage_of(name):
    """The stage of a parameter; the last norm comes after all."""
    return int(name.split('.')[1]) if name[:4] in ('patc', 'bloc', 'pos_') else len(ARCH['depths'])


def is_frozen(name, stages):
    return stage_of(name) < stages or (stages == 0 and name.startswith('patch_embeds.0.'))


@pytest.mark.parametrize('stages', [-1, 0, 1, 2])
@pytest.mark.parametrize('use_checkpoint', [False, True])
def test_only_unfrozen_stages_get_gradients(stages, use_checkpoint):
    model = backbone(stages, use_checkpoint=use_checkpoint).train()
    model(torch.randn(CLIPS)).square().mean().backward()
    named = dict(model.named_parameters())
    assert {name for name, p in named.items() if p.grad is None} == {
        name for name in named if is_frozen(name, stages)
    }


def test_frozen_stages_stay_in_eval_mode():
    model = backbone(1)
    outputs = []
    model.pos_block[0].register_forward_hook(lambda module, args, out: outputs.append(out))
    saved = model.state_dict()
    before = {name: x.clone() for name, x in model.named_buffers() if name in saved}
    clips = torch.randn(CLIPS)
    for mode in (True, True, False):
        model.train(mode)(clips)
    assert torch.equal(outputs[0], outputs[1])  # no chance
    assert torch.equal(outputs[0], outputs[2])
    assert len(before) == 3
    after = model.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    model.train()
    assert not any(module.training for module in model.blocks[0].modules())
    assert all(module.training for module in model.blocks[1].modules())
    assert not torch.equal(model(clips), model(clips))  # the others do drop


def test_batchnorm_statistics_update_without_frozen_stages():
    model = backbone(-1).train()
    before = model.blocks[0][1].attn.lr[1].running_mean.clone()
    model(torch.randn(CLIPS))
    assert not torch.equal(model.blocks[0][1].attn.lr[1].running_mean, before)


@pytest.mark.parametrize('stages', [-2, 3])
def test_frozen_stages_out_of_range_is_error(stages):
    with pytest.raises(ValueError, match=f'frozen_stages={stages} is not from -1 .* 2 stages'):
        backbone(stages)


def frozen_config(work_dir, **changes):
    cfg = toy_config(
        work_dir,
        **{
            'model.backbone.arch': ARCH,
            'model.backbone.frozen_stages': 1,
            'find_unused_parameters': False,
            **changes,
        },
    )
    cfg.train_cfg.max_epochs = 2
    return cfg


@pytest.mark.dist
@pytest.mark.parametrize('processes', [1, 2])
def test_frozen_weights_are_not_in_the_optimizer(tmp_path, processes):
    cfg = frozen_config(tmp_path)
    start = build_runner(frozen_config(tmp_path / 'start'))
    before = start.bare_model.state_dict()
    run = Run(cfg, processes)
    run.check()
    checkpoint = last_checkpoint(tmp_path)
    prefix = 'backbone.'
    for name, value in checkpoint['state_dict'].items():
        frozen = name.startswith(prefix) and is_frozen(name.removeprefix(prefix), 1)
        assert torch.equal(value, before[name]) == frozen, name
    groups = checkpoint['optimizer']['param_groups']
    learning = [p for p in start.bare_model.parameters() if p.requires_grad]
    assert sum(len(group['params']) for group in groups) == len(learning)
    assert len(checkpoint['optimizer']['state']) == len(learning)
    total = sum(p.numel() for p in start.bare_model.parameters()) / 1e6
    frozen = total - sum(p.numel() for p in learning) / 1e6
    assert f'{total:.2f} M parameters ({frozen:.2f} M frozen)' in run.output.read_text()


def test_parameter_rules_do_not_flood_the_console(tmp_path, capsys):
    cfg = frozen_config(tmp_path)
    cfg.optim_wrapper.paramwise_cfg = dict(norm_decay_mult=0.0)
    runner = build_runner(cfg)
    wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    learning = [p for p in runner.bare_model.parameters() if p.requires_grad]
    groups = wrapper.optimizer.param_groups
    assert {id(p) for group in groups for p in group['params']} == {id(p) for p in learning}
    assert 'requires_grad' not in capsys.readouterr().out
    assert 'requires_grad=False' in Path(runner.logger.log_file).read_text()


def test_fully_frozen_model_is_error():
    model = nn.Linear(2, 2).requires_grad_(False)
    constructor = DefaultOptimWrapperConstructor(dict(optimizer=dict(type='SGD', lr=0.1)))
    with pytest.raises(ConfigError, match='nothing is left to train'):
        constructor(model)
