"""How a run was made, written into its work dir."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from mmengine.dist import is_main_process
from mmengine.hooks import Hook

from mmaction.engine.runner.data_check import splits_of
from mmaction.registry import HOOKS
from mmaction.utils.environment import facts_of_run
from mmaction.utils.io import write_json

if TYPE_CHECKING:
    from mmaction.engine.runner.runner import ActionRunner

__all__ = ['ProvenanceHook']


@HOOKS.register_module()
class ProvenanceHook(Hook):
    """Write `run.json` beside the log: command, versions, commit, seed, clips per split."""

    priority = 'VERY_HIGH'

    def before_run(self, runner: ActionRunner) -> None:
        """Write it."""
        if not is_main_process():
            return
        splits = {name: dataclasses.asdict(facts) for name, facts in splits_of(runner).items()}
        facts = facts_of_run(
            config=runner.cfg.filename,
            seed=runner.seed,
            processes=runner.world_size,
            splits=splits,
        )
        write_json(Path(runner.log_dir, 'run.json'), facts)
