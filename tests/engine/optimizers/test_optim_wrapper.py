import math

import pytest
import torch
from torch import nn

from mmaction.engine.optimizers.optim_wrapper import OptimWrapper
from tests.engine.host_reads import host_reads


def linear(value=0.5):
    model = nn.Linear(4, 1, bias=False)
    nn.init.constant_(model.weight, value)
    return model


def wrap(model, kind=OptimWrapper, lr=0.1, **kwargs):
    wrapper = kind(optimizer=torch.optim.SGD(model.parameters(), lr=lr), **kwargs)
    wrapper.initialize_count_status(model, 0, 1000)
    return wrapper


def test_gradient_accumulation_equals_larger_batch():
    clips = torch.randn(12, 4)
    whole, parts = linear(), linear()
    whole_wrapper, parts_wrapper = wrap(whole), wrap(parts, accumulative_counts=3)
    for _ in range(3):
        whole_wrapper.update_params(whole(clips).square().mean())
        for part in clips.chunk(3):
            parts_wrapper.update_params(parts(part).square().mean())
        # Equal but for the order in which the same numbers are added.
        torch.testing.assert_close(whole.weight, parts.weight, rtol=1e-6, atol=1e-7)


def test_last_accumulation_window_is_averaged_by_its_length():
    clips = torch.randn(2, 4)
    whole, parts = linear(), linear()
    wrap(whole).update_params(whole(clips).square().mean())
    wrapper = wrap(parts, accumulative_counts=4)
    wrapper.initialize_count_status(parts, 0, 2)
    for clip in clips.chunk(2):
        wrapper.update_params(parts(clip).square().mean())
    torch.testing.assert_close(whole.weight, parts.weight)


@pytest.mark.parametrize('bad', [math.nan, math.inf])
def test_nonfinite_loss_skips_update(bad):
    model = linear()
    wrapper = wrap(model, accumulative_counts=2)
    before = model.weight.clone()
    for factor in (1.0, bad):
        wrapper.update_params(model(torch.ones(1, 4)).sum() * factor)
    assert torch.equal(model.weight, before)
    assert (wrapper.skipped, wrapper.skipped_in_a_row) == (1, 1)
    for factor in (1.0, 1.0):
        wrapper.update_params(model(torch.ones(1, 4)).sum() * factor)
    assert not torch.equal(model.weight, before)
    assert bool(torch.isfinite(model.weight).all())
    assert (wrapper.skipped, wrapper.skipped_in_a_row) == (1, 0)


def test_nonfinite_gradients_skip_update_with_clipping():
    model = linear()
    wrapper = wrap(model, clip_grad=dict(max_norm=1.0))
    loss = (model.weight.sum() - 2.0).abs().sqrt()  # 0, but its slope is infinite
    assert loss == 0
    wrapper.update_params(loss)
    assert torch.equal(model.weight, linear().weight)
    assert wrapper.skipped == 1


def test_gradients_are_clipped():
    model = linear(0.0)
    wrap(model, clip_grad=dict(max_norm=1.0)).update_params(model(torch.ones(1, 4) * 100).sum())
    assert float((model.weight.detach() / 0.1).norm()) == pytest.approx(1.0, rel=1e-4)


def test_clip_grad_config_is_not_modified():
    clip_grad = dict(type='value', clip_value=0.1)
    wrap(linear(), clip_grad=clip_grad)
    assert clip_grad == dict(type='value', clip_value=0.1)


def test_counts_stay_on_the_device_until_they_are_asked_for():
    model = linear()
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    wrapper = OptimWrapper(optimizer, clip_grad=dict(max_norm=1.0))
    wrapper.initialize_count_status(model, 0, 1000)
    with host_reads() as places:
        for factor in (1.0, math.nan, math.inf, 1.0, math.nan):
            wrapper.update_params(model(torch.ones(1, 4)).sum() * factor)
    assert places == []
    assert (wrapper.skipped, wrapper.skipped_in_a_row) == (3, 1)
    other = OptimWrapper(torch.optim.AdamW(model.parameters(), fused=True))
    other.load_state_dict(wrapper.state_dict())
    assert (other.skipped, other.skipped_in_a_row) == (3, 1)


def test_half_window_is_remembered_as_bad():
    model = linear()
    wrapper, other = wrap(model, accumulative_counts=2), wrap(model, accumulative_counts=2)
    wrapper.update_params(model(torch.ones(1, 4)).sum() * math.nan)
    state = wrapper.state_dict()
    assert state['skip_counts'] == (0, 0, False)
    other.load_state_dict(state)
    other.initialize_count_status(model, 1, 1000)
    before = model.weight.detach().clone()
    model.weight.grad = None
    other.update_params(model(torch.ones(1, 4)).sum())
    assert torch.equal(model.weight, before)
    assert other.skipped == 1
