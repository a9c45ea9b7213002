"""When checkpoints are written, kept and removed."""

from __future__ import annotations

import tempfile
from collections import deque
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook as _CheckpointHook
from mmengine.runner.base_loop import BaseLoop

from mmaction.engine.runner.checkpoint import (
    POINTER,
    load_checkpoint_file,
    save_checkpoint_file,
    write_pointer,
)
from mmaction.errors import ConfigError
from mmaction.registry import HOOKS
from mmaction.utils.io import remove_partials, write_bytes
from mmaction.utils.remote import exists, is_remote, remove_file

if TYPE_CHECKING:
    from mmaction.engine.runner.runner import ActionRunner

__all__ = ['CheckpointHook']


@HOOKS.register_module()
class CheckpointHook(_CheckpointHook):
    """mmengine's hook, which never removes a checkpoint before its successor is written.

    Takes the same arguments.
    """

    out_dir: Any
    last_ckpt: Any

    def _init_rule(self, rules: list[str | None], key_indicators: list[str]) -> None:
        try:
            super()._init_rule(rules, key_indicators)
        except ValueError as error:
            self.rules = rules
            keys = ', '.join(key_indicators)
            raise ConfigError(
                f'default_hooks.checkpoint.save_best: the name of {keys} does not tell whether '
                "more or less of it is better: set default_hooks.checkpoint.rule='greater' or "
                "'less'"
            ) from error

    def before_train(self, runner: ActionRunner) -> None:
        """Note where checkpoints go, and drop the pointer of a run that is not resumed."""
        hub = runner.message_hub
        if self.out_dir is None:
            self.out_dir = runner.work_dir
        elif self.out_dir != runner.work_dir:
            self.out_dir = str(Path(self.out_dir, Path(runner.work_dir).name))
        if self.save_best is not None and len(self.key_indicators) == 1:
            self.best_ckpt_path = self._own_best(hub.get_info('best_ckpt'))
        elif self.save_best is not None:
            keys = self.key_indicators
            self.best_ckpt_path_dict = {
                key: self._own_best(hub.get_info(f'best_ckpt_{key}')) for key in keys
            }
        kept = [step for step in hub.get_info('keep_ckpt_ids') or [] if type(step) is int]
        self.keep_ckpt_ids = deque(
            kept[-self.max_keep_ckpts :] if self.max_keep_ckpts > 0 else kept
        )
        if not is_main_process():
            return
        if not is_remote(self.out_dir):
            # What was being written when a run was killed.
            remove_partials(self.out_dir)
        self._remove(kept[: len(kept) - len(self.keep_ckpt_ids)])
        if runner.iter == 0 or runner._load_from is not None:
            # A worker that is started again must not go on with an older run, nor behind the
            # checkpoint that this one was told to resume.
            for folder in {str(runner.work_dir), str(self.out_dir)}:
                remove_file(Path(folder, POINTER))

    def _own_best(self, noted: object) -> str | None:
        """The best checkpoint that a resumed checkpoint notes, if it lies in this run's folder.

        What a file says is a name, never a place: the run that wrote it may have
        had another work dir, whose checkpoints stay.
        """
        name = Path(noted).name if isinstance(noted, str) else ''
        if not (name.startswith('best_') and name.endswith('.pth')):
            return None
        path = Path(self.out_dir, name)
        return str(path) if exists(path) else None

    def save_now(self, runner: ActionRunner) -> str:
        """Save between two steps, whatever the interval; returns the file."""
        step = runner.iter
        path = Path(self.out_dir, f'iter_{step}.pth')
        runner.message_hub.update_info('last_ckpt', path.name)
        runner.save_checkpoint(
            self.out_dir, path.name, meta=dict(epoch=runner.epoch, iter=step), by_epoch=False
        )
        if is_main_process():
            write_pointer(runner.work_dir, path)
        return str(path)

    def _save_checkpoint_with_step(
        self, runner: ActionRunner, step: int, meta: dict[str, int]
    ) -> None:
        name = self.filename_tmpl.format(step)
        path = Path(self.out_dir, name)
        self.last_ckpt = str(path)
        outdated = self._remember(runner, step) if self.max_keep_ckpts > 0 else []
        runner.message_hub.update_info('last_ckpt', name)
        runner.save_checkpoint(
            self.out_dir,
            name,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
        )
        if is_main_process():
            write_pointer(runner.work_dir, path)
            self._remove(outdated)

    def _remove(self, steps: list[int]) -> None:
        for step in steps:
            remove_file(Path(self.out_dir, self.filename_tmpl.format(step)))

    def _remember(self, runner: ActionRunner, step: int) -> list[int]:
        """Add a checkpoint to those that are kept; returns the steps that fall out."""
        if self.keep_ckpt_ids and self.keep_ckpt_ids[-1] == step:
            return []
        kept = [*self.keep_ckpt_ids, step]
        self.keep_ckpt_ids = deque(kept[-self.max_keep_ckpts :])
        # What is about to be removed stays in the list that is saved: should the
        # run be killed in between, the next one removes it.
        runner.message_hub.update_info('keep_ckpt_ids', kept)
        return kept[: -self.max_keep_ckpts]

    def _save_best_checkpoint(self, runner: ActionRunner, metrics: dict[str, Any]) -> None:
        # A validation by itself, without training, is compared with nothing.
        if not self.save_best or not isinstance(runner._train_loop, BaseLoop):
            return
        if 'auto' in self.key_indicators:
            try:
                self._init_rule(self.rules, [next(iter(metrics))])
            except ConfigError as error:
                # Metrics of the user's are only known by now, which is no reason to end a run.
                runner.logger.warning(f'keeps no best checkpoint: {error}')
                return
        count = runner.epoch if self.by_epoch else runner.iter
        improved = False
        for key in self.key_indicators:
            if key not in metrics:
                raise ConfigError(
                    f'default_hooks.checkpoint.save_best: validation gives no "{key}", '
                    f'but {", ".join(metrics)}'
                )
            improved |= self._save_if_best(runner, key, float(metrics[key]), count)
        # The best score and file travel in the last checkpoint.
        if improved and self.last_ckpt is not None:
            self._save_checkpoint_with_step(
                runner, count, dict(epoch=runner.epoch, iter=runner.iter)
            )

    def _save_if_best(self, runner: ActionRunner, key: str, score: float, count: int) -> bool:
        hub = runner.message_hub
        suffix = '' if len(self.key_indicators) == 1 else f'_{key}'
        best = hub.get_info(f'best_score{suffix}')
        if isinstance(best, Real) and not self.is_better_than[key](score, best):
            return False
        previous = self._own_best(hub.get_info(f'best_ckpt{suffix}'))
        name = f'best_{key}_{self.filename_tmpl.format(count)}'.replace('/', '_')
        path = Path(self.out_dir, name)
        hub.update_info(f'best_score{suffix}', score)
        hub.update_info(f'best_ckpt{suffix}', path.name)
        if suffix:
            self.best_ckpt_path_dict[key] = str(path)
        else:
            self.best_ckpt_path = str(path)
        runner.save_checkpoint(
            self.out_dir,
            name,
            save_optimizer=False,
            save_param_scheduler=False,
            meta=dict(epoch=runner.epoch, iter=runner.iter),
            by_epoch=False,
        )
        if is_main_process() and previous and Path(previous) != path:
            remove_file(previous)
        runner.logger.info(f'best {key} so far, {score:.4f}: {path.name}')
        return True

    def _publish_model(self, runner: ActionRunner, ckpt_path: str) -> None:
        """Write a copy with the published keys only, its hash in its name."""
        if not is_main_process():
            return
        import hashlib

        checkpoint = load_checkpoint_file(ckpt_path)
        kept = {
            key: value for key, value in checkpoint.items() if key in (self.published_keys or ())
        }
        # Its name needs its content: written here first, wherever it goes.
        with tempfile.TemporaryDirectory() as folder:
            temporary = Path(folder, 'published.pth')
            save_checkpoint_file(kept, temporary)
            content = temporary.read_bytes()
        digest = hashlib.sha256(content).hexdigest()[:8]
        final = Path(ckpt_path).with_name(f'{Path(ckpt_path).stem}-{digest}.pth')
        write_bytes(final, content, durable=True)
        runner.logger.info(f'published as {final.name}')
