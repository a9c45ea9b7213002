import pytest

from tests.data_preparation.preparing import fails, images, lines, put, run


def test_jester(tmp_path, capsys):
    put(
        tmp_path / 'annotations',
        {
            'jester-v1-labels.csv': 'Swiping Left\nSwiping Right\nStop Sign\n',
            'jester-v1-train.csv': '20417;Stop Sign\n34;Swiping Right\n',
            'jester-v1-validation.csv': '9;swiping left\n',
        },
    )
    images(tmp_path / 'videos', '20417', '34', '9', template='{:05}.jpg')
    assert 'validation.csv:1: ' in fails(capsys, tmp_path, 'jester', '--frames')
    put(tmp_path / 'annotations', {'jester-v1-validation.csv': '9;Swiping Left\n'})
    out = run(tmp_path, 'jester', '--frames')
    assert lines(out / 'train_rawframes.txt') == ['20417 3 2', '34 3 1']
    assert lines(out / 'val_rawframes.txt') == ['9 3 0']
    put(tmp_path / 'annotations', {'jester-v1-train.csv': '20417,Stop Sign\n'})
    with pytest.raises(SystemExit):
        run(tmp_path, 'jester', '--frames')
    assert "expected '40321;Name of the class'" in capsys.readouterr().err
