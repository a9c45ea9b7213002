"""Search hyper-parameters with Optuna: an example to copy and change.

    pip install optuna
    python demo/sweep_optuna.py CONFIG --trials 20 [--work-dir work_dirs/sweep]

Each trial trains CONFIG with the values of `suggest` and is judged by the validation accuracy;
a trial that is behind the median of earlier ones is ended early. Trials are kept in sweep.log of
the work dir: run again, it adds trials to them, and several processes may share them.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mmaction.utils.cli import add_cfg_options, check_files, user_errors

METRIC = 'acc/top1'


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config file')
    parser.add_argument('--trials', type=int, default=20, help='to add (%(default)s)')
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/sweep'))
    add_cfg_options(parser)
    return parser.parse_args(arguments)


def suggest(trial: Any) -> dict[str, Any]:
    """What is searched: any keys of the config."""
    return {
        'optim_wrapper.optimizer.lr': trial.suggest_float('lr', 1e-4, 1e-2, log=True),
        'optim_wrapper.optimizer.weight_decay': trial.suggest_float('wd', 1e-3, 0.3, log=True),
        'model.cls_head.dropout_ratio': trial.suggest_categorical('dropout', [0.0, 0.2, 0.5]),
    }


def run_trial(trial: Any, args: argparse.Namespace) -> float:
    """Train with the suggested values; the best validation accuracy."""
    import optuna
    from mmengine.hooks import Hook

    from mmaction.config.load import load_config
    from mmaction.distributed.launch import init_processes
    from mmaction.engine.runner import ActionRunner

    class ReportHook(Hook):
        """Tell Optuna each validation, and end the trial where it is behind."""

        best = 0.0

        def after_val_epoch(self, runner: Any, metrics: Any = None) -> None:
            """Report."""
            self.best = max(self.best, metrics[METRIC])
            trial.report(metrics[METRIC], runner.epoch)
            if trial.should_prune():
                raise optuna.TrialPruned

    cfg = load_config(args.config, args.cfg_options)
    cfg.merge_from_dict(suggest(trial))
    cfg.work_dir = str(args.work_dir / f'trial_{trial.number}')
    cfg.experiment_name = f'{args.work_dir.name}_{trial.number}'
    cfg.launcher = init_processes('none').launcher
    report = ReportHook()
    runner = ActionRunner.from_cfg(cfg)
    runner.register_hook(report)
    runner.train()
    if runner.stop_signal is not None:
        trial.study.stop()
        raise optuna.TrialPruned
    return report.best


def main(arguments: list[str] | None = None) -> None:
    """Add trials to the study and print the best."""
    args = parse_args(arguments)
    check_files(args, 'config')
    with user_errors(setup=True):
        try:
            import optuna
            from optuna.storages.journal import JournalFileBackend
        except ImportError:
            raise ModuleNotFoundError('Optuna is missing: pip install optuna') from None

        args.work_dir.mkdir(parents=True, exist_ok=True)
        journal = args.work_dir / 'sweep.log'
        study = optuna.create_study(
            study_name='sweep',
            # Not SQLite: two processes that start together would both make its tables.
            storage=optuna.storages.JournalStorage(JournalFileBackend(str(journal))),
            load_if_exists=True,
            direction='maximize',
            # Without a seed, lest processes that share the study draw the same values.
            sampler=optuna.samplers.TPESampler(),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=4),
        )
        with user_errors(setup=False):
            study.optimize(lambda trial: run_trial(trial, args), n_trials=args.trials)
        states = [trial.state.name.lower() for trial in study.trials]
        print(', '.join(f'{states.count(state)} {state}' for state in dict.fromkeys(states)))
        if 'complete' in states:
            best = study.best_trial
            print(f'best: trial {best.number}, {METRIC} {best.value:.4f}, {best.params}')


if __name__ == '__main__':
    main()
