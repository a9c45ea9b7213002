"""Runs with LoRA: what their checkpoints hold, and that they resume bit-equal."""

from importlib.util import find_spec

import pytest
import torch

# Not imported here, which takes seconds of every test process.
if find_spec('peft') is None:
    pytest.skip('needs the extra "hf"', allow_module_level=True)

from mmaction.engine.runner import ActionRunner
from mmaction.engine.runner.checkpoint import save_checkpoint_file
from mmaction.registry import MODELS
from tests.engine.toy import toy_config


def train(work_dir, base, **changes):
    cfg = toy_config(work_dir, **changes)
    cfg.model.backbone.lora = dict(r=2, base=str(base), dropout=0.1)
    cfg.train_cfg.max_epochs = 2
    cfg.randomness = dict(seed=3)
    cfg.default_hooks.checkpoint = dict(type='CheckpointHook', interval=1)
    ActionRunner.from_cfg(cfg).train()
    return torch.load(work_dir / 'epoch_2.pth', weights_only=True)


def test_run_with_lora_resumes_bit_equal(tmp_path):
    model = MODELS.build(toy_config(tmp_path).model)
    save_checkpoint_file(dict(state_dict=model.state_dict()), tmp_path / 'base.pth')
    whole = train(tmp_path / 'a', tmp_path / 'base.pth')
    first = tmp_path / 'a' / 'epoch_1.pth'
    resumed = train(tmp_path / 'b', tmp_path / 'base.pth', resume=True, load_from=str(first))
    weights = whole['state_dict']
    assert any('lora_A' in name for name in weights)
    assert not any(name.endswith('base_layer.weight') for name in weights)
    torch.testing.assert_close(resumed['state_dict'], weights, rtol=0, atol=0)
    before = torch.load(first, weights_only=True)['state_dict']
    assert any(not torch.equal(before[name], value) for name, value in weights.items())
    states = [checkpoint['optimizer']['state'] for checkpoint in (whole, resumed)]
    torch.testing.assert_close(*states, rtol=0, atol=0)
