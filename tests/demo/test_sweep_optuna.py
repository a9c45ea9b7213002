"""demo/sweep_optuna.py: trials of a real training, searched further when run again."""

import pytest

from demo import sweep_optuna
from mmaction.config.load import load_config
from mmaction.data_preparation.motion_digits import build
from tests.processes import Forked, context

optuna = pytest.importorskip('optuna')


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp('sweep') / 'digits'
    build(folder, 8, 8, workers=1)
    return folder


@pytest.fixture
def sweep(data, tmp_path):
    """Add trials to one study, which is returned."""

    def run(trials):
        sweep_optuna.main(
            ['dualformer_pico_motion_digits', '--work-dir', str(tmp_path / 'w')]
            + ['--trials', str(trials), '--cfg-options', f'data_root={data}']
            + ['train_cfg.max_epochs=2', 'train_cfg.val_interval=1', 'custom_hooks=[]']
            + [f'{split}_dataloader.num_workers=0' for split in ('train', 'val', 'test')]
        )
        return trials_of(tmp_path / 'w')

    return run


def trials_of(folder):
    journal = optuna.storages.journal.JournalFileBackend(str(folder / 'sweep.log'))
    storage = optuna.storages.JournalStorage(journal)
    return optuna.load_study(study_name='sweep', storage=storage).trials


def test_what_is_searched_are_keys_of_the_config():
    values = dict(lr=3e-4, wd=0.01, dropout=0.2)
    options = sweep_optuna.suggest(optuna.trial.FixedTrial(values))
    cfg = load_config('dualformer_pico_motion_digits', options)
    assert cfg.optim_wrapper.optimizer.lr == 3e-4
    assert cfg.optim_wrapper.optimizer.weight_decay == 0.01
    assert cfg.model.cls_head.dropout_ratio == 0.2


def test_processes_that_start_together_share_the_study_and_draw_other_values(tmp_path):
    together = context.Barrier(4)
    forked = Forked(add_trials, (tmp_path / 'w', together), tmp_path / 'output', processes=4)
    forked.check()
    trials = trials_of(tmp_path / 'w')
    assert sorted(trial.number for trial in trials) == list(range(8))
    assert len({trial.params['lr'] for trial in trials}) == 8


def add_trials(folder, together):
    sweep_optuna.run_trial = lambda trial, args: sweep_optuna.suggest(trial)[
        'optim_wrapper.optimizer.lr'
    ]
    together.wait()
    sweep_optuna.main(['dualformer_pico_motion_digits', '--work-dir', str(folder), '--trials', '2'])


@pytest.mark.slow
def test_trials_train_with_other_values_and_add_up(sweep, tmp_path, capsys, monkeypatch):
    one, two = sweep(2)
    assert one.params['lr'] != two.params['lr']
    for trial in (one, two):
        assert trial.value == max(trial.intermediate_values.values())
        assert list(trial.intermediate_values) == [1, 2]  # epochs
        text = next((tmp_path / 'w' / f'trial_{trial.number}').glob('*.py')).read_text()
        assert f'lr={trial.params["lr"]!r}' in text
    assert '2 complete' in capsys.readouterr().out

    monkeypatch.setattr(optuna.Trial, 'should_prune', lambda self: True)
    trials = sweep(1)
    assert [trial.state.name for trial in trials] == ['COMPLETE', 'COMPLETE', 'PRUNED']
    assert list(trials[2].intermediate_values) == [1]
    assert 'best: trial' in capsys.readouterr().out
