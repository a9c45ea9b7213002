import math

import pytest
import torch
from mmengine.config import Config

from mmaction.engine.optimizers import amp
from mmaction.engine.optimizers.amp import (
    AmpOptimWrapper,
    ApexOptimWrapper,
    precision_of,
    set_precision,
)
from mmaction.errors import ConfigError
from tests.engine.optimizers.test_optim_wrapper import linear, wrap


def test_bf16_on_a_cpu():
    model, reference = linear(), linear()
    wrapper = wrap(model, AmpOptimWrapper, dtype='bfloat16')
    seen = []
    model.register_forward_hook(lambda module, args, out: seen.append(out.dtype))
    clips = torch.randn(8, 4)
    with wrapper.optim_context(model):
        loss = model(clips).float().square().mean()
    wrapper.update_params(loss)
    wrap(reference).update_params(reference(clips).square().mean())
    assert seen == [torch.bfloat16]
    # bf16 has the range of fp32: nothing overflows, so nothing is scaled.
    assert not wrapper.loss_scaler.is_enabled()
    assert wrapper.state_dict()['loss_scaler'] == {}
    assert model.weight.dtype is torch.float32
    torch.testing.assert_close(model.weight, reference.weight, rtol=0.02, atol=0.02)


def test_fp16_scales_loss_and_skips_overflow():
    model = linear()
    wrapper = wrap(model, AmpOptimWrapper, dtype='float16', loss_scale=dict(init_scale=2.0**15))
    before = model.weight.clone()
    # The gradient is finite, but 2^15 times it is not in fp16.
    half = model.weight.half()
    wrapper.update_params((half * 100).sum())
    assert torch.equal(model.weight, before)
    assert wrapper.loss_scaler.get_scale() == 2.0**14
    assert (wrapper.skipped, wrapper.skipped_in_a_row) == (1, 1)
    wrapper.update_params(model(torch.ones(1, 4)).sum() * 0.01)
    torch.testing.assert_close(model.weight, before - 0.001)
    assert wrapper.skipped_in_a_row == 0


def test_fp16_with_a_fixed_scale_keeps_it():
    model = linear()
    wrapper = wrap(model, AmpOptimWrapper, dtype='float16', loss_scale=512.0)
    wrapper.update_params(model(torch.ones(1, 4)).sum() * math.inf)
    assert wrapper.loss_scaler.get_scale() == 512.0
    assert wrapper.skipped == 1


def test_fp16_clips_unscaled_gradients():
    model = linear(0.0)
    wrapper = wrap(model, AmpOptimWrapper, dtype='float16', clip_grad=dict(max_norm=1.0))
    wrapper.update_params(model(torch.ones(1, 4)).sum())
    assert float((model.weight.detach() / 0.1).norm()) == pytest.approx(1.0, rel=1e-4)


def test_scaler_state_is_in_the_checkpoint():
    model = linear()
    wrapper = wrap(model, AmpOptimWrapper, dtype='float16')
    wrapper.update_params(model(torch.ones(1, 4)).sum() * math.inf)
    state = wrapper.state_dict()
    other = wrap(linear(), AmpOptimWrapper, dtype='float16')
    other.load_state_dict(state)
    assert other.skipped == 1
    assert other.loss_scaler.get_scale() == wrapper.loss_scaler.get_scale() == 2.0**15
    # A run may go on in another precision.
    wrap(linear()).load_state_dict(state)
    wrap(linear(), AmpOptimWrapper, dtype='float16').load_state_dict(wrap(linear()).state_dict())


def test_invalid_precision_is_error():
    with pytest.raises(ConfigError, match='dtype'):
        wrap(linear(), AmpOptimWrapper, dtype='float8')
    with pytest.raises(ConfigError, match='loss_scale'):
        wrap(linear(), AmpOptimWrapper, dtype='float16', loss_scale='static')


@pytest.mark.parametrize(
    ('precision', 'expected', 'words'),
    [
        ('bf16', dict(type='AmpOptimWrapper', dtype='bfloat16'), 'bf16'),
        ('fp16', dict(type='AmpOptimWrapper', dtype='float16'), 'fp16 with loss scaling'),
        ('off', dict(type='OptimWrapper'), 'fp32'),
    ],
)
def test_set_precision(precision, expected, words):
    cfg = Config(
        dict(optim_wrapper=dict(type='AmpOptimWrapper', dtype='float16', loss_scale=2, lr=1))
    )
    set_precision(cfg, precision)
    assert dict(cfg.optim_wrapper) == dict(lr=1, **expected)
    assert precision_of(cfg.optim_wrapper) == words


@pytest.mark.parametrize('fastest', ['off', 'bf16'])
def test_the_faster_precision_is_taken(monkeypatch, capsys, fastest):
    times = {'off': 0.002, 'bf16': 0.002}
    times[fastest] = 0.001
    monkeypatch.setattr(amp, 'measure_precisions', lambda: times)
    cfg = Config(dict(optim_wrapper=dict(type='AmpOptimWrapper', dtype='float16')))
    set_precision(cfg, 'auto')
    name = {'off': 'fp32', 'bf16': 'bf16'}[fastest]
    assert precision_of(cfg.optim_wrapper) == name
    assert f'--amp: {name} is the fastest here (fp32' in capsys.readouterr().out


def test_both_precisions_are_measured_and_no_random_number_is_drawn():
    state = torch.get_rng_state()
    seconds = amp.measure_precisions(repeats=1, tokens=8)
    assert set(seconds) == {'off', 'bf16'}
    assert all(value > 0 for value in seconds.values())
    assert torch.equal(torch.get_rng_state(), state)


def test_unknown_precision():
    with pytest.raises(ConfigError, match='--amp takes bf16, fp16, off, apex, not "fp8"'):
        set_precision(Config(dict(optim_wrapper=dict())), 'fp8')


def test_missing_apex_names_alternative():
    with pytest.raises(ConfigError, match=r'apex\.amp.*--amp fp16'):
        ApexOptimWrapper(optimizer=None)
    with pytest.raises(ConfigError, match=r'apex\.amp'):
        set_precision(Config(dict(optim_wrapper=dict())), 'apex')
