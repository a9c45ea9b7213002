import pytest

from mmaction.datasets.annotations import ListFormat, read_list
from mmaction.utils.class_names import class_names_beside
from tests.data_preparation.preparing import dropped, fails, lines, put, run, table, touch

HEAD = 'label,youtube_id,time_start,time_end,split'


def test_kinetics400(tmp_path, capsys):
    # The crawler's form: `is_cc`, quoted labels; DeepMind's validate.csv; a test list of ids.
    put(
        tmp_path / 'annotations',
        {
            'kinetics_train.csv': f'{HEAD},is_cc\n'
            '"air drumming",AbCdEfGhIjK,31,41,train,0\n'
            '"massaging person\'s head",-bCdEfGhIjK,0,10,train,0\n'
            '"passing American football (in game)",--CdEfGhIjK,5,15,train,0\n'
            '"""abseiling""",aBcDeFgHiJk,5,15,train,0\n',
            'kinetics400/validate.csv': f'{HEAD}\r\n'
            'abseiling,idOnlyInVal,10.0,20.0,val\r\nabseiling,idOnlyInVal,10,20,val\r\n'
            'air drumming,twiceInHere,1,11,val\r\n'
            'air drumming,twiceInHere,20,30,val\r\n',
            'test.csv': 'youtube_id,time_start,time_end,split\n-_testclip1,000007,000017,test\n',
        },
    )
    touch(
        tmp_path / 'videos',
        'videos_train/air_drumming/AbCdEfGhIjK_000031_000041.mp4',
        "videos_train/massaging person's head/-bCdEfGhIjK_000000_000010.mkv",
        'videos_train/--CdEfGhIjK_000005_000015.mp4.webm',
        'videos_val/idOnlyInVal.mp4',
        'videos_val/twiceInHere.mp4',
        'test/-_testclip1_000007_000017.mp4',
        # A corrupt clip whose replacement lies beside; ids differ in capitals.
        'videos_train/abseiling/aBcDeFgHiJk_000005_000015.mp4',
        'replacement_for_corrupted_k400/aBcDeFgHiJk_000005_000015.mp4',
        'videos_train/abseiling/AbCdEfGhIjK_000005_000015.mp4',
    )
    out = run(tmp_path, 'kinetics400')
    names = lines(out / 'classes.txt')
    assert names == [
        'abseiling',
        'air drumming',
        "massaging person's head",
        'passing American football (in game)',
    ]
    assert lines(out / 'train.txt') == [
        'videos_train/air_drumming/AbCdEfGhIjK_000031_000041.mp4 1',
        "videos_train/massaging person's head/-bCdEfGhIjK_000000_000010.mkv 2",
        'videos_train/--CdEfGhIjK_000005_000015.mp4.webm 3',
        'replacement_for_corrupted_k400/aBcDeFgHiJk_000005_000015.mp4 0',
    ]
    assert lines(out / 'val.txt') == ['videos_val/idOnlyInVal.mp4 0']
    assert lines(out / 'test.txt') == ['test/-_testclip1_000007_000017.mp4']
    # Without times a name does not tell which of two clips of a video it is.
    assert [row[:3] for row in dropped(out / 'dropped.tsv')] == [
        ('val', 'left out', 'videos_val/idOnlyInVal.mp4'),
        ('val', 'missing', 'air_drumming/twiceInHere_000001_000011'),
        ('val', 'missing', 'air_drumming/twiceInHere_000020_000030'),
    ]
    assert table(out / 'summary.txt') == {
        'train': ['246534', '4', '-246530', '4', '0', '0', '0'],
        'val': ['19906', '4', '-19902', '1', '2', '0', '1'],
        'test': ['39805', '1', '-39804', '1', '0', '0', '0'],
    }
    printed = capsys.readouterr()
    assert '3 clips in' in printed.out
    assert 'warning: 4 classes, official are 400: is this another edition' in printed.err
    # The paths of the list open, and lead to files.
    for entry in read_list(str(out / 'train.txt'), ListFormat('filename', num_classes=4)):
        assert (tmp_path / 'videos' / entry['filename']).exists()
    assert class_names_beside(str(out / 'train.txt')) == names


def test_kinetics600_reads_cvdf_txt_but_not_our_lists(tmp_path, capsys):
    put(
        tmp_path / 'annotations',
        {
            'train.txt': f'{HEAD}\npassing american football (not in game),id1,0,10,train\n'
            'abseiling,id2,0,10,train\n',
            'train.csv': f'{HEAD}\nabseiling,id2,0,10,train\n',
            'val.csv': f'{HEAD}\nabseiling,id3,0,10,val\n',
            'test.csv': f'{HEAD}\nabseiling,id4,0,10,test\n',
        },
    )
    touch(tmp_path / 'videos', *(f'id{i}_000000_000010.mp4' for i in (1, 2, 3, 4)))
    options = ('--out', tmp_path / 'annotations' / 'lists')
    run(tmp_path, 'kinetics600', *options)
    out = tmp_path / 'annotations' / 'lists'
    assert lines(out / 'train.txt') == ['id1_000000_000010.mp4 1', 'id2_000000_000010.mp4 0']
    assert lines(out / 'val.txt') == ['id3_000000_000010.mp4 0']
    # DeepMind's test list of this edition has labels.
    assert lines(out / 'test.txt') == ['id4_000000_000010.mp4 0']
    run(tmp_path, 'kinetics600', *options)
    (tmp_path / 'annotations' / 'train.txt').unlink()
    run(tmp_path, 'kinetics600', *options, '--overwrite')
    assert lines(out / 'train.txt') == ['id2_000000_000010.mp4 0']
    assert 'lists/train.txt' not in capsys.readouterr().out.partition('read: ')[2]


@pytest.mark.parametrize('dataset', ['kinetics700', 'kinetics700_2020'])
def test_kinetics700_validation_alone(tmp_path, capsys, dataset):
    number = dataset[8:]
    put(tmp_path / 'annotations', {f'kinetics{number}_val.csv': f'{HEAD}\nabseiling,a,1,11,val\n'})
    touch(tmp_path / 'videos', 'a_000001_000011.mp4')
    out = run(tmp_path, dataset)
    assert lines(out / 'val.txt') == ['a_000001_000011.mp4 0']
    assert 'there is no training list: the classes are those of' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('label,id\nabseiling,a\n', 'train.csv:1: expected a header with youtube_id,time_start'),
        (f'{HEAD}\nabseiling,a,x,10,train\n', 'train.csv:2: expected time_start and time_end'),
        (f'{HEAD}\nabseiling,a,0\n', 'train.csv:2: expected 5 fields'),
        (f'{HEAD}\n', 'there are no class names'),
    ],
)
def test_kinetics_malformed(tmp_path, capsys, text, message):
    put(tmp_path / 'annotations', {'train.csv': text})
    touch(tmp_path / 'videos', 'a.mp4')
    assert message in fails(capsys, tmp_path, 'kinetics400')


def test_kinetics_labels_of_another_edition(tmp_path, capsys):
    put(
        tmp_path / 'annotations',
        {
            'train.csv': f'{HEAD}\nmaking a bed,a,0,10,train\n',
            'val.csv': f'{HEAD}\nmaking bed,b,0,10,val\n',
        },
    )
    touch(tmp_path / 'videos', 'a_000000_000010.mp4')
    assert 'val.csv:2: ' in fails(capsys, tmp_path, 'kinetics700')
