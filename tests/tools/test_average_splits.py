"""average_splits.py: the mean of what tests of several splits gave."""

import json
import re
import sys

import pytest

from tools.analysis_tools import average_splits


@pytest.fixture
def results(tmp_path):
    """Work dirs of three tests, as tools/test.py leaves them."""
    folders = []
    for split, (top1, top5) in enumerate([(0.75, 1.0), (0.70, 0.9), (0.80, 0.95)], start=1):
        folder = tmp_path / f'split {split}'
        folder.mkdir()
        facts = dict(config='c.py', checkpoint='x.pth', clips=1530, unreadable=[])
        (folder / 'metrics.json').write_text(
            json.dumps(dict(top1_acc=top1, top5_acc=top5, **facts))
        )
        folders.append(folder)
    return folders


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, 'argv', ['average_splits.py', *map(str, arguments)])
    average_splits.main()


def test_means_of_folders_and_files(results, monkeypatch, capsys, tmp_path):
    first, *rest = results
    run(monkeypatch, first / 'metrics.json', *rest, '--out', tmp_path / 'mean.json')
    assert capsys.readouterr().out.splitlines() == [
        'top1_acc: 0.7500 (0.7500, 0.7000, 0.8000)',
        'top5_acc: 0.9500 (1.0000, 0.9000, 0.9500)',
    ]
    written = json.loads((tmp_path / 'mean.json').read_text())
    assert written['top1_acc'] == dict(mean=pytest.approx(0.75), splits=[0.75, 0.7, 0.8])


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda f: f[0].joinpath('metrics.json').unlink(), 'there is no .*split 1/metrics.json'),
        (lambda f: f[1].joinpath('metrics.json').write_text('{'), 'split 2.* is not the metrics'),
        (lambda f: f[1].joinpath('metrics.json').write_text('[]'), 'it holds no figure'),
        (
            lambda f: f[2].joinpath('metrics.json').write_text('{"mAP": 0.5}'),
            "has the metrics .'mAP'",
        ),
        (lambda f: f.append(f[0] / 'metrics.json'), 'split 1/metrics.json is given twice'),
    ],
)
def test_errors_are_one_line(results, change, message, monkeypatch, capsys):
    change(results)
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, *results)
    told = f'{ended.value} {capsys.readouterr().err}'
    assert len(told.strip().splitlines()) == 1
    assert re.search(message, told)
