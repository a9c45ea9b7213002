import numpy as np
import pytest
import torch
from torch import nn

from mmaction.engine.hooks import OutputHook


def test_outputs_are_kept_only_within_the_block():
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    clips = torch.randn(4, 2)
    with OutputHook(model, ['0', '1']) as arrays, OutputHook(model, ['1'], True) as tensors:
        expected = model(clips)
    model(clips + 1)
    assert set(arrays.layer_outputs) == {'0', '1'}
    assert isinstance(arrays.layer_outputs['1'], np.ndarray)
    np.testing.assert_array_equal(arrays.layer_outputs['1'], expected.detach().numpy())
    assert tensors.layer_outputs['1'] is expected
    assert not any(layer._forward_hooks for layer in model)


def test_unknown_layer_leaves_no_hook_behind():
    model = nn.Sequential(nn.Linear(2, 3))
    with pytest.raises(AttributeError, match='Module head not found'):
        OutputHook(model, ['0', 'head'])
    assert not model[0]._forward_hooks


def test_output_hook_keeps_inner_outputs():
    from mmaction.engine import OutputHook

    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    x = torch.randn(4, 2)
    with OutputHook(model, outputs=('0', '1')) as hook:
        y = model(x)
    np.testing.assert_array_equal(hook.layer_outputs['1'], y.detach().numpy())
    with OutputHook(model, outputs=['0'], as_tensor=True) as kept:
        model(2 * x)
    assert kept.layer_outputs['0'].requires_grad
    np.testing.assert_array_equal(hook.layer_outputs['1'], y.detach().numpy())  # no longer listens
    with pytest.raises(AttributeError, match='Module 7 not found'):
        OutputHook(model, outputs=['7'])
