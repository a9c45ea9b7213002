"""What a runner loads, resumes and saves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.runner.base_loop import BaseLoop
from torch.serialization import MAP_LOCATION

from mmaction.distributed.collectives import gather_objects
from mmaction.engine.optimizers.schedule import can_run_up, run_up_schedulers
from mmaction.utils.checkpoint_reading import read_checkpoint

from .building import BuildingRunner
from .checkpoint import POINTER, load_weights, plain, rank_state, run_facts, save_checkpoint_file
from .resume import (
    check_optimizer_state,
    check_resumable,
    find_resume_point,
    move_position,
    names_checkpoint,
    resume_message_hub,
    resume_rank_state,
    resume_schedulers,
)
from .setting_changes import load_optimizer, setting_changes, setting_facts

__all__ = ['CheckpointingRunner']


class CheckpointingRunner(BuildingRunner):
    """A runner whose checkpoints hold all that a run needs to go on exactly."""

    _resume_point: tuple[Path, dict[str, Any]] | None = None
    _has_searched: bool = False
    resumed_random_state: dict[str, Any] | None = None

    def _find_resume_point(self) -> None:
        """Read the checkpoint to resume from, before its seed is needed."""
        if not self._resume:
            if Path(self.work_dir, POINTER).exists():
                self.logger.warning(
                    f'{self.work_dir} holds checkpoints of an earlier run, which this one mixes '
                    'its own with: --resume goes on with it, --work-dir names another folder'
                )
            return
        if self._has_searched:
            return
        self._has_searched = True
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
        map_location: MAP_LOCATION = 'cpu',
        strict: bool = False,
        revise_keys: object = None,
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
        if 'state_dict' not in checkpoint:
            # Hooks, such as mmengine's EMAHook, look for the weights there.
            checkpoint = {'state_dict': checkpoint.get('model', checkpoint)}
        self.call_hook('after_load_checkpoint', checkpoint=checkpoint)
        report = load_weights(self.bare_model, checkpoint, filename, strict=strict)
        self._has_loaded = True
        # What a test after this one names as the checkpoint that it measured.
        self._load_from = filename
        diverged = report.warning(filename)
        if diverged:
            self.logger.warning(diverged)
        text = f'loaded {len(report.loaded)} of {report.total} tensors from {filename}'
        if report.complete:
            self.logger.info(text)
        else:
            self.logger.warning(f'{text}; {report}. What was not loaded starts anew')
        return checkpoint

    def resume(
        self,
        filename: str,
        resume_optimizer: bool = True,
        resume_param_scheduler: bool = True,
        map_location: MAP_LOCATION = 'cpu',
    ) -> None:
        """Go on with the run that wrote a checkpoint.

        Raises:
            CheckpointError: It holds weights only, or does not fit.
        """
        with names_checkpoint(filename):
            checkpoint = self.load_checkpoint(filename, map_location, strict=True)
            check_resumable(checkpoint, filename)
            resume_message_hub(self.message_hub, checkpoint.get('message_hub', {}))
            self.optim_wrapper = self.build_optim_wrapper(self.optim_wrapper)
            if self.param_schedulers:
                self.param_schedulers = self.build_param_scheduler(self.param_schedulers)
            self._resume_optimization(
                checkpoint, filename, resume_optimizer, resume_param_scheduler
            )
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
        # All that schedulers move: the groups of the optimizer, and that of the logged `base_lr`.
        rates = [group['lr'] for group in self.optim_wrapper.param_groups]
        if resume_optimizer:
            load_optimizer(self.optim_wrapper, checkpoint['optimizer'], changes)
            check_optimizer_state(self.optim_wrapper.optimizer)
        if moved or changes.schedule:
            # The rates of the schedule of this config count, not those of the file.
            for group, rate in zip(self.optim_wrapper.param_groups, rates, strict=True):
                group['lr'] = rate
        if changes.texts:
            now = [group['lr'] for group in optimizer.param_groups]
            rate = max(now) if moved and changes.schedule else None
            self.logger.warning(changes.report(filename, self.iter + 1, rate))
        if self.iter >= self.max_iters:
            self.logger.warning(
                f'{filename} is at the end of training already: to extend the run raise '
                'train_cfg.max_epochs (or max_iters)'
            )

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
        # What is logged and counted of the steps so far belongs into it.
        self.call_hook('read_steps')
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
