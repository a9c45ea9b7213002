"""SwinTransformer3D against mmaction2 1.2: names, shapes, outputs, gradients."""

import pytest
import torch
from torchvision.models.video.swin_transformer import ShiftedWindowAttention3d

from mmaction.models.backbones.swin import WindowAttention
from tests import zoo
from tests.models.backbones.reference import cases_of, check_case, check_checkpointing


@pytest.mark.parametrize('name', zoo.names_of('swin', distinct=True))
def test_names_and_shapes_are_mmaction2s(name):
    zoo.check_names(name)


@pytest.mark.parametrize('case', cases_of('swin'))
def test_outputs_and_gradients_are_mmaction2s(case):
    check_case(case)


@pytest.mark.slow
@pytest.mark.parametrize('name', zoo.names_of('swin', probed=True))
def test_scores_are_mmaction2s(name):
    zoo.check_scores(name)


def test_checkpointing_leaves_gradients_as_they_are():
    check_checkpointing('swin/swin')


@pytest.mark.parametrize(
    ('grid', 'window', 'shift'),
    [
        ((8, 14, 14), (8, 7, 7), (4, 3, 3)),  # one window in time: shifted in space alone
        ((7, 15, 16), (4, 7, 7), (2, 3, 3)),  # padded on each axis
        ((2, 3, 3), (8, 7, 7), (4, 3, 3)),  # smaller than a window
        ((8, 8, 8), (4, 4, 4), (0, 0, 0)),
    ],
)
def test_window_attention_is_that_of_torchvision(grid, window, shift):
    torch.manual_seed(0)
    reference = ShiftedWindowAttention3d(48, list(window), list(shift), 3)
    ours = WindowAttention(48, list(window), list(shift), 3)
    ours.load_state_dict(reference.state_dict())
    x, grad = torch.randn(2, 2, *grid, 48)
    results = []
    for attention in (reference, ours):
        clip = x.clone().requires_grad_()
        y = attention(clip)
        y.backward(grad)
        with torch.no_grad():
            results.append([y, clip.grad, attention(x), *(p.grad for p in attention.parameters())])
    for found, expected in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
