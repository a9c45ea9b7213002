"""Scripts that compare trainings: each tiny here; what is done is not done again."""

import json

import pytest
from baselines import main as compare_baselines
from baselines import table
from experiments import cell, run_missing
from small_batches import main as compare_rates
from small_batches import rule_options
from transfer import METHODS
from transfer import main as compare_transfer


def test_done_runs_are_kept(tmp_path):
    asked = []

    def run(key):
        asked.append(key)
        if key == 'c':
            raise KeyboardInterrupt
        return dict(accuracy=0.5)

    path = tmp_path / 'results.json'
    with pytest.raises(KeyboardInterrupt):
        run_missing(path, 'abc', run)
    assert json.loads(path.read_text()) == dict(a=dict(accuracy=0.5), b=dict(accuracy=0.5))
    assert set(run_missing(path, 'abd', run)) == set('abd')
    assert asked == ['a', 'b', 'c', 'd']


def test_cell_gives_mean_and_spread():
    assert cell([]) == '-'
    assert cell([0.5]) == '50.0'
    assert cell([0.5, 0.6]) == '55.0 ± 7.1'


@pytest.mark.parametrize(
    ('rule', 'rate'),
    [('linear', 1e-3 / 16), ('sqrt', 1e-3 / 4), ('unscaled', 1e-3), ('finetune', 3.5e-4)],
)
def test_rules_scale_the_rate(rule, rate):
    options = rule_options(rule, 4)
    assert options['optim_wrapper.optimizer.lr'] == pytest.approx(rate)
    assert ('optim_wrapper.paramwise_cfg' in options) == (rule != 'finetune')


@pytest.mark.parametrize('compare', [compare_rates, compare_transfer])
def test_fewer_clips_than_are_to_be_drawn(tmp_path, capsys, compare):
    with pytest.raises(SystemExit):
        compare(['--work-dir', str(tmp_path / 'w'), '--few', '5', '--clips', '2'])
    assert '--few 5: there are only --clips 2 of each class' in capsys.readouterr().err
    assert not (tmp_path / 'w').exists()


def test_time_of_a_run_that_was_stopped_does_not_count():
    row = dict(accuracy=0.5, epochs=2, parameters=10**6, gflops=1.0)
    results = {'pico/digits/0': dict(row, seconds=300.0), 'pico/digits/1': dict(row, seconds=None)}
    assert '| 1.00 M | 1.000 | 2 | 300 s | 50.0 ± 0.0 (2 seeds) | - |' in table(results)
    del results['pico/digits/0']
    assert '| 2 | - | 50.0 (1 seed) | - |' in table(results)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_rates_of_small_batches_end_to_end(tmp_path, capsys):
    words = ['--work-dir', str(tmp_path / 'w'), '--batches', '4', '--seeds', '0', '--clips', '4']
    words += ['--few', '2', '--val-clips', '1', '--pretrain-epochs', '1', '--epochs', '1']
    words += ['--rules', 'linear', 'frozen', 'decay']
    compare_rates(words)
    results = json.loads((tmp_path / 'w' / 'results.json').read_text())
    assert len(results) == 6
    table = (tmp_path / 'w' / 'table.md').read_text()
    assert table.count('| batch 4 |') == 2
    capsys.readouterr()
    compare_rates(words)
    assert 'Epoch(train)' not in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_baselines_end_to_end(tmp_path):
    words = ['--work-dir', str(tmp_path / 'w'), '--seeds', '0', '--clips', '16']
    compare_baselines([*words, '--val-clips', '12', '--epochs', '1'])
    table = (tmp_path / 'w' / 'table.md').read_text()
    assert table.count('(1 seed)') == 10


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_transfer_end_to_end(tmp_path, capsys):
    words = ['--work-dir', str(tmp_path / 'w'), '--seeds', '0', '--clips', '4', '--few', '2']
    words += ['--val-clips', '2', '--pretrain-epochs', '1', '--epochs', '1']
    compare_transfer([*words, '--methods', 'full', 'knn'])
    capsys.readouterr()
    compare_transfer(words)
    assert 'full/0' not in capsys.readouterr().out  # done, so not done again
    results = json.loads((tmp_path / 'w' / 'results.json').read_text())
    assert sorted(results) == sorted(f'{method}/0' for method in METHODS)
    assert all(0 <= row['accuracy'] <= 1 for row in results.values())
    assert results['lora/0']['trained'] < results['full/0']['trained']
    table = (tmp_path / 'w' / 'table.md').read_text()
    assert [line.split()[1] for line in table.splitlines()[2:]] == list(METHODS)
