"""Windows, cells and convolutions as products, against plain PyTorch."""

import pytest
import torch
from torch import nn

from mmaction.models.backbones.dualformer_layout import DepthwisePool, _pool_copied, _pool_in_place
from tests.models.backbones.plain_dualformer import PlainDualFormer

WINDOWS = [
    ((5, 7, 9), (2, 3, 4)), ((1, 1, 1), (8, 7, 7)), ((3, 9, 2), (2, 2, 2)), ((4, 7, 8), (8, 7, 7)),
    ((2, 5, 11), (2, 5, 3)), ((9, 1, 6), (4, 2, 5)), ((4, 6, 8), (2, 3, 4)), ((3, 9, 3), (8, 4, 4)),
]  # fmt: skip


@pytest.mark.parametrize(('grid', 'window'), WINDOWS)
def test_windows_at_the_border_match_reference(model, grid, window, device):
    """Forward and gradients: a window that the grid cuts has fewer tokens."""
    block = model.to(device).blocks[0][0].train()
    block.attn.window = window
    tokens = torch.randn(2, *grid, 16, device=device, requires_grad=True)
    weights = torch.randn(2, *grid, 16, device=device)
    first = tokens.movedim(-1, 1)
    parameters = list(block.attn.parameters())
    ours = block.attn(tokens)
    theirs = PlainDualFormer(model).local(first, 'blocks.0.0.attn', 2, window).movedim(1, -1)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    wanted = torch.autograd.grad((theirs * weights).sum(), [tokens, *parameters])
    found = torch.autograd.grad((ours * weights).sum(), [tokens, *parameters])
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4 * max(1, b.abs().max().item()))


@pytest.mark.parametrize('kernel', [(2, 3, 4), (1, 4, 4), (2, 2, 1)])
def test_pooling_from_a_view_equals_pooling_a_copy(kernel, device):
    x = torch.randn(2, 5, 6, 7, 6, device=device)
    weight = torch.randn(6, 1, *kernel, device=device)
    torch.testing.assert_close(_pool_in_place(x, weight), _pool_copied(x, weight))


def test_pooling_equals_convolution(device):
    pool = DepthwisePool(6, (2, 3, 4))
    x = torch.randn(2, 4, 6, 8, 6)
    expected = nn.Conv3d.forward(pool, x.permute(0, 4, 1, 2, 3)).permute(0, 2, 3, 4, 1)
    assert torch.allclose(pool(x), expected, atol=1e-5)
