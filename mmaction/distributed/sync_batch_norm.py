"""BatchNorm over the batch of all processes, on GPUs and on CPUs."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmaction.errors import ConfigError

__all__ = ['CpuSyncBatchNorm', 'synchronize_batch_norm']


class _SumOverProcesses(torch.autograd.Function):
    """The sum of a tensor over all processes, whose gradient is the sum of theirs."""

    @staticmethod
    def forward(_ctx: object, value: torch.Tensor) -> torch.Tensor:
        """Sum."""
        total = value.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(_ctx: object, gradient: torch.Tensor) -> torch.Tensor:
        """Sum of what each process asks for."""
        total = gradient.clone()
        dist.all_reduce(total)
        return total


class CpuSyncBatchNorm(_BatchNorm):
    """BatchNorm whose training statistics are those of all processes together.

    PyTorch's `SyncBatchNorm` runs on GPUs only. Takes its arguments, and has
    the names of `BatchNorm` in the state dict.
    """

    def _check_input_dim(self, input: torch.Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f'expected (N, C, ...), got {tuple(input.shape)}')

    # torch.compile has no graph for processes that wait for each other.
    @torch.compiler.disable
    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """(N, C, ...) -> the same, normalized per channel."""
        if not self.training or dist.get_world_size() == 1:
            return super().forward(input)
        axes = [axis for axis in range(input.dim()) if axis != 1]
        shape = [1, -1] + [1] * (input.dim() - 2)
        x = input.float()
        sums = _SumOverProcesses.apply(
            torch.cat([x.sum(axes), x.new_full((1,), x.numel() / x.shape[1])])
        )
        number = float(sums[-1].detach())
        mean = sums[:-1] / number
        # A second pass keeps the digits that E[x^2] - E[x]^2 would lose.
        centered = x - mean.view(shape)
        variance = _SumOverProcesses.apply(centered.square().sum(axes)) / number
        self._update_statistics(mean.detach(), variance.detach(), number)
        x = centered * torch.rsqrt(variance + self.eps).view(shape)
        if self.affine:
            x = x * self.weight.view(shape) + self.bias.view(shape)
        y: torch.Tensor = x.to(input.dtype)
        return y

    def _update_statistics(self, mean: torch.Tensor, variance: torch.Tensor, n: float) -> None:
        if not self.track_running_stats or self.running_mean is None:
            return
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        rate = self.momentum
        if rate is None:
            rate = 1.0 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), rate)
        self.running_var.lerp_((variance * n / max(n - 1, 1)).to(self.running_var.dtype), rate)


def synchronize_batch_norm(model: nn.Module, kind: str | bool | None, device: str) -> nn.Module:
    """Replace every BatchNorm layer by one over all processes.

    Args:
        model: The model, on its device.
        kind: The config's `sync_bn`: 'torch' or True; None or False leaves
            each process its own statistics (they then drift apart).
        device: 'cpu' or a GPU.

    Raises:
        ConfigError: `sync_bn` is something else.
    """
    if not kind:
        return model
    if kind not in (True, 'torch'):
        raise ConfigError(f"sync_bn is 'torch' or False, not {kind!r}")
    if device != 'cpu':
        synced: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        return synced
    return _replace(model)


def _replace(module: nn.Module) -> nn.Module:
    # PyTorch's own is none of the first three, and asks for a GPU.
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
    if isinstance(module, kinds):
        new = CpuSyncBatchNorm(
            module.num_features,
            module.eps,
            module.momentum,
            module.affine,
            module.track_running_stats,
        )
        new.load_state_dict(module.state_dict())
        new.train(module.training)
        for name, parameter in new.named_parameters():
            parameter.requires_grad_(getattr(module, name).requires_grad)
        return new
    for name, child in module.named_children():
        setattr(module, name, _replace(child))
    return module
