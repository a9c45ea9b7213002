import pytest

from tests.data_preparation.preparing import dropped, fails, lines, put, run, table, touch

UCF = {
    'classInd.txt': '1 Biking\r\n2 HandstandPushups\r\n3 PlayingCello\r\n',
    **{
        f'{part}list0{split}.txt': 'Biking/v_Biking_g09_c01.avi 1\r\n'
        'HandstandPushups/v_HandStandPushups_g08_c01.avi 2\r\n'
        for part in ('train', 'test')
        for split in (1, 2, 3)
    },
    'testlist01.txt': 'Biking/v_Biking_g01_c01.avi\r\n'
    'HandstandPushups/v_HandStandPushups_g01_c02.avi\r\n'
    'PlayingCello/v_PlayingCello_g01_c01.avi\r\n',
}


def test_ucf101(tmp_path, capsys):
    put(tmp_path / 'annotations' / 'ucfTrainTestlist', UCF)
    folder = 'UCF-101/HandstandPushups'
    # A copy on which somebody has made the names agree.
    touch(tmp_path / 'videos', 'UCF-101/Biking/v_Biking_g09_c01.avi')
    touch(tmp_path / 'videos', f'{folder}/v_HandstandPushups_g08_c01.avi')
    touch(tmp_path / 'videos', f'{folder}/v_HandStandPushups_g01_c02.avi')
    out = run(tmp_path, 'ucf101')
    assert lines(out / 'classes.txt') == ['Biking', 'HandstandPushups', 'PlayingCello']
    assert lines(out / 'train_split3.txt') == [
        'UCF-101/Biking/v_Biking_g09_c01.avi 0',
        f'{folder}/v_HandstandPushups_g08_c01.avi 1',
    ]
    assert lines(out / 'test_split1.txt') == [f'{folder}/v_HandStandPushups_g01_c02.avi 1']
    assert [row for row in dropped(out / 'dropped.tsv') if row[0] == 'test_split1'] == [
        ('test_split1', 'missing', f'{name}', f'no {name!r} among the clips')
        for name in ('Biking/v_Biking_g01_c01', 'PlayingCello/v_PlayingCello_g01_c01')
    ]
    assert table(out / 'summary.txt')['test_split1'] == ['3783', '3', '-3780', '1', '2', '0', '0']


@pytest.mark.parametrize(
    ('name', 'text', 'message'),
    [
        ('classInd.txt', '0 Biking\n', "classInd.txt:1: expected '1 Class', found '0 Biking'"),
        ('trainlist02.txt', 'Biking/a.avi 2\n', "02.txt:1: label 2 is not that of 'Biking' (1)"),
        ('testlist03.txt', 'a.avi\n', "testlist03.txt:1: expected 'Class/clip.avi 1'"),
        ('trainlist01.txt', 'biking/a.avi 1\n', "has no class 'biking'; 'Biking' is one"),
    ],
)
def test_ucf101_malformed(tmp_path, capsys, name, text, message):
    put(tmp_path / 'annotations', {**UCF, name: text})
    touch(tmp_path / 'videos', 'Biking/v_Biking_g09_c01.avi')
    assert message in fails(capsys, tmp_path, 'ucf101')
