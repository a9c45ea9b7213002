"""Naming and counting the clips that could not be read."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mmengine.dist import get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.hooks.hook import DATA_BATCH

from mmaction.datasets import reading_report
from mmaction.distributed.collectives import gather_objects
from mmaction.registry import HOOKS
from mmaction.utils.plurals import how_many

if TYPE_CHECKING:
    from mmaction.engine.runner.runner import ActionRunner

__all__ = ['UnreadableClipsHook']


@dataclass
class _Found:
    """Files met since they were last told, each with the reason, and how often."""

    files: dict[str, str] = field(default_factory=dict)
    count: int = 0

    def add(self, files: list[tuple[str, str]]) -> None:
        self.files.update(files)
        self.count += len(files)


@HOOKS.register_module()
class UnreadableClipsHook(Hook):
    """Name each clip that could not be read once, and count them per epoch.

    All of them stand in `unreadable.txt` of the work dir, a line `path<TAB>reason`
    each; a resumed run goes on with that list. Files that another decoder could not read,
    but PyAV could, are named and counted too, and not listed.

    Args:
        interval: Iterations between two times that processes tell each other
            what they found; a single process tells at once.
    """

    priority = 'LOW'

    def __init__(self, interval: int = 50) -> None:
        self.interval = interval
        self._unreadable, self._fallback = _Found(), _Found()
        self._counts = [0, 0]
        self._named: set[str] = set()

    def before_run(self, runner: ActionRunner) -> None:
        """Read the list of a run that is resumed."""
        path = self._list_of(runner)
        if is_main_process() and path.exists():
            lines = path.read_text(encoding='utf-8', errors='surrogateescape').splitlines()
            self._named |= {line.split('\t')[0] for line in lines}

    @staticmethod
    def _list_of(runner: ActionRunner) -> Path:
        return Path(runner.work_dir, 'unreadable.txt')

    def _after_iter(
        self,
        runner: ActionRunner,
        batch_idx: int,
        data_batch: DATA_BATCH = None,
        outputs: object = None,
        mode: str = 'train',
    ) -> None:
        """Take note of a batch; in training processes have equally many, and may tell together."""
        report = reading_report(data_batch)
        self._unreadable.add(report.replaced + report.unreadable)
        self._fallback.add(report.fallback)
        together = mode == 'train' and self.every_n_inner_iters(batch_idx, self.interval)
        if together or get_world_size() == 1:
            self._tell(runner)

    def after_train_epoch(self, runner: ActionRunner) -> None:
        """Tell of the epoch."""
        self._sum_up(runner, f'epoch {runner.epoch + 1}', 'replaced by others')

    def after_val_epoch(
        self, runner: ActionRunner, metrics: dict[str, float] | None = None
    ) -> None:
        """Tell of the validation."""
        self._sum_up(runner, f'validation at step {runner.iter}', 'counted as wrong')

    def after_test_epoch(
        self, runner: ActionRunner, metrics: dict[str, float] | None = None
    ) -> None:
        """Tell of the test."""
        self._sum_up(runner, 'test', 'counted as wrong')

    def _tell(self, runner: ActionRunner) -> None:
        """Name the files of all processes that are new."""
        parts = gather_objects((self._unreadable, self._fallback))
        self._unreadable, self._fallback = _Found(), _Found()
        for unreadable, fallback in parts or ():
            self._counts[0] += unreadable.count
            self._counts[1] += fallback.count
            new = self._name(unreadable.files)
            for name, reason in new.items():
                runner.logger.warning(f'cannot be read: {name} ({reason})')
            if new:
                with self._list_of(runner).open(
                    'a', encoding='utf-8', errors='surrogateescape'
                ) as file:
                    file.writelines(f'{name}\t{reason}\n' for name, reason in new.items())
            for name, reason in self._name(fallback.files).items():
                runner.logger.warning(
                    f'read by PyAV, because the decoder failed: {name} ({reason})'
                )

    def _name(self, files: dict[str, str]) -> dict[str, str]:
        """The files that no earlier warning named."""
        new = {name: reason for name, reason in files.items() if name not in self._named}
        self._named |= set(new)
        return new

    def _sum_up(self, runner: ActionRunner, when: str, what: str) -> None:
        """Say how many there were; `when` also tells equal counts apart for the logger."""
        self._tell(runner)
        unreadable, fallback = self._counts
        self._counts = [0, 0]
        if unreadable:
            runner.logger.warning(
                f'{when}: {how_many(unreadable, "clip")} could not be read, {what}; all '
                f'such files: {self._list_of(runner)}'
            )
        if fallback:
            runner.logger.warning(
                f'{when}: {how_many(fallback, "clip")} read by PyAV, because the decoder failed'
            )
