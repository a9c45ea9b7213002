import pytest

from tests.data_preparation.preparing import images, put, run


def fails(capsys, root, *options, dataset='kinetics400'):
    with pytest.raises(SystemExit) as caught:
        run(root, dataset, *options)
    assert caught.value.code
    return capsys.readouterr().err


def test_unlistable_file_name_is_reported(tmp_path, capsys):
    put(
        tmp_path / 'annotations',
        {
            'moments_categories.txt': 'x,0\n',
            'trainingSet.csv': 'x/a 7,0\n',
            'validationSet.csv': 'x/b,0\n',
        },
    )
    images(tmp_path / 'videos', 'x/a 7', 'x/b')
    error = fails(capsys, tmp_path, '--frames', dataset='mmit')
    assert "'x/a 7' cannot stand in a list, where it reads as 'x/a': rename it" in error
