"""Optimizer wrappers for each precision, and the switch between them.

They take the names of mmengine's wrappers in the registry of mmaction.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import is_main_process
from mmengine.optim import OptimWrapper as _OptimWrapper
from torch import nn

from mmaction.distributed.collectives import broadcast_object
from mmaction.errors import ConfigError
from mmaction.registry import OPTIM_WRAPPERS

from .optim_wrapper import OptimWrapper

__all__ = [
    'AmpOptimWrapper',
    'ApexOptimWrapper',
    'measure_precisions',
    'precision_of',
    'set_precision',
    'set_test_precision',
    'without_fp16_on_cpu',
]

PRECISIONS = ('auto', 'bf16', 'fp16', 'off', 'apex')


@OPTIM_WRAPPERS.register_module()
class AmpOptimWrapper(OptimWrapper):
    """Mixed precision by PyTorch's autocast, on GPUs and on CPUs.

    Args:
        dtype: 'bfloat16' or 'float16'; by default bfloat16 where the device
            computes it.
        loss_scale: 'dynamic', a number, or arguments of `torch.amp.GradScaler`.
            Only float16 is scaled.
        optimizer: The optimizer.
        kwargs: `accumulative_counts`, `clip_grad`.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        dtype: str | torch.dtype | None = None,
        loss_scale: str | float | dict[str, Any] = 'dynamic',
        **kwargs: Any,
    ) -> None:
        super().__init__(optimizer, **kwargs)
        if dtype is None:
            dtype = 'bfloat16' if precision_default() == 'bf16' else 'float16'
        names = {'bfloat16': torch.bfloat16, 'float16': torch.float16}
        self.dtype = names.get(str(dtype).removeprefix('torch.'))
        if self.dtype is None:
            raise ConfigError(f"optim_wrapper.dtype is 'bfloat16' or 'float16', not {dtype!r}")
        self.device_type = get_device()
        self.loss_scaler = _scaler(self.device_type, loss_scale, self.dtype)
        self._scales = self.loss_scaler.is_enabled()
        self.fixed_scale = float(loss_scale) if isinstance(loss_scale, (int, float)) else None

    def backward(self, loss: torch.Tensor, **kwargs: Any) -> None:
        """Add the gradients of the scaled loss."""
        self.loss_scaler.scale(loss).backward(**kwargs)
        self._inner_count += 1

    def step(self, **kwargs: Any) -> None:
        """Update the parameters, unless a gradient has overflown."""
        if not self._scales:
            super().step(**kwargs)
            return
        # Gradients of a loss that is not finite are not finite either, in every process: the
        # parameters stay and the scale goes down. Why not the scaler's own step? It reads on the
        # host whether a gradient has overflown.
        self.loss_scaler.unscale_(self.optimizer)
        self._clip_grad()
        flags = self.loss_scaler._found_inf_per_device(self.optimizer).values()
        self._step_unless(torch.stack(list(flags)).amax(), **kwargs)
        self.loss_scaler.update(self.fixed_scale)

    def step_facts(self) -> dict[str, Any]:
        """The counts of skipped updates, and the loss scale where there is one."""
        scale = self.loss_scaler._get_scale_async() if self._scales else None
        return {**super().step_facts(), **({} if scale is None else {'loss_scale': scale})}

    def state_dict(self) -> dict[str, Any]:
        """The state of optimizer and loss scaler."""
        return {**super().state_dict(), 'loss_scaler': self.loss_scaler.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what `state_dict` gave; a run in another precision has no scaler state."""
        scaler = state_dict.get('loss_scaler')
        if scaler and self._scales:
            self.loss_scaler.load_state_dict(scaler)
        super().load_state_dict(state_dict)

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Autocast around the forward pass."""
        with super().optim_context(model), torch.autocast(self.device_type, self.dtype):
            yield


def _scaler(
    device: str, loss_scale: str | float | dict[str, Any], dtype: torch.dtype
) -> torch.amp.GradScaler:
    if dtype is torch.bfloat16:
        return torch.amp.GradScaler(device, enabled=False)
    if loss_scale == 'dynamic':
        return torch.amp.GradScaler(device)
    if isinstance(loss_scale, dict):
        return torch.amp.GradScaler(device, **loss_scale)
    if isinstance(loss_scale, (int, float)):
        return torch.amp.GradScaler(device, init_scale=float(loss_scale))
    raise ConfigError(f"optim_wrapper.loss_scale is 'dynamic', a number or a dict: {loss_scale!r}")


def apex_amp() -> Any:
    """The module `apex.amp`.

    Raises:
        ConfigError: It cannot be imported.
    """
    try:
        amp = import_module('apex.amp')
    except ImportError as error:
        raise ConfigError(
            'ApexOptimWrapper needs apex.amp, which cannot be imported here (NVIDIA removed it '
            'from apex in May 2025). PyTorch has the same built in: --amp fp16 (dynamic loss '
            'scale, as apex O1) or --amp bf16'
        ) from error
    return amp


@OPTIM_WRAPPERS.register_module(name='ApexOptimWrapper')
def ApexOptimWrapper(**kwargs: Any) -> _OptimWrapper:
    """mmengine's wrapper around apex.amp, where apex still has it.

    Raises:
        ConfigError: apex.amp cannot be imported.
    """
    apex_amp()
    from mmengine.optim import ApexOptimWrapper as Wrapper

    return Wrapper(**kwargs)


def precision_of(wrapper: object) -> str:
    """The precision that a wrapper, or its config, computes in, in a few words."""
    if isinstance(wrapper, dict):
        kind, dtype = wrapper.get('type', 'OptimWrapper'), wrapper.get('dtype')
    else:
        kind, dtype = type(wrapper).__name__, getattr(wrapper, 'dtype', None)
    if kind == 'AmpOptimWrapper':
        half = str(dtype).removeprefix('torch.') == 'float16'
        return 'fp16 with loss scaling' if half else 'bf16'
    return 'apex fp16' if kind == 'ApexOptimWrapper' else 'fp32'


def precision_default() -> str:
    """'bf16' where the device computes it, else 'fp16'."""
    # GPUs before A100 only emulate bf16, many times slower than they compute fp16.
    if torch.cuda.is_available() and not torch.cuda.is_bf16_supported(including_emulation=False):
        return 'fp16'
    return 'bf16'


def without_fp16_on_cpu(wrapper: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """The config of a wrapper, in fp32 where it asks for fp16 on a CPU, and whether it did.

    CPUs have no fast fp16: a step takes some hundred times as long as in fp32.
    """
    half = str(wrapper.get('dtype')).removeprefix('torch.') == 'float16'
    if not half or wrapper.get('type') != 'AmpOptimWrapper' or get_device() != 'cpu':
        return wrapper, False
    kept = {key: value for key, value in wrapper.items() if key not in ('dtype', 'loss_scale')}
    return {**kept, 'type': 'OptimWrapper'}, True


def measure_precisions(repeats: int = 3, tokens: int = 1024) -> dict[str, float]:
    """Seconds that a transformer's MLP takes forwards and backwards on the CPU in each precision.

    Args:
        repeats: Runs of each, of which the fastest counts, after one to warm up.
        tokens: Tokens in the batch, of 384 channels.

    Returns:
        Seconds for 'off' (fp32) and for 'bf16'.
    """
    from mmaction.models.utils.linear_cpu import use_fast_linear

    device = get_device()
    with torch.random.fork_rng(devices=[]):
        layers = nn.Sequential(nn.Linear(384, 1536), nn.GELU(), nn.Linear(1536, 384)).to(device)
        batch = torch.randn(tokens, 384).to(device)
    use_fast_linear(layers)
    seconds = {}
    for name in ('off', 'bf16'):
        times = []
        for _ in range(repeats + 1):
            start = time.perf_counter()
            with torch.autocast(device, torch.bfloat16, enabled=name != 'off'):
                loss = layers(batch).float().square().mean()
            loss.backward()
            times.append(time.perf_counter() - start)
        seconds[name] = min(times[1:])
    return seconds


def _fastest() -> str:
    """The faster precision, with a line that says so; on a CPU as the first rank measures it."""
    if get_device() != 'cpu':
        best = precision_default()
        if is_main_process():
            why = 'the GPU computes it' if best == 'bf16' else 'the GPU computes no bf16'
            print(f'--amp: {_NAMES[best]} ({why})', flush=True)
        return best
    measured = measure_precisions() if is_main_process() else None
    seconds: dict[str, float] = broadcast_object(measured)
    best = min(seconds, key=lambda name: seconds[name])
    if is_main_process():
        shown = ', '.join(f'{_NAMES[name]} {1e3 * s:.1f} ms' for name, s in seconds.items())
        print(f'--amp: {_NAMES[best]} is the fastest here ({shown} for a sample layer)', flush=True)
    return best


_NAMES = {'off': 'fp32', 'bf16': 'bf16', 'fp16': 'fp16'}


def set_precision(cfg: Config, precision: str) -> None:
    """Change a config to another precision.

    Args:
        cfg: The config; its `optim_wrapper` is changed.
        precision: 'bf16', 'fp16' (dynamic loss scale), 'off', 'apex', or 'auto': on a GPU bf16
            where it computes it, else fp16; on a CPU what is faster by a short measurement.
            Every rank has to call it then.

    Raises:
        ConfigError: The precision is unknown, or apex.amp is not there.
    """
    if precision not in PRECISIONS:
        raise ConfigError(f'--amp takes {", ".join(PRECISIONS[1:])}, not "{precision}"')
    wrapper = cfg.optim_wrapper
    for key in ('dtype', 'loss_scale', 'opt_level', 'use_fsdp'):
        wrapper.pop(key, None)
    if precision == 'auto':
        precision = _fastest()
    if precision == 'off':
        wrapper.type = 'OptimWrapper'
    elif precision == 'apex':
        apex_amp()
        wrapper.type, wrapper.opt_level = 'ApexOptimWrapper', 'O1'
    else:
        wrapper.type = 'AmpOptimWrapper'
        wrapper.dtype = 'bfloat16' if precision == 'bf16' else 'float16'


def set_test_precision(cfg: Config, precision: str) -> None:
    """Set the precision of the forward pass of a test.

    Args:
        cfg: The config; its `test_cfg` is changed.
        precision: 'bf16', 'fp16', 'off' (fp32), or 'auto': bf16 where the device computes
            it, else fp16.

    Raises:
        ConfigError: The config tests by a loop of its own.
    """
    loop = cfg.get('test_cfg') or {}
    if precision == 'off' and not loop.get('precision') and not loop.get('fp16'):
        return
    if loop.get('type', 'TestLoop') != 'TestLoop':
        raise ConfigError(
            f'--amp {precision}: test_cfg.type={loop["type"]} chooses its own precision'
        )
    precision = precision_default() if precision == 'auto' else precision
    cfg.test_cfg = {**loop, 'fp16': False, 'precision': precision}
