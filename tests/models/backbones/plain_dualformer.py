"""DualFormer written the slow and obvious way: convolutions, explicit softmax, channels first.

It holds no parameters: it computes what a `DualFormer` should give, from that model's
state dict. Windows at the border simply hold fewer tokens, so there is no padding to mask.
Fast paths are held against it.
"""

from contextlib import ExitStack
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor

from mmaction.models.utils import attention_ops, conv3d_cpu, depthwise_cpu, linear_cpu


class PlainDualFormer:
    """Forward pass of `model` (a DualFormer) by its state dict alone."""

    def __init__(self, model):
        self.model = model
        self.state = dict(model.named_parameters()) | dict(model.named_buffers())
        self.training = model.training

    def linear(self, x, name):
        return F.linear(x, self.state[f'{name}.weight'], self.state.get(f'{name}.bias'))

    def norm(self, x, name):
        weight = self.state[f'{name}.weight']
        return F.layer_norm(x, weight.shape, weight, self.state[f'{name}.bias'])

    def conv(self, x, name, stride, padding=0, groups=1):
        weight, bias = self.state[f'{name}.weight'], self.state[f'{name}.bias']
        if tuple(weight.shape[2:]) == stride:  # cells: the last ones may be cut by the border
            t, h, w = (-n % k for n, k in zip(x.shape[2:], stride, strict=True))
            x = F.pad(x, (0, w, 0, h, 0, t))
        return F.conv3d(x, weight, bias, stride, padding, groups=groups)

    def pool(self, x, name):
        kernel = tuple(self.state[f'{name}.weight'].shape[2:])
        return self.conv(x, name, kernel, groups=x.shape[1])

    @staticmethod
    def attention(q, k, v, heads):
        """q (B, L, C), k and v (B, M, C) -> (B, L, C)."""
        B, L, C = q.shape
        d = C // heads
        q, k, v = (t.reshape(B, -1, heads, d).transpose(1, 2) for t in (q, k, v))
        weights = (q @ k.transpose(-1, -2) * d**-0.5).softmax(-1)
        return (weights @ v).transpose(1, 2).reshape(B, L, C)

    def local(self, x: Tensor, name: str, heads: int, window) -> Tensor:
        """x (B, C, T, H, W), one window after the other."""
        t, h, w = (min(a, b) for a, b in zip(window, x.shape[2:], strict=True))
        out = torch.zeros_like(x)
        for i in range(0, x.shape[2], t):
            for j in range(0, x.shape[3], h):
                for k in range(0, x.shape[4], w):
                    cut = (..., slice(i, i + t), slice(j, j + h), slice(k, k + w))
                    tokens = x[cut].flatten(2).transpose(1, 2)
                    q, key, v = self.linear(tokens, f'{name}.qkv').chunk(3, -1)
                    y = self.linear(self.attention(q, key, v, heads), f'{name}.proj')
                    out[cut] = y.transpose(1, 2).reshape(x[cut].shape)
        return out

    def pyramid(self, x: Tensor, name: str) -> Tensor:
        """x (B, C, T, H, W) -> keys and values (B, M, C)."""
        if f'{name}.sr.weight' not in self.state:
            return x.flatten(2).transpose(1, 2)
        levels = [self.pool(x, f'{name}.sr').flatten(2)]
        if f'{name}.lr.0.weight' in self.state:
            y = self.pool(x, f'{name}.lr.0')
            bn = f'{name}.lr.1'
            mean, var = self.state[f'{bn}.running_mean'], self.state[f'{bn}.running_var']
            if self.training:
                mean, var = y.mean((0, 2, 3, 4)), y.var((0, 2, 3, 4), unbiased=False)
            shape = (1, -1, 1, 1, 1)
            y = (y - mean.view(shape)) / (var.view(shape) + 1e-5).sqrt()
            y = y * self.state[f'{bn}.weight'].view(shape) + self.state[f'{bn}.bias'].view(shape)
            levels.append(self.pool(y.relu(), f'{name}.lr.3').flatten(2))
        return self.norm(torch.cat(levels, 2).transpose(1, 2), f'{name}.norm')

    def attend(self, x: Tensor, name: str, block) -> Tensor:
        """The attention of one block on x (B, C, T, H, W)."""
        heads = block.attn.num_heads
        if hasattr(block.attn, 'window'):
            return self.local(x, name, heads, block.attn.window)
        q = self.linear(x.flatten(2).transpose(1, 2), f'{name}.q')
        k, v = self.linear(self.pyramid(x, name), f'{name}.kv').chunk(2, -1)
        y = self.linear(self.attention(q, k, v, heads), f'{name}.proj')
        return y.transpose(1, 2).reshape(x.shape)

    def channel_norm(self, x, name):
        return self.norm(x.movedim(1, -1), name).movedim(-1, 1)

    def __call__(self, x: Tensor) -> Tensor:
        """Clips (B, C, T, H, W) -> last map."""
        for i, blocks in enumerate(self.model.blocks):
            name = f'patch_embeds.{i}'
            kernel = tuple(self.state[f'{name}.proj.weight'].shape[2:])
            x = self.channel_norm(self.conv(x, f'{name}.proj', kernel), f'{name}.norm')
            for j, block in enumerate(blocks):
                name = f'blocks.{i}.{j}'
                x = x + self.attend(self.channel_norm(x, f'{name}.norm1'), f'{name}.attn', block)
                y = self.channel_norm(x, f'{name}.norm2').movedim(1, -1)
                y = self.linear(F.gelu(self.linear(y, f'{name}.mlp.fc1')), f'{name}.mlp.fc2')
                x = x + y.movedim(-1, 1)
                if j == 0:
                    x = x + self.conv(x, f'pos_block.{i}.proj.0', 1, 1, groups=x.shape[1])
        return self.channel_norm(x, 'norm')


class PyTorchAttention:
    """Forward pass of `model` on a CPU with PyTorch's attention, not that of `attention_cpu`."""

    replaced = ((attention_ops, 'takes', lambda *_: False),)

    def __init__(self, model):
        self.model = model
        self.training = model.training

    def __call__(self, clips):
        with ExitStack() as stack:
            for place in self.replaced:
                stack.enter_context(mock.patch.object(*place))
            return self.model(clips)


class PyTorchLinear(PyTorchAttention):
    """Likewise with PyTorch's products, not those of `linear_cpu`."""

    replaced = ((linear_cpu, 'GAINS', False),)


def _conv3d(x, weight, bias, padding, stride):
    return F.conv3d(x, weight, bias, stride, padding, groups=x.shape[1])


class PyTorchDepthwise(PyTorchAttention):
    """Likewise with PyTorch's depthwise convolutions, not those of `depthwise_cpu`."""

    replaced = ((depthwise_cpu._DepthwiseConv3d, 'apply', _conv3d),)


class PyTorchConvolutions(PyTorchAttention):
    """Likewise with PyTorch's 3-D convolutions, not those of `conv3d_cpu`."""

    replaced = ((conv3d_cpu, '_takes', lambda *_: False),)


class PyTorchKernels(PyTorchAttention):
    """Likewise with all four."""

    replaced = (
        *PyTorchAttention.replaced,
        *PyTorchLinear.replaced,
        *PyTorchDepthwise.replaced,
        *PyTorchConvolutions.replaced,
    )
