"""What all preparations of datasets share: accounts of every row, checks, going on."""

import json
import subprocess
import sys
from pathlib import Path

from mmaction.cli import prepare_dataset as prepare
from tests.data_preparation.preparing import error_of, kinetics, lines, put, run, touch

ROOT = Path(__file__).parents[2]


def test_custom_class_order(tmp_path, capsys):
    kinetics(tmp_path, ['x,a,0,1', 'y,b,0,1'], ['y,c,0,1'])
    touch(tmp_path / 'videos', *(f'{name}_000000_000001.mp4' for name in 'abc'))
    file = tmp_path / 'names.txt'
    file.write_text('y\r\nx\r\n')
    out = run(tmp_path, 'kinetics400', '--classes', file)
    assert lines(out / 'classes.txt') == ['y', 'x']
    assert lines(out / 'train.txt') == ['a_000000_000001.mp4 1', 'b_000000_000001.mp4 0']
    assert f'in the order of that of {file}' in capsys.readouterr().out
    file.write_text('y\nz\n')
    assert "not the classes of the annotation: 'x' is in one of them only" in error_of(
        capsys, tmp_path, '--classes', file
    )
    file.write_text('y\nx\nx\n')
    assert 'a class is there twice' in error_of(capsys, tmp_path, '--classes', file)


def test_foreign_lists_are_not_overwritten(tmp_path, capsys):
    kinetics(tmp_path, ['x,a,0,1'], ['x,c,0,1'])
    touch(tmp_path / 'videos', *(f'{name}_000000_000001.mp4' for name in 'abc'))
    put(tmp_path / 'out', {'classes.txt': 'mine\n'})
    assert 'holds lists that were made otherwise' in error_of(capsys, tmp_path)
    assert lines(tmp_path / 'out' / 'classes.txt') == ['mine']
    (tmp_path / 'out' / 'classes.txt').unlink()
    put(tmp_path / 'out', {'val.txt': 'mine 0\n'})
    assert 'lists that were made otherwise (val.txt)' in error_of(capsys, tmp_path)
    assert lines(tmp_path / 'out' / 'val.txt') == ['mine 0']
    out = run(tmp_path, 'kinetics400', '--overwrite')
    assert lines(out / 'classes.txt') == ['x']
    error = error_of(capsys, tmp_path, dataset='kinetics700')
    assert "was made with {'dataset': 'kinetics400'}" in error
    # More clips on the disk are no reason to ask.
    kinetics(tmp_path, ['x,a,0,1', 'x,b,0,1'], ['x,c,0,1'])
    run(tmp_path, 'kinetics400')
    assert len(lines(out / 'train.txt')) == 2
    # A list that has no clip any more does not stay.
    (tmp_path / 'videos' / 'c_000000_000001.mp4').unlink()
    run(tmp_path, 'kinetics400')
    assert not (out / 'val.txt').exists()
    kinetics(tmp_path, ['x,a,0,1', 'y,b,0,1'], ['x,c,0,1'])
    assert 'has other classes' in error_of(capsys, tmp_path)
    assert len(lines(out / 'train.txt')) == 2


def test_wrong_folder_is_reported(tmp_path, capsys):
    kinetics(tmp_path, ['x,a,0,1'])
    assert f'there is no folder {tmp_path / "videos"}' in error_of(capsys, tmp_path)
    (tmp_path / 'videos').mkdir()
    assert 'add --frames' in error_of(capsys, tmp_path)
    assert 'there are no folders of images' in error_of(capsys, tmp_path, '--frames')
    touch(tmp_path / 'videos', 'other.mp4')
    error = error_of(capsys, tmp_path)
    assert "looked for names such as 'x/a_000000_000001', 'x/val0_000000_000010'" in error
    assert "found 'other.mp4'" in error
    assert not (tmp_path / 'out' / 'classes.txt').exists()
    error = error_of(capsys, tmp_path, '--annotations', tmp_path / 'nowhere')
    assert f'there is no folder {tmp_path / "nowhere"}' in error
    error = error_of(capsys, tmp_path, '--annotations', tmp_path / 'videos')
    assert 'there is no train.csv or validate.csv in' in error
    assert 'docs/data_preparation.md' in error


def test_lists_are_kept_if_no_clip_is_readable(tmp_path, capsys):
    kinetics(tmp_path, ['x,a,0,1'])
    touch(tmp_path / 'videos', 'a_000000_000001.mp4')
    out = run(tmp_path, 'kinetics400')
    error = error_of(capsys, tmp_path, '--check')
    assert "no clip can be read, starting with 'a_000000_000001.mp4': " in error
    assert lines(out / 'train.txt') == ['a_000000_000001.mp4 0']


def test_conflicting_options_are_errors(tmp_path, capsys):
    assert '--quick is for --check' in error_of(capsys, tmp_path, '--quick', status=2)
    assert '--trim is for videos of activitynet' in error_of(capsys, tmp_path, '--trim', status=2)
    error = error_of(capsys, tmp_path, '--classes', 'x', '--class-order', 'alphabetical', status=2)
    assert 'exclude each other' in error
    touch(tmp_path / 'annotations', 'x')
    touch(tmp_path / 'videos', 'x')
    error = error_of(capsys, tmp_path, '--class-order', 'alphabetical', dataset='hvu')
    assert 'has no other order of classes than mmaction2' in error


def test_command_works_from_any_folder(tmp_path):
    kinetics(tmp_path, ['x,-a,0,1'], ['x,b,0,1'])
    touch(tmp_path / 'videos', '-a_000000_000001.mp4', 'b_000000_000001.mp4')
    command = [sys.executable, ROOT / 'tools' / 'data' / 'prepare.py', 'kinetics400']
    for name in ('annotations', 'videos', 'out'):
        command += [f'--{name}', name]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert 'look for files: 2file' in done.stderr
    assert lines(tmp_path / 'out' / 'train.txt') == ['-a_000000_000001.mp4 0']
    assert json.loads((tmp_path / 'out' / 'prepare.json').read_text()) == {'dataset': 'kinetics400'}
    assert set(prepare.DATASETS.values()) == {
        path.stem for path in ROOT.glob('mmaction/data_preparation/readers/[a-z]*.py')
    }
