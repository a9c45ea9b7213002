"""mmengine's runner, able to run on CPUs and to go on exactly where it was."""

from __future__ import annotations

import copy
import inspect
import os
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.dist import is_main_process
from mmengine.logging import MMLogger
from mmengine.model import MMDistributedDataParallel, is_model_wrapper, revert_sync_batchnorm
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from mmengine.runner.base_loop import BaseLoop
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from mmaction.config.check import check_parts
from mmaction.distributed.collectives import broadcast_object, gather_objects
from mmaction.distributed.sync_batch_norm import synchronize_batch_norm
from mmaction.engine.compile import compile_backbone, compiler_settings
from mmaction.engine.hooks.compile_time import CompileTimeHook
from mmaction.engine.optimizers.amp import without_fp16_on_cpu
from mmaction.engine.optimizers.schedule import schedule_warnings
from mmaction.errors import CheckpointError, ConfigError
from mmaction.registry import LOOPS, MODEL_WRAPPERS, RUNNERS
from mmaction.utils.checkpoint_reading import read_checkpoint
from mmaction.utils.cli import describe
from mmaction.utils.io import lock
from mmaction.utils.model_wrapper import bare_model

from .checkpoint import load_weights, plain, rank_state, run_facts, save_checkpoint_file
from .console import quiet_console
from .data_check import SplitFacts, splits_of
from .dataloader_workers import start_worker, workers_within
from .resume import (
    check_optimizer_state,
    check_resumable,
    find_resume_point,
    move_position,
    names_checkpoint,
    resume_message_hub,
    resume_rank_state,
    resume_schedulers,
    run_up_schedulers,
)
from .setting_changes import can_run_up, load_optimizer, setting_changes, setting_facts
from .trial import check_loader, try_clips

__all__ = ['ActionRunner']


_UNBUILDABLE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What constructors raise for arguments that they cannot take."""


@RUNNERS.register_module()
class ActionRunner(Runner):
    """mmengine's `Runner` with safe checkpoints, exact resuming and CPU processes.

    Takes the arguments of mmengine's `Runner`. The process group has to exist
    already (`mmaction.distributed.launch.init_processes`). What differs:

    - Checkpoints are written whole or not at all, hold plain values and tensors
      only, and are read with `weights_only=True`.
    - They hold the random state of every process and gradients that wait for
      the rest of their accumulation window, so a resumed run is the unbroken one.
    - Lists, labels and files are checked before any worker starts.
    - BatchNorm statistics are those of the batch of all processes (`sync_bn`).
    """

    optim_wrapper: Any
    param_schedulers: Any
    _train_loop: Any
    _val_loop: Any
    _test_loop: Any
    split_facts: dict[str, SplitFacts]
    stop_signal: int | None = None
    """The signal that asked for an early end of training."""
    _resume_point: tuple[Path, dict[str, Any]] | None = None
    resumed_random_state: dict[str, Any] | None = None
    _lock: ExitStack | None = None
    _fp16_reported: bool = False
    _tried: frozenset[str] = frozenset()
    """Splits of which a clip has gone through the model."""

    # ------------------------------------------------------------ set-up

    @classmethod
    def from_cfg(cls, cfg: Any) -> Any:
        """Build a runner from a config; where that names no scope, types are this package's.

        Raises:
            ConfigError: A part of it is missing, or takes what no constructor can.
        """
        cfg.setdefault('default_scope', 'mmaction')
        check_parts(cfg)
        try:
            return super().from_cfg(cfg)
        except CheckpointError:
            raise
        except (ArithmeticError, AssertionError, AttributeError, RuntimeError) as error:
            raise ConfigError(f'the config cannot be built: {describe(error)}') from error

    def build_logger(
        self, log_level: int | str = 'INFO', log_file: str | None = None, **kwargs: Any
    ) -> MMLogger:
        """The logger of mmengine with a brief console."""
        logger = super().build_logger(log_level, log_file, **kwargs)
        quiet_console(logger)
        return logger

    def _log_env(self, env_cfg: dict[str, Any]) -> None:
        """Nothing: the config and `run.json` in the work dir say it."""

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
        if not cfg.get('num_workers'):
            cfg.pop('persistent_workers', None)
            cfg.pop('prefetch_factor', None)
        loader = Runner.build_dataloader(cfg, seed, diff_rank_seed)
        loader.generator = torch.Generator().manual_seed(seed or 0)
        loader.worker_init_fn = partial(start_worker, then=loader.worker_init_fn)
        return loader

    def build_train_loop(self, loop: BaseLoop | dict[str, Any]) -> BaseLoop:
        """Build the loop; `by_epoch` stands for the loops of this package."""
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
        if device != 'cpu':
            options['device_ids'] = [int(os.environ.get('LOCAL_RANK', 0))]
        # Buffers are equal in all processes already; the name of the switch has changed.
        known = inspect.signature(DistributedDataParallel).parameters
        switch = 'forward_sync_buffers' if 'forward_sync_buffers' in known else 'broadcast_buffers'
        options.setdefault(switch, False)
        return MMDistributedDataParallel(module=model, **options)

    @property
    def bare_model(self) -> nn.Module:
        """The model without its wrapper for several processes."""
        model: nn.Module = bare_model(self.model)
        return model

    def build_optim_wrapper(self, optim_wrapper: Any) -> Any:
        """Build the optimizer and its wrapper; fp16 on a CPU becomes fp32."""
        if isinstance(optim_wrapper, dict):
            optim_wrapper, was_fp16 = without_fp16_on_cpu(optim_wrapper)
            if was_fp16 and not self._fp16_reported:
                self._fp16_reported = True
                self.logger.warning(
                    'optim_wrapper.dtype=float16 is made for GPUs and far slower than fp32 on a '
                    'CPU: trains in fp32 (--amp bf16 if this CPU computes bf16 fast)'
                )
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
        self.logger.info(
            f'learning rate x {clips / base:g}: {clips} clips per update, {base} as base'
        )

    def clips_per_update(self, optim_wrapper: OptimWrapper) -> int:
        """Batch size x processes x accumulated steps."""
        per_process = self.train_dataloader.batch_size or 1
        batch_size: int = per_process * self.world_size * optim_wrapper._accumulative_counts
        return batch_size

    # ------------------------------------------------------------ running

    def prepare(self, mode: str) -> None:
        """Build what `mode` ('train', 'val' or 'test') needs and check it.

        `train`, `val` and `test` call it too; a command line calls it before,
        so that what the user has to mend is told before any worker starts.
        """
        if mode == 'train':
            if self._train_loop is None:
                raise ConfigError(
                    'the config has no train_cfg and train_dataloader: nothing to train'
                )
            self._lock_work_dir()
            load_teacher: Any = getattr(self.bare_model, 'load_teacher', None)
            if load_teacher is not None:
                load_teacher()
            self._find_resume_point()
            self._train_loop = self.build_train_loop(self._train_loop)
            check_loader('train', self._train_loop.dataloader, self._train_loop)
            self._try_optimization()
        if mode in ('train', 'val') and self._val_loop is not None:
            self._val_loop = self.build_val_loop(self._val_loop)
        if mode == 'test' and self._test_loop is not None:
            self._test_loop = self.build_test_loop(self._test_loop)
        loops = self._loops()
        for name, loop in loops.items():
            check_loader(name, loop.dataloader, loop)
        self.split_facts = {}
        splits_of(self)
        untried = {name: loop.dataloader for name, loop in loops.items() if name not in self._tried}
        try_clips(self.bare_model, untried, self.seed)
        self._tried = self._tried.union(untried)

    def _try_optimization(self) -> None:
        """Build optimizer and schedulers and throw them away: `train` builds them later."""
        if not isinstance(self.optim_wrapper, dict):
            return
        given, schedulers = self.optim_wrapper, self.param_schedulers
        place = 'optim_wrapper'
        try:
            self.optim_wrapper = self.build_optim_wrapper(copy.deepcopy(given))
            place = 'param_scheduler'
            built = self.build_param_scheduler(copy.deepcopy(schedulers)) if schedulers else []
        except ConfigError:
            raise
        except _UNBUILDABLE as error:
            raise ConfigError(f'config key {place}: {describe(error)}') from error
        finally:
            self.optim_wrapper = given
        for text in schedule_warnings(built, self.max_iters, len(self.train_dataloader)):
            self.logger.warning(text)

    def _loops(self) -> dict[str, BaseLoop]:
        """The loops that are built, by the name of their split."""
        loops = dict(train=self._train_loop, val=self._val_loop, test=self._test_loop)
        return {name: loop for name, loop in loops.items() if isinstance(loop, BaseLoop)}

    def train(self) -> nn.Module:
        """Train; returns the trained model.

        Raises:
            ConfigError: Another training is writing to the work dir.
        """
        self.prepare('train')
        assert self._lock is not None
        with self._lock, self._running():
            self._lock = None
            return super().train()

    def _lock_work_dir(self) -> None:
        """Keep other trainings out of the work dir, which the ranks of this one share."""
        if self._lock is not None:
            return
        self._lock, problem = ExitStack(), None
        if is_main_process():
            try:
                self._lock.enter_context(lock(self.work_dir, 'training'))
            except BlockingIOError as error:
                problem = str(error)
        problem = broadcast_object(problem)
        if problem is not None:
            self._lock = None
            raise ConfigError(problem)

    def val(self) -> dict[str, float]:
        """Validate; returns the metrics."""
        self.prepare('val')
        with self._running():
            return super().val()

    def test(self) -> dict[str, float]:
        """Test; returns the metrics."""
        self.prepare('test')
        with self._running(for_inference=True):
            self._maybe_compile('test_step')
            return super().test()

    @contextmanager
    def _running(self, *, for_inference: bool = False) -> Iterator[None]:
        """What holds while a loop runs, and is as it was when it has ended."""
        with ExitStack() as stack:
            if self.cfg.get('compile', None):
                stack.enter_context(compiler_settings(for_inference=for_inference))
            stack.enter_context(warnings.catch_warnings())
            # mmengine takes steps that only accumulate for a wrong order; the other is said of
            # weights with axes of length 1, where strides mean nothing.
            for message in ('Detected call of `scheduler.step', 'Grad strides do not match bucket'):
                warnings.filterwarnings('ignore', message=message)
            stack.callback(self._forget_workers)
            stack.enter_context(workers_within())
            yield

    def _forget_workers(self) -> None:
        """Have loaders that keep their workers start new ones next time."""
        for loop in self._loops().values():
            loop.dataloader._iterator = None

    def _init_model_weights(self) -> None:
        try:
            super()._init_model_weights()
        except CheckpointError:
            raise
        except _UNBUILDABLE as error:
            raise ConfigError(
                f'config key model: the weights cannot be initialized: {describe(error)}'
            ) from error

    def _maybe_compile(self, target: str) -> None:
        """Compile where the config has `compile`; mmengine calls it before the first step."""
        options = self.cfg.get('compile', None)
        if not options:
            return
        compile_backbone(self.bare_model, options)
        if target == 'train_step':
            self.register_hook(CompileTimeHook())
        self.logger.info(
            'torch.compile: the first step takes a minute or more, while code is made for this '
            'model; a later run on this machine finds much of it in the cache'
        )

    def set_randomness(
        self, seed: int | None, diff_rank_seed: bool = False, deterministic: bool = False
    ) -> None:
        """Seed, and with `deterministic` use deterministic algorithms alone."""
        if deterministic:
            # Without it they refuse every product on a GPU. Read when cuBLAS starts, later on.
            os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')
        super().set_randomness(seed, diff_rank_seed, deterministic)

    # ------------------------------------------------------------ loading

    def _find_resume_point(self) -> None:
        """Read the checkpoint to resume from, before its seed is needed."""
        if not self._resume or self._resume_point is not None:
            return
        self._resume_point = find_resume_point(self.work_dir, self._load_from, self.logger)
        if self._resume_point is None:
            return
        path, checkpoint = self._resume_point
        seed = checkpoint.get('meta', {}).get('seed')
        if seed is not None and seed != self.seed:
            if self._randomness_cfg.get('seed') is not None:
                self.logger.warning(f'seed {seed} of {path.name} is used, not {self.seed}')
            self._randomness_cfg.update(seed=seed)
            self.set_randomness(**self._randomness_cfg)

    def load_or_resume(self) -> None:
        """Load weights, or everything of a run to resume."""
        if self._has_loaded:
            return
        if self._resume_point is not None:
            self.resume(str(self._resume_point[0]))
        elif self._load_from is not None and not self._resume:
            # Only training may start with a head of its own.
            trains = isinstance(self._train_loop, BaseLoop)
            self.load_checkpoint(self._load_from, strict=not trains)
        self._resume_point = None

    def load_checkpoint(
        self,
        filename: str,
        map_location: Any = 'cpu',
        strict: bool = False,
        revise_keys: Any = None,
    ) -> dict[str, Any]:
        """Load the weights of a checkpoint.

        Args:
            filename: The file, or its address (http://, https://).
            map_location: Where its tensors go before they are copied.
            strict: Whether all weights have to match (testing, resuming).
            revise_keys: Not used; `module.` is dropped from names.

        Raises:
            CheckpointError: The file cannot be read or does not fit the model.
        """
        if self._resume_point is not None and str(self._resume_point[0]) == str(filename):
            checkpoint = self._resume_point[1]
        else:
            checkpoint = read_checkpoint(filename, map_location)
        self.call_hook('after_load_checkpoint', checkpoint=checkpoint)
        report = load_weights(self.bare_model, checkpoint, filename, strict=strict)
        self._has_loaded = True
        text = f'loaded {len(report.loaded)} of {report.total} tensors from {filename}'
        if report.complete:
            self.logger.info(text)
        else:
            self.logger.warning(f'{text}; {report}. What was not loaded starts anew')
        return checkpoint

    @names_checkpoint
    def resume(
        self,
        filename: str,
        resume_optimizer: bool = True,
        resume_param_scheduler: bool = True,
        map_location: Any = 'cpu',
    ) -> None:
        """Go on with the run that wrote a checkpoint.

        Raises:
            CheckpointError: It holds weights only, or does not fit.
        """
        checkpoint = self.load_checkpoint(filename, map_location, strict=True)
        check_resumable(checkpoint, filename)
        resume_message_hub(self.message_hub, checkpoint.get('message_hub', {}))
        self.optim_wrapper = self.build_optim_wrapper(self.optim_wrapper)
        if self.param_schedulers:
            self.param_schedulers = self.build_param_scheduler(self.param_schedulers)
        self._resume_optimization(checkpoint, filename, resume_optimizer, resume_param_scheduler)
        states = checkpoint.get('processes', [])
        self.resumed_random_state = resume_rank_state(
            states, self.rank, self.world_size, self.bare_model
        )
        if self.resumed_random_state is None:
            self.logger.warning(
                f'{filename} was written by {len(states) or "an unknown number of"} processes and '
                f'is resumed by {self.world_size}: the run goes on, but dropout and mixup draw '
                'other numbers than in an unbroken run'
            )
        self.logger.info(f'resumes {filename} after epoch {self.epoch}, step {self.iter}')

    def _resume_optimization(
        self,
        checkpoint: dict[str, Any],
        filename: str,
        resume_optimizer: bool,
        resume_param_scheduler: bool,
    ) -> None:
        """Set position, optimizer and schedule; settings that have changed are reported."""
        schedulers = self.param_schedulers or []
        optimizer, meta = self.optim_wrapper.optimizer, checkpoint['meta']
        changes = setting_changes(self.train_loop, optimizer, schedulers, checkpoint)
        moved = move_position(self.train_loop, schedulers, meta, self.world_size, self.logger)
        if changes.schedule and not moved and can_run_up(schedulers):
            steps = min(self.iter, self.max_iters)
            run_up_schedulers(schedulers, len(self.train_dataloader), self.epoch, steps)
            moved = True
        elif not moved and resume_param_scheduler and schedulers:
            states = checkpoint.get('param_schedulers')
            moved = not resume_schedulers(schedulers, states, self.train_loop)
            if moved:
                self.logger.warning(
                    f'{filename} holds no state of the schedulers of this config: they are set '
                    f'by the step, {self.iter}'
                )
        rates = [group['lr'] for group in optimizer.param_groups] if moved else None
        if resume_optimizer:
            load_optimizer(self.optim_wrapper, checkpoint['optimizer'], changes)
            check_optimizer_state(self.optim_wrapper.optimizer)
        if rates is not None:
            # The schedulers were run up to this step: their rate, not that of the file, counts.
            for group, rate in zip(self.optim_wrapper.optimizer.param_groups, rates, strict=True):
                group['lr'] = rate
        if changes.texts:
            rate = max(rates) if rates and changes.schedule else None
            self.logger.warning(changes.report(filename, self.iter + 1, rate))
        if self.iter >= self.max_iters:
            self.logger.warning(
                f'{filename} is at the end of training already: to extend the run raise '
                'train_cfg.max_epochs (or max_iters)'
            )

    # ------------------------------------------------------------ saving

    def save_checkpoint(
        self,
        out_dir: str,
        filename: str,
        file_client_args: dict[str, Any] | None = None,
        save_optimizer: bool = True,
        save_param_scheduler: bool = True,
        meta: dict[str, Any] | None = None,
        by_epoch: bool = True,
        backend_args: dict[str, Any] | None = None,
    ) -> None:
        """Write a checkpoint; every process has to call it, the first one writes.

        Args:
            out_dir: Folder.
            filename: Name in it.
            file_client_args: Not used.
            save_optimizer: Whether to save what resuming needs besides weights.
            save_param_scheduler: Whether to save the state of the schedulers.
            meta: Facts to save; `epoch` and `iter` count what is done.
            by_epoch: Whether this is called at the end of an epoch or a step.
            backend_args: Not used.

        Raises:
            CheckpointError: The file cannot be written.
        """
        meta = dict(meta or {})
        meta.setdefault('epoch', self.epoch + int(by_epoch))
        meta.setdefault('iter', self.iter + int(not by_epoch))
        # In all processes: an optimizer whose state is spread over them collects it.
        optimizer = self.optim_wrapper.state_dict() if save_optimizer else None
        state = rank_state(self.bare_model, self.optim_wrapper) if save_optimizer else None
        processes = gather_objects(state)
        if not is_main_process():
            return
        checkpoint: dict[str, Any] = {
            'meta': {
                # Formatting it takes half a second.
                'cfg': self.message_hub.get_info('cfg'),
                'seed': self.seed,
                'experiment_name': self.experiment_name,
                **run_facts(self.train_dataloader, self.world_size),
                **setting_facts(self.train_loop, self.optim_wrapper, self.param_schedulers),
                **meta,
            },
            'state_dict': self.bare_model.state_dict(),
            'message_hub': self.message_hub.state_dict(),
        }
        if save_optimizer:
            checkpoint.update(optimizer=optimizer, processes=processes)
        if save_param_scheduler and self.param_schedulers:
            checkpoint['param_schedulers'] = [s.state_dict() for s in self.param_schedulers]
        self.call_hook('before_save_checkpoint', checkpoint=checkpoint)
        save_checkpoint_file(plain(checkpoint), Path(out_dir, filename))
