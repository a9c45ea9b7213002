"""The parts of a runner, built from a config: model, loaders, loops, optimizer."""

from __future__ import annotations

import inspect
import os
import sys
from functools import partial
from typing import Any

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.logging import MMLogger
from mmengine.model import MMDistributedDataParallel, is_model_wrapper, revert_sync_batchnorm
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from mmengine.runner.base_loop import BaseLoop
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from mmaction.config.check import check_parts
from mmaction.config.from_args import check_loggers
from mmaction.config.source import config_source
from mmaction.distributed.sync_batch_norm import synchronize_batch_norm
from mmaction.engine.compile import compile_options
from mmaction.engine.device_settings import fused_by_default
from mmaction.engine.hooks.unreadable_clips import UnreadableClipsHook
from mmaction.engine.optimizers.amp import without_fp16_on_cpu
from mmaction.errors import CheckpointError, ConfigError, FileWriteError
from mmaction.registry import LOOPS, MODEL_WRAPPERS
from mmaction.utils.cli import describe
from mmaction.utils.model_wrapper import bare_model
from mmaction.utils.plurals import how_many

from .console import quiet_console
from .dataloader_workers import start_worker

__all__ = ['UNBUILDABLE', 'BuildingRunner']


UNBUILDABLE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What constructors raise for arguments that they cannot take."""


class _PlainText(Config):
    """A config whose text is written by `config_source`.

    mmengine's own writer, yapf, takes a quarter of a second for a config, and a run wants its text
    three times. Of processes that first import yapf at the same time, one may find half of the
    grammar that another is writing, and end (yapf 0.43).
    """

    @classmethod
    def of(cls, cfg: object) -> Any:
        """A config as one of this class; anything else stays as it is."""
        if not isinstance(cfg, Config):
            return cfg
        copy = cls.__new__(cls)
        copy.__dict__.update(cfg.__dict__)
        return copy

    @property
    def pretty_text(self) -> str:
        """The config as Python code."""
        try:
            return config_source(self.to_dict())
        except TypeError:  # Values without plain form, such as classes, have a text in mmengine.
            return str(super().pretty_text)


class BuildingRunner(Runner):
    """mmengine's `Runner`, whose parts are built as `ActionRunner` says."""

    optim_wrapper: Any
    param_schedulers: Any
    _train_loop: Any
    _val_loop: Any
    _test_loop: Any

    @classmethod
    def from_cfg(cls, cfg: Any) -> Any:
        """Build a runner from a config; where that names no scope, types are this package's.

        Raises:
            ConfigError: A part of it is missing, or takes what no constructor can.
            FileWriteError: The disk of the work dir is full.
        """
        cfg.setdefault('default_scope', 'mmaction')
        check_parts(cfg)
        check_loggers(cfg)
        try:
            return super().from_cfg(_PlainText.of(cfg))
        except CheckpointError:
            raise
        except OSError as error:
            if error.errno is None or error.filename is not None:
                raise
            # mmengine writes the config and the first lines of the log without naming them.
            text = f'cannot write into {cfg.work_dir}: {error.strerror}'
            raise FileWriteError(error.errno, text) from error
        except (ArithmeticError, AssertionError, AttributeError, RuntimeError) as error:
            raise ConfigError(f'the config cannot be built: {describe(error)}') from error

    def build_logger(
        self, log_level: int | str = 'INFO', log_file: str | None = None, **kwargs: Any
    ) -> MMLogger:
        """The logger of mmengine with a brief console."""
        logger = super().build_logger(log_level, log_file, **kwargs)
        quiet_console(logger)
        return logger

    def setup_env(self, env_cfg: dict[str, Any]) -> None:
        """Set up the process; on macOS, whose libraries crash once forked, workers are spawned."""
        workers = env_cfg.get('mp_cfg') or {}
        if sys.platform == 'darwin' and workers.get('mp_start_method', 'fork') == 'fork':
            env_cfg = {**env_cfg, 'mp_cfg': {**workers, 'mp_start_method': 'spawn'}}
        super().setup_env(env_cfg)

    def _log_env(self, env_cfg: dict[str, Any]) -> None:
        """Nothing: the config and `run.json` in the work dir say it."""

    def set_randomness(
        self, seed: int | None, diff_rank_seed: bool = False, deterministic: bool = False
    ) -> None:
        """Seed, and with `deterministic` use deterministic algorithms alone."""
        if deterministic:
            # Without it they refuse every product on a GPU. Read when cuBLAS starts, later on.
            os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')
        super().set_randomness(seed, diff_rank_seed, deterministic)

    @staticmethod
    def build_dataloader(
        dataloader: DataLoader[Any] | dict[str, Any],
        seed: int | None = None,
        diff_rank_seed: bool = False,
    ) -> DataLoader[Any]:
        """Build dataset, sampler and loader.

        The loader draws its seeds from a generator of its own: starting one
        must not move the random state on which a resumed run depends.
        """
        if isinstance(dataloader, DataLoader):
            return dataloader
        cfg = dict(dataloader)
        if 'sampler' not in cfg:
            raise ConfigError(
                "a dataloader of the config has no sampler: give sampler=dict(type='EpochSampler', "
                'shuffle=True), with shuffle=False for val and test'
            )
        if not cfg.get('num_workers'):
            cfg.pop('persistent_workers', None)
            cfg.pop('prefetch_factor', None)
        if get_device() == 'cuda':
            # From ordinary memory a copy to the GPU makes host and GPU wait for each other.
            cfg.setdefault('pin_memory', True)
        loader = Runner.build_dataloader(cfg, seed, diff_rank_seed)
        loader.generator = torch.Generator().manual_seed(seed or 0)
        loader.worker_init_fn = partial(start_worker, then=loader.worker_init_fn)
        return loader

    @property
    def compile_options(self) -> dict[str, Any] | None:
        """Arguments of `torch.compile` for this run, None where it runs eagerly."""
        return compile_options(self.cfg.get('compile', 'auto'), get_device())

    def build_train_loop(self, loop: BaseLoop | dict[str, Any]) -> BaseLoop:
        """Build the loop; `by_epoch` stands for the loops of this package.

        In a compiled run the last batch of an epoch is left out where it is smaller than the
        others, unless the config says otherwise: another shape would be compiled once more.
        """
        given = self._train_dataloader
        chosen = {'drop_last', 'batch_sampler'} & set(given if isinstance(given, dict) else ())
        if isinstance(loop, dict) and isinstance(given, dict) and not chosen:
            self._train_dataloader = {**given, 'drop_last': self.compile_options is not None}
            built = self._build_train_loop(loop)
            if len(built.dataloader) or not self._train_dataloader['drop_last']:
                return built
            self._train_dataloader = given  # less than one batch
        return self._build_train_loop(loop)

    def _build_train_loop(self, loop: BaseLoop | dict[str, Any]) -> BaseLoop:
        if isinstance(loop, dict) and 'type' not in loop:
            loop = dict(loop)
            by_epoch = loop.pop('by_epoch', True)
            loop['type'] = 'EpochBasedTrainLoop' if by_epoch else 'IterBasedTrainLoop'
            built: BaseLoop = LOOPS.build(
                loop, default_args=dict(runner=self, dataloader=self._train_dataloader)
            )
            return built
        return super().build_train_loop(loop)

    def build_val_loop(self, loop: BaseLoop | dict[str, Any]) -> BaseLoop:
        """Build the loop; without a type it is the `ValLoop` of this package."""
        if isinstance(loop, dict) and 'type' not in loop:
            loop = dict(loop, type='ValLoop')
        return super().build_val_loop(loop)

    def build_test_loop(self, loop: BaseLoop | dict[str, Any]) -> BaseLoop:
        """Build the loop; without a type it is the `TestLoop` of this package."""
        if isinstance(loop, dict) and 'type' not in loop:
            loop = dict(loop, type='TestLoop')
        return super().build_test_loop(loop)

    def _loops(self) -> dict[str, BaseLoop]:
        """The loops that are built, by the name of their split."""
        loops = dict(train=self._train_loop, val=self._val_loop, test=self._test_loop)
        return {name: loop for name, loop in loops.items() if isinstance(loop, BaseLoop)}

    def wrap_model(self, model_wrapper_cfg: dict[str, Any] | None, model: nn.Module) -> nn.Module:
        """Move the model to its device and, with several processes, wrap it in DDP.

        Raises:
            ConfigError: The wrapper asked for spreads the weights, which
                checkpoints here do not.
        """
        kind = str((model_wrapper_cfg or {}).get('type', ''))
        if 'FullySharded' in kind:
            raise ConfigError(
                f'model_wrapper_cfg.type={kind}: weights are not spread over processes here. To '
                'save memory take optim_wrapper.optimizer.type=ZeroRedundancyOptimizer with '
                'optimizer_type=AdamW, model.backbone.use_checkpoint=True and --amp bf16'
            )
        device = get_device()
        if is_model_wrapper(model):
            return model
        if self.world_size == 1 or not any(p.requires_grad for p in model.parameters()):
            return revert_sync_batchnorm(model.to(device))
        model = synchronize_batch_norm(model.to(device), self.cfg.get('sync_bn', 'torch'), device)
        options = dict(model_wrapper_cfg or {})
        if options.get('type', 'MMDistributedDataParallel') != 'MMDistributedDataParallel':
            wrapped: nn.Module = MODEL_WRAPPERS.build(options, default_args=dict(module=model))
            return wrapped
        options.pop('type', None)
        options.setdefault('find_unused_parameters', self.cfg.get('find_unused_parameters', False))
        # Gradients live in the buckets that are sent: one copy and their memory less.
        options.setdefault('gradient_as_bucket_view', True)
        options.setdefault('static_graph', self._graph_is_static(options))
        if device != 'cpu':
            options['device_ids'] = [int(os.environ.get('LOCAL_RANK', 0))]
        # Buffers are equal in all processes already; the name of the switch has changed.
        known = inspect.signature(DistributedDataParallel).parameters
        switch = 'forward_sync_buffers' if 'forward_sync_buffers' in known else 'broadcast_buffers'
        options.setdefault(switch, False)
        return MMDistributedDataParallel(module=model, **options)

    def _graph_is_static(self, options: dict[str, Any]) -> bool:
        """Whether every step uses the same parameters and sends their gradients.

        Not with accumulation, whose first steps send nothing, nor where the user says that
        parameters are left out (DDP otherwise demands all of them in each step), nor compiled: a
        static graph is settled in the first step, while blocks may still be compiled or fall back
        to eager in later ones, and the two have only run together in one process on a CPU.
        """
        wrapper = self.cfg.get('optim_wrapper') or {}
        accumulates = isinstance(wrapper, dict) and wrapper.get('accumulative_counts', 1) != 1
        compiled = self.compile_options is not None
        return not (accumulates or compiled or options['find_unused_parameters'])

    @property
    def bare_model(self) -> nn.Module:
        """The model without its wrapper for several processes."""
        model: nn.Module = bare_model(self.model)
        return model

    def _init_model_weights(self) -> None:
        try:
            super()._init_model_weights()
        except CheckpointError:
            raise
        except UNBUILDABLE as error:
            raise ConfigError(
                f'config key model: the weights cannot be initialized: {describe(error)}'
            ) from error

    @property
    def epoch(self) -> int:
        """Epochs trained; mmengine's would build the training loop of a mere validation."""
        return self._trained('epoch')

    @property
    def iter(self) -> int:
        """Steps trained; does not build the loop either."""
        return self._trained('iter')

    def _trained(self, unit: str) -> int:
        loop = self._train_loop
        return int(getattr(loop, unit)) if isinstance(loop, BaseLoop) else 0

    def register_hooks(self, default_hooks: Any = None, custom_hooks: Any = None) -> None:
        """Register hooks; any run names the clips that it cannot read."""
        super().register_hooks(default_hooks, custom_hooks)
        if not any(isinstance(hook, UnreadableClipsHook) for hook in self.hooks):
            self.register_hook(UnreadableClipsHook())

    def build_optim_wrapper(self, optim_wrapper: Any) -> Any:
        """Build optimizer, fused on a GPU, and wrapper; fp16 on a CPU becomes fp32."""
        if isinstance(optim_wrapper, dict):
            optim_wrapper, was_fp16 = without_fp16_on_cpu(optim_wrapper)
            if was_fp16:
                self.logger.warning(
                    'optim_wrapper.dtype=float16 is made for GPUs and far slower than fp32 on a '
                    'CPU: trains in fp32 (--amp bf16 if this CPU computes bf16 fast)'
                )
            is_amp = optim_wrapper.get('type') == 'AmpOptimWrapper'
            # A dtype, as `--amp bf16` sets it, was chosen.
            chosen = optim_wrapper.get('dtype') or get_device() != 'cpu'
            if is_amp and not chosen:
                self.logger.warning(
                    'optim_wrapper.type=AmpOptimWrapper: trains in bf16, which many CPUs compute '
                    'far more slowly than fp32 (--amp takes what is faster here, --amp off fp32)'
                )
            if isinstance(optim_wrapper.get('optimizer'), dict):
                optimizer = fused_by_default(optim_wrapper['optimizer'], get_device())
                optim_wrapper = {**optim_wrapper, 'optimizer': optimizer}
        return super().build_optim_wrapper(optim_wrapper)

    def scale_lr(
        self, optim_wrapper: OptimWrapper, auto_scale_lr: dict[str, Any] | None = None
    ) -> None:
        """Scale the learning rate by clips per optimizer step over `base_batch_size`.

        Unlike mmengine's, the clips of all accumulated steps count.
        """
        if not auto_scale_lr or not auto_scale_lr.get('enable', False):
            return
        base = auto_scale_lr['base_batch_size']
        clips = self.clips_per_update(optim_wrapper)
        for group in optim_wrapper.optimizer.param_groups:
            group['lr'] *= clips / base
        text = f'learning rate x {clips / base:g}: {how_many(clips, "clip")} per update, '
        text += f'{base} as base'
        if clips < base and 'Adam' in type(optim_wrapper.optimizer).__name__:
            text += '. Adam learns less at a lower rate: without auto_scale_lr it would stay'
        self.logger.info(text)

    def clips_per_update(self, optim_wrapper: OptimWrapper) -> int:
        """Batch size x processes x accumulated steps."""
        per_process = self.train_dataloader.batch_size or 1
        batch_size: int = per_process * self.world_size * optim_wrapper._accumulative_counts
        return batch_size
