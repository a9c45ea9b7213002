import pytest

from tests.data_preparation.preparing import kinetics, put, run, touch


def fails(capsys, root, *options, dataset='kinetics400'):
    with pytest.raises(SystemExit) as caught:
        run(root, dataset, *options)
    assert caught.value.code
    return capsys.readouterr().err


def test_duplicate_file_is_reported(tmp_path, capsys):
    kinetics(tmp_path, ['x,a,0,1'])
    put(tmp_path / 'annotations', {'one/test.csv': '', 'two/test.csv': ''})
    touch(tmp_path / 'videos', 'a_000000_000001.mp4')
    error = fails(capsys, tmp_path)
    assert "one/test.csv' and '" in error
    assert 'could both be meant' in error
