import pytest

from tests.data_preparation.preparing import fails, lines, put, run, table, touch


def test_diving48(tmp_path, capsys):
    put(
        tmp_path / 'annotations',
        {
            'Diving48_train.json': [],
            'Diving48_vocab.json': [
                ['Back', '15som', '05Twis', 'FREE'],
                ['Forward', '15som', 'NoTwis', 'PIKE'],
            ],
        },
    )
    touch(tmp_path / 'videos', 'rgb/-bCdEfGhIjK_00012.mp4', 'rgb/AbCdEfGhIjK_00013.mp4')
    assert 'the noisy labels of V1' in fails(capsys, tmp_path, 'diving48')
    put(
        tmp_path / 'annotations',
        {
            'Diving48_V2_train.json': [
                {'vid_name': '-bCdEfGhIjK_00012', 'label': 1, 'start_frame': 0, 'end_frame': 61}
            ],
            'Diving48_V2_test.json': [
                {'vid_name': 'AbCdEfGhIjK_00013', 'label': 0, 'start_frame': 0, 'end_frame': 9}
            ],
        },
    )
    out = run(tmp_path, 'diving48')
    assert lines(out / 'classes.txt') == ['Back 15som 05Twis FREE', 'Forward 15som NoTwis PIKE']
    assert lines(out / 'train.txt') == ['rgb/-bCdEfGhIjK_00012.mp4 1']
    assert lines(out / 'test.txt') == ['rgb/AbCdEfGhIjK_00013.mp4 0']
    assert table(out / 'summary.txt')['test'] == ['1970', '1', '-1969', '1', '0', '0', '0']
    put(tmp_path / 'annotations', {'Diving48_V2_test.json': [{'vid_name': 'A', 'label': 48}]})
    with pytest.raises(SystemExit):
        run(tmp_path, 'diving48')
    assert 'entry 0: label 48 is outside the 2 classes' in capsys.readouterr().err
