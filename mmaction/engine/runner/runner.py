"""mmengine's runner, able to run on CPUs and to go on exactly where it was."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

from mmengine.device import get_device
from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook, EarlyStoppingHook, LoggerHook
from torch import nn

from mmaction.config.load import lost_hooks
from mmaction.distributed.collectives import broadcast_object
from mmaction.engine.compile import compile_backbone, compiler_settings
from mmaction.engine.device_settings import device_settings
from mmaction.engine.hooks.compile_time import CompileTimeHook
from mmaction.engine.optimizers.schedule import schedule_warnings, try_schedule
from mmaction.errors import ConfigError
from mmaction.registry import RUNNERS
from mmaction.utils.cli import describe
from mmaction.utils.io import lock
from mmaction.utils.remote import is_remote

from .bucket_layout import settle_buckets
from .building import UNBUILDABLE
from .checkpointing import CheckpointingRunner
from .data_check import SplitFacts, splits_of
from .dataloader_workers import workers_within
from .trial import Trial, check_loader, try_clips

__all__ = ['ActionRunner']


@RUNNERS.register_module()
class ActionRunner(CheckpointingRunner):
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

    split_facts: dict[str, SplitFacts]
    trials: Mapping[str, Trial] = MappingProxyType({})
    """Clips that went through the model before the start, in the first process."""
    stop_signal: int | None = None
    """The signal that asked for an early end of training."""
    reading_interval: int | None = None
    """Steps between two readings of what steps leave on the device; by default those between two
    lines of the log on a GPU, and 1 on a CPU, where reading costs nothing."""
    _lock: ExitStack | None = None
    _tried: frozenset[str] = frozenset()
    """Splits of which a clip has gone through the model."""

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
            if lost := lost_hooks(self.cfg):
                self.logger.warning(lost)
            load_teacher = getattr(self.bare_model, 'load_teacher', None)
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
        untried = {name: loop for name, loop in loops.items() if name not in self._tried}
        tried = try_clips(self.bare_model, untried, self.seed, self._best_by(mode))
        self.trials = {**self.trials, **tried}
        self._tried = self._tried.union(untried)

    def _best_by(self, mode: str) -> list[tuple[str, str]]:
        """The metrics that hooks look at, each behind the argument that names it.

        None where a hook of the user's may add some to those of the validation.
        """
        origins = {type(hook).after_val_epoch.__module__.partition('.')[0] for hook in self.hooks}
        if mode != 'train' or not origins <= {'mmengine', 'mmaction'}:
            return []
        place, found = 'default_hooks.checkpoint.save_best', []
        for hook in self.hooks:
            if isinstance(hook, CheckpointHook) and hook.save_best:
                found += [(place, key) for key in hook.key_indicators]
            elif isinstance(hook, EarlyStoppingHook):
                # Without the metric mmengine's hook stops nothing, and warns after each validation.
                found.append(('EarlyStoppingHook.monitor', hook.monitor))
        return found

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
        except UNBUILDABLE as error:
            raise ConfigError(f'config key {place}: {describe(error)}') from error
        finally:
            self.optim_wrapper = given
        for text in schedule_warnings(built, self.max_iters, len(self.train_dataloader)):
            self.logger.warning(text)
        if isinstance(built, list):
            try_schedule(built, self.max_iters, len(self.train_dataloader))

    def train(self) -> nn.Module:
        """Train; returns the trained model.

        Raises:
            ConfigError: Another training is writing to the work dir.
        """
        self.prepare('train')
        assert self._lock is not None
        with self._lock, self._running():
            self._lock = None
            if self.reading_interval is None and get_device() != 'cpu':
                loggers = [hook for hook in self.hooks if isinstance(hook, LoggerHook)]
                self.reading_interval = min((hook.interval for hook in loggers), default=1)
            return super().train()

    def _lock_work_dir(self) -> None:
        """Keep other trainings out of the folders that this one writes to with all its ranks."""
        if self._lock is not None:
            return
        self._lock, problem = ExitStack(), None
        if is_main_process():
            try:
                for folder in self._folders_of_checkpoints():
                    self._lock.enter_context(lock(folder, 'training'))
            except BlockingIOError as error:
                self._lock.close()
                problem = str(error)
        problem = broadcast_object(problem)
        if problem is not None:
            self._lock = None
            raise ConfigError(problem)

    def _folders_of_checkpoints(self) -> list[Path]:
        """The work dir, and where `out_dir` of a hook has the checkpoints go on this machine."""
        work_dir = Path(self.work_dir)
        given = (h.out_dir for h in self.hooks if isinstance(h, CheckpointHook))
        others = [Path(out) / work_dir.name for out in given if out not in (None, self.work_dir)]
        return [work_dir, *(folder for folder in others if not is_remote(folder))]

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
            environment = self.cfg.get('env_cfg') or {}
            stack.enter_context(
                device_settings(get_device(), environment, exact=self.deterministic)
            )
            if self.compile_options is not None:
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

    def _maybe_compile(self, target: str) -> None:
        """Compile the backbone where the run does; mmengine calls it before the first step."""
        if self.compile_options is not None:
            self._compile(target, self.compile_options)
        if target == 'train_step':
            trial = self.trials.get('train')
            clip = None if trial is None else trial.clip
            settle_buckets(self.model, self.optim_wrapper, self.train_dataloader, clip)

    def _compile(self, target: str, options: Mapping[str, Any]) -> None:
        compile_backbone(self.bare_model, options, self.logger.warning)
        if target == 'train_step':
            self.register_hook(CompileTimeHook())
        self.logger.info(
            'torch.compile: the first step can take minutes, while code is made for this '
            'model; a later run on this machine finds much of it in the cache; --no-compile '
            'leaves it out'
        )
