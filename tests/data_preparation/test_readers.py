"""Every dataset from made-up files in its official format, with the quirks that these have."""

import json
import re
import shlex
from pathlib import Path

import pytest

from mmaction.datasets.annotations import ListFormat, read_list
from mmaction.utils.class_names import class_names_beside
from tests.data_preparation.preparing import dropped, images, lines, put, run, table, touch
from tools.data import prepare

ROOT = Path(__file__).parents[2]


def fails(capsys, root, dataset, *options):
    with pytest.raises(SystemExit) as caught:
        run(root, dataset, *options)
    assert caught.value.code == 1
    assert not list(root.glob('out/*.txt'))
    return capsys.readouterr().err


@pytest.mark.parametrize('dataset', prepare.DATASETS)
def test_reader_states_published_sizes(dataset):
    reader = prepare.reader_of(dataset)
    assert reader.num_classes > 0
    assert all(count > 0 for count in reader.official.values())
    assert reader.orders[0] == 'mmaction2'


def test_hmdb51(tmp_path, capsys):
    # Names with all that shells and globs trip over, a blank at the end of lines, CRLF.
    odd = '#20_Rhythm_clap_u_nm_np1_fr_goo_0.avi'
    other = 'A(1)_[x];&!+@~_clap_f_cm_np1_ba_med_1.avi'
    wave = 'Some_clip_wave_f_cm_np1_ba_med_0.avi'
    for split, codes in ((1, '120'), (2, '021'), (3, '112')):
        put(
            tmp_path / 'annotations' / 'testTrainMulti_7030_splits',
            {
                f'clap_test_split{split}.txt': f'{odd} {codes[0]} \r\n{other} {codes[1]} \r\n',
                f'wave_test_split{split}.txt': f'{wave} {codes[2]} \n',
            },
        )
    # What macOS leaves beside each file is no class.
    put(tmp_path / 'annotations', {'__MACOSX/._clap_test_split1.txt': b'\0\5\x16'})
    touch(tmp_path / 'videos', f'clap/{odd}', f'clap/{other}', f'wave/{wave}')
    out = run(tmp_path, 'hmdb51')
    assert lines(out / 'classes.txt') == ['clap', 'wave']
    assert lines(out / 'train_split1.txt') == [f'clap/{odd} 0']
    assert lines(out / 'test_split1.txt') == [f'clap/{other} 0']
    assert lines(out / 'train_split2.txt') == [f'wave/{wave} 1']
    assert lines(out / 'test_split2.txt') == [f'clap/{other} 0']
    assert lines(out / 'train_split3.txt') == [f'clap/{odd} 0', f'clap/{other} 0']
    assert lines(out / 'test_split3.txt') == [f'wave/{wave} 1']
    assert table(out / 'summary.txt')['train_split1'] == ['3570', '1', '-3569', '1', '0', '0', '0']
    assert 'split 2: 1 clips are neither to train nor to test (0)' in capsys.readouterr().out
    assert not (out / 'dropped.tsv').exists()


def test_hmdb51_malformed(tmp_path, capsys):
    touch(tmp_path / 'videos', 'wave/a.avi')
    files = {f'wave_test_split{split}.txt': 'a.avi 1 \n' for split in (1, 2, 3)}
    put(tmp_path / 'annotations', {**files, 'wave_test_split2.txt': 'a.avi 3\n'})
    assert "split2.txt:1: expected 'clip.avi 0', 1 or 2" in fails(capsys, tmp_path, 'hmdb51')
    put(tmp_path / 'annotations', {'copy/wave_test_split1.txt': 'a.avi 1 \n'})
    assert 'leave one of them' in fails(capsys, tmp_path, 'hmdb51')
    put(tmp_path / 'part', {'wave_test_split1.txt': 'a.avi 1 \n'})
    error = fails(capsys, tmp_path, 'hmdb51', '--annotations', tmp_path / 'part')
    assert 'there is no wave_test_split2.txt' in error
    error = fails(capsys, tmp_path, 'hmdb51', '--annotations', tmp_path / 'videos')
    assert 'unpack test_train_splits.rar there' in error


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


ACTIVITYNET = {
    'database': {
        '-BcDeFgHiJk': {
            'duration': 10.0,
            'subset': 'training',
            'annotations': [
                {'segment': [2.0, 4.0], 'label': 'Playing ten pins'},
                {'segment': [8.0, 12.5], 'label': 'Braiding hair'},
                {'segment': [10.0, 12.0], 'label': 'Braiding hair'},
            ],
        },
        'v_dEfGhIjKl': {
            'duration': 5,
            'subset': 'validation',
            'annotations': [{'segment': [0, 5], 'label': 'Braiding hair'}],
        },
        'nothingseen': {'duration': 9.5, 'subset': 'testing', 'annotations': []},
    },
    'taxonomy': [],
    'version': 'VERSION 1.3',
}


def test_activitynet(tmp_path, capsys):
    put(tmp_path / 'annotations', {'activity_net.v1-3.min.json': ACTIVITYNET})
    first = '-BcDeFgHiJk'
    touch(tmp_path / 'videos', f'v_{first}.mp4', 'v_v_dEfGhIjKl.mkv', 'v_nothingseen.mp4')
    touch(tmp_path / 'videos', f'clips/v_{first}_0002000_0004000.mp4')
    assert 'put it there, or take --class-order alphabetical' in fails(
        capsys, tmp_path, 'activitynet'
    )
    put(
        tmp_path / 'annotations', {'action_name.csv': 'action\r\nPlaying ten pins\r\nBraiding hair'}
    )
    out = run(tmp_path, 'activitynet')
    assert lines(out / 'classes.txt') == ['Playing ten pins', 'Braiding hair']
    assert lines(out / 'train.txt') == [f'clips/v_{first}_0002000_0004000.mp4 0']
    assert lines(out / 'train_whole.txt') == [f'v_{first}.mp4 0']
    assert lines(out / 'val_whole.txt') == ['v_v_dEfGhIjKl.mkv 1']
    assert lines(out / 'test_whole.txt') == ['v_nothingseen.mp4']
    assert not (out / 'val.txt').exists()
    assert dropped(out / 'dropped.tsv') == [
        (
            'train',
            'missing',
            f'v_{first}_0008000_0010000',
            'it is not cut out of its video yet: add --trim',
        ),
        ('train', 'left out', f'v_{first}_0010000_0010000', 'its segment is empty'),
        (
            'val',
            'missing',
            'v_v_dEfGhIjKl_0000000_0005000',
            'it is not cut out of its video yet: add --trim',
        ),
    ]
    printed = capsys.readouterr()
    assert 'in the order of mmaction2: action_name.csv' in printed.out
    assert 'label of their first segment; 1 have segments of several classes' in printed.out
    assert 'not written, as no clip is left: val' in printed.err
    with pytest.raises(SystemExit):
        run(tmp_path, 'activitynet', '--class-order', 'alphabetical')
    assert 'the same in another order' in capsys.readouterr().err
    run(tmp_path, 'activitynet', '--class-order', 'alphabetical', '--overwrite')
    assert lines(out / 'classes.txt') == ['Braiding hair', 'Playing ten pins']
    assert lines(out / 'train_whole.txt') == [f'v_{first}.mp4 1']
    assert 'in the order of sorted names' in capsys.readouterr().out


def test_activitynet_frames(tmp_path, capsys):
    put(tmp_path / 'annotations', {'activity_net.v1-3.min.json': ACTIVITYNET})
    images(tmp_path / 'videos', 'v_-BcDeFgHiJk', count=100, template='img_{:05}.jpg', first=0)
    # Flow beside the frames counts for nothing.
    images(tmp_path / 'videos', 'v_-BcDeFgHiJk', count=99, template='flow_x_{:05}.jpg')
    out = run(tmp_path, 'activitynet', '--frames', '--class-order', 'alphabetical')
    # 100 frames in 10 s; the second segment ends with the video.
    assert lines(out / 'train_rawframes.txt') == ['v_-BcDeFgHiJk 20 21 1', 'v_-BcDeFgHiJk 80 20 0']
    assert lines(out / 'train_whole_rawframes.txt') == ['v_-BcDeFgHiJk 100 1']
    form = ListFormat('frame_dir', {'offset': 0, 'total_frames': 1})
    assert read_list(str(out / 'train_rawframes.txt'), form)[1]['offset'] == 80
    printed = capsys.readouterr().out
    assert "filename_tmpl='img_{:05}.jpg', start_index=0" in printed
    assert 'train_rawframes.txt holds parts of folders: `with_offset=True`' in printed


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'database': []}, "expected an object with the key 'database'"),
        ({'database': {'a': {'subset': 'train'}}}, 'a: expected a subset (training, validation'),
        (
            {
                'database': {
                    'b': {'subset': 'testing', 'duration': 5.5, 'annotations': None},
                    'a': {'subset': 'training', 'duration': 9, 'annotations': [{'segment': [1]}]},
                }
            },
            'a: expected a segment [start, end] and a label',
        ),
        (
            {'database': {'a': {'subset': 'training', 'duration': None, 'annotations': [{}]}}},
            'a: expected a list of annotations and a duration in seconds, found [{}] and None',
        ),
    ],
)
def test_activitynet_malformed(tmp_path, capsys, change, message):
    put(tmp_path / 'annotations', {'activity_net.v1-3.min.json': change})
    touch(tmp_path / 'videos', 'v_a.mp4')
    assert message in fails(capsys, tmp_path, 'activitynet', '--class-order', 'alphabetical')


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


STHV1 = {
    # No header, no quotes; names hold commas, and what looks like quotes is a part of them.
    'something-something-v1-labels.csv': 'Holding something\r\n'
    'Letting something roll up a slanted surface, so it rolls back down\r\n'
    'Pretending to be "tearing" something\r\n',
    'something-something-v1-train.csv': '40321;Pretending to be "tearing" something\r\n'
    '7;Letting something roll up a slanted surface, so it rolls back down\r\n',
    'something-something-v1-validation.csv': '108499;Holding something \n',
    'something-something-v1-test.csv': '12\n34567\n',
}


def test_something_v1(tmp_path, capsys):
    put(tmp_path / 'annotations', STHV1)
    images(tmp_path / 'videos' / '20bn', '40321', '7', '108499', '12', template='{:05}.jpg')
    images(tmp_path / 'videos' / '20bn', '7', template='{:05}.jpg', count=30)
    out = run(tmp_path, 'sthv1', '--frames')
    assert lines(out / 'classes.txt') == lines(
        tmp_path / 'annotations' / 'something-something-v1-labels.csv'
    )
    assert lines(out / 'train_rawframes.txt') == ['20bn/40321 3 2', '20bn/7 30 1']
    assert lines(out / 'val_rawframes.txt') == ['20bn/108499 3 0']
    assert lines(out / 'test_rawframes.txt') == ['20bn/12 3']
    assert dropped(out / 'dropped_rawframes.tsv') == [
        ('test', 'missing', '34567', "no '34567' among the clips")
    ]
    printed = capsys.readouterr().out
    assert 'in the order of mmaction2: that of the file of labels' in printed
    assert "filename_tmpl='{:05}.jpg', start_index=1" in printed
    assert table(out / 'summary_rawframes.txt')['val'] == [
        *('11522', '1', '-11521', '1', '0', '0', '0'),
    ]


def test_something_v1_in_the_order_of_tsm(tmp_path):
    labels = 'Turning b\nHolding c\nA first\n'
    put(
        tmp_path / 'annotations',
        {
            **STHV1,
            'something-something-v1-labels.csv': labels,
            'something-something-v1-train.csv': '1;Turning b\n2;A first\n',
            'something-something-v1-validation.csv': '3;Holding c\n',
        },
    )
    touch(tmp_path / 'videos', '1.mp4', '2.mp4', '3.mp4')
    out = run(tmp_path, 'sthv1', '--class-order', 'alphabetical')
    assert lines(out / 'classes.txt') == ['A first', 'Holding c', 'Turning b']
    assert lines(out / 'train.txt') == ['1.mp4 2', '2.mp4 0']
    assert lines(out / 'val.txt') == ['3.mp4 1']


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


@pytest.mark.parametrize('prefix', ['something-something-v2-', ''])
def test_something_v2_of_both_releases(tmp_path, prefix):
    put(
        tmp_path / 'annotations',
        {
            f'{prefix}labels.json': {
                'Approaching something with your camera': '0',
                'Holding something next to something': '1',
                'Putting number of something onto something': '2',
                "Trying but failing to attach something to something because it doesn't stick": '3',
            },
            f'{prefix}train.json': [
                {
                    'id': '78001',
                    'label': 'holding mug next to pen',
                    'template': 'Holding [something] next to [something]',
                    'placeholders': ['mug', 'pen'],
                },
                {'id': '78002', 'template': 'Putting [number of] [something] onto [something]'},
                {
                    'id': '78003',
                    'template': 'Trying but failing to attach [something] to [something] because '
                    "it doesn't stick",
                },
            ],
            f'{prefix}validation.json': [
                {'id': '5', 'template': 'Approaching [something] with your camera'}
            ],
            f'{prefix}test.json': [{'id': '90210'}, {'id': '90211'}],
        },
    )
    touch(tmp_path / 'videos', *(f'{i}.webm' for i in (78001, 78002, 78003, 5, 90210)))
    touch(tmp_path / 'videos', '90211.mp4')
    out = run(tmp_path, 'sthv2')
    assert lines(out / 'train.txt') == ['78001.webm 1', '78002.webm 2', '78003.webm 3']
    assert lines(out / 'val.txt') == ['5.webm 0']
    assert lines(out / 'test.txt') == ['90210.webm', '90211.mp4']
    if not prefix:
        answers = '90210;Approaching something with your camera\n90211;Putting number of something '
        put(tmp_path / 'annotations', {'test-answers.csv': answers + 'onto something\n'})
        run(tmp_path, 'sthv2')
        assert lines(out / 'test.txt') == ['90210.webm 0', '90211.mp4 2']
        put(tmp_path / 'annotations', {'test-answers.csv': answers.partition('\n')[0]})
        run(tmp_path, 'sthv2')
        assert lines(out / 'test.txt') == ['90210.webm 0']
        assert dropped(out / 'dropped.tsv') == [('test', 'left out', '90211', 'it has no label')]


@pytest.mark.parametrize(
    ('name', 'content', 'message'),
    [
        ('labels.json', {'A': '0', 'B': '2'}, 'labels.json: expected the numbers 0 to 1, once'),
        ('labels.json', ['A'], 'labels.json: expected an object, found list'),
        ('train.json', [{'id': '1'}], "train.json: entry 0: expected 'id' and 'template'"),
        ('train.json', [{'id': '1', 'template': '[C]'}], "has no class 'C'"),
        ('train.json', '[{"id": "1"', 'train.json:1: not valid JSON'),
        ('test-answers.csv', '1,A\n', "answers.csv:1: expected 'id;Class name', found '1,A'"),
    ],
)
def test_something_v2_malformed(tmp_path, capsys, name, content, message):
    good = {'labels.json': {'A': '0'}, 'train.json': [], 'validation.json': []}
    put(tmp_path / 'annotations', {**good, name: content})
    touch(tmp_path / 'videos', '1.webm')
    assert message in fails(capsys, tmp_path, 'sthv2')


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


MOMENTS = {
    'moments_categories.txt': 'clapping,0\nadult+female+singing,1\nyawning,2\n',
    'trainingSet.csv': 'yawning/yt-AbC_12.mp4,yawning,3,0\r\n'
    'adult+female+singing/flickr-9-6-1-0-3_1.mp4,adult+female+singing,4,1\r\n',
    'validationSet.csv': 'clapping/same.mp4,clapping,3,0\nyawning/same.mp4,yawning,3,0\n',
}


def test_moments_in_time(tmp_path, capsys):
    put(tmp_path / 'annotations', MOMENTS)
    touch(
        tmp_path / 'videos',
        'training/yawning/yt-AbC_12.mp4',
        'training/adult+female+singing/flickr-9-6-1-0-3_1.mp4',
        # One name in two classes and in both splits.
        'training/clapping/same.mp4',
        'validation/clapping/same.mp4',
        'validation/yawning/same.mp4',
    )
    out = run(tmp_path, 'mit')
    assert lines(out / 'classes.txt') == ['clapping', 'adult+female+singing', 'yawning']
    assert lines(out / 'train.txt') == [
        'training/yawning/yt-AbC_12.mp4 2',
        'training/adult+female+singing/flickr-9-6-1-0-3_1.mp4 1',
    ]
    assert lines(out / 'val.txt') == [
        'validation/clapping/same.mp4 0',
        'validation/yawning/same.mp4 2',
    ]
    assert table(out / 'summary.txt')['train'] == ['-', '2', '2', '0', '0', '0']
    put(tmp_path / 'annotations', {'trainingSet.csv': 'yawning/yt-AbC_12.mp4,clapping,3,0\n'})
    run(tmp_path, 'mit')
    assert lines(out / 'train.txt') == ['training/yawning/yt-AbC_12.mp4 2']
    assert '1 rows name another class than their folder' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('name', 'text', 'message'),
    [
        ('moments_categories.txt', 'clapping,1\n', "categories.txt:1: expected 'name,0'"),
        ('trainingSet.csv', 'a.mp4,clapping,3,0\n', "expected 'yawning/clip.mp4,yawning,3,0'"),
        ('validationSet.csv', 'sitting/a.mp4,sitting,1,0\n', "has no class 'sitting'"),
    ],
)
def test_moments_malformed(tmp_path, capsys, name, text, message):
    put(tmp_path / 'annotations', {**MOMENTS, name: text})
    touch(tmp_path / 'videos', 'clapping/a.mp4')
    assert message in fails(capsys, tmp_path, 'mit')


def test_multi_moments(tmp_path, capsys):
    put(
        tmp_path / 'annotations',
        {
            'moments_categories.txt': MOMENTS['moments_categories.txt'],
            'trainingSet.txt': 'yawning/a.mp4,2,0\nclapping/b.mp4,0\nclapping/c.mp4,1,1\n',
            'validationSet.csv': 'clapping/d.mp4,0,1,2\n',
        },
    )
    touch(tmp_path / 'videos', 'yawning/a.mp4', *(f'clapping/{name}.mp4' for name in 'bcd'))
    out = run(tmp_path, 'mmit')
    assert lines(out / 'train.txt') == ['yawning/a.mp4 0 2', 'clapping/b.mp4 0', 'clapping/c.mp4 1']
    assert lines(out / 'val.txt') == ['clapping/d.mp4 0 1 2']
    form = ListFormat('filename', multi_class=True, num_classes=3)
    labels = [entry['label'] for entry in read_list(str(out / 'train.txt'), form)]
    assert labels == [[0, 2], [0], [1]]
    run(tmp_path, 'mmit', '--class-order', 'alphabetical', '--overwrite')
    # adult..., clapping, yawning
    assert lines(out / 'train.txt') == ['yawning/a.mp4 1 2', 'clapping/b.mp4 1', 'clapping/c.mp4 0']
    images(tmp_path / 'frames', 'yawning/a', 'clapping/d', count=4)
    run(tmp_path, 'mmit', '--videos', tmp_path / 'frames', '--frames', '--overwrite')
    assert lines(out / 'train_rawframes.txt') == ['yawning/a 4 0 2']
    put(tmp_path / 'annotations', {'validationSet.csv': 'clapping/d.mp4,0,3\n'})
    with pytest.raises(SystemExit):
        run(tmp_path, 'mmit')
    assert 'label 3 is outside the 3 classes' in capsys.readouterr().err


HVU = {
    'HVU_Tags_Categories_V1.0.csv': 'Tag,Category\nboxing,action\nabseiling,action\nsport,concept\n'
    '"crowd, large",concept\nroom,scene\n',
    'HVU_Train_V1.0.csv': 'Tags,youtube_id,time_start,time_end\n'
    'sport|boxing,-bCdEfGhIjK,12.5,14.5\n"crowd, large|sport|room",AbCdEfGhIjK,0.0,10.0\n',
    'HVU_Val_V1.0.csv': 'Tags,youtube_id,time_start,time_end\nabseiling,AbCdEfGhIjK,20.0,30.0\n',
}


@pytest.mark.parametrize(
    ('clips', 'naming'),
    [
        (('-bCdEfGhIjK_000125_000145', 'AbCdEfGhIjK_000000_000100', ''), ''),
        (
            (
                '-bCdEfGhIjK_000012_000014',
                'AbCdEfGhIjK_000000_000010',
                'AbCdEfGhIjK_000020_000030',
            ),
            "as '-bCdEfGhIjK_000012_000014', not '-bCdEfGhIjK_000125_000145'",
        ),
        (('-bCdEfGhIjK_12.5_14.5', 'AbCdEfGhIjK_0.0_10.0', ''), "as '-bCdEfGhIjK_12.5_14.5'"),
        (('-bCdEfGhIjK_000012_000014_', 'AbCdEfGhIjK_000000_000010_', ''), '_000012_000014_'),
    ],
)
def test_hvu(tmp_path, capsys, clips, naming):
    put(tmp_path / 'annotations', HVU)
    touch(tmp_path / 'videos', *(f'{clip}.mp4' for clip in clips if clip))
    out = run(tmp_path, 'hvu')
    entries = json.loads((out / 'train.json').read_text())
    assert entries == [
        {'filename': f'{clips[0]}.mp4', 'label': {'action': [1], 'concept': [1]}},
        {'filename': f'{clips[1]}.mp4', 'label': {'concept': [0, 1], 'scene': [0]}},
    ]
    assert lines(out / 'classes.txt') == ['abseiling', 'boxing', 'crowd, large', 'sport', 'room']
    categories = json.loads((out / 'categories.json').read_text())
    assert list(categories) == ['action', 'attribute', 'concept', 'event', 'object', 'scene']
    assert categories['concept'] == ['crowd, large', 'sport']
    assert (out / 'val.json').exists() == bool(clips[2])
    assert naming in capsys.readouterr().out


def test_hvu_clips_of_one_name_and_frames(tmp_path, capsys):
    rows = 'sport,a,12.5,14.5\nroom,a,12.0,14.0\n,b,1.0,3.0\n'
    put(
        tmp_path / 'annotations',
        {**HVU, 'HVU_Train_V1.0.csv': f'Tags,youtube_id,time_start,time_end\n{rows}'},
    )
    touch(tmp_path / 'videos', 'a_000012_000014.mp4')
    out = run(tmp_path, 'hvu')
    taken, without = dropped(out / 'dropped.tsv')[:2]
    assert taken[1] == 'left out'
    assert 'HVU_Train_V1.0.csv:2 already' in taken[3]
    assert without[3] == 'it has no tag'
    # What is trained on is not validated on, as another clip.
    put(
        tmp_path / 'annotations',
        {'HVU_Val_V1.0.csv': 'Tags,youtube_id,time_start,time_end\nsport,a,12.5,14.0\n'},
    )
    run(tmp_path, 'hvu')
    assert not (out / 'val.json').exists()
    assert [row[:3] for row in dropped(out / 'dropped.tsv')][2] == (
        'val',
        'left out',
        'a_000012_000014.mp4',
    )
    images(tmp_path / 'frames', 'a_000125_000145', count=5)
    run(tmp_path, 'hvu', '--videos', tmp_path / 'frames', '--frames')
    assert json.loads((out / 'train_rawframes.json').read_text()) == [
        {'frame_dir': 'a_000125_000145', 'total_frames': 5, 'label': {'concept': [1]}}
    ]
    rows = 'Tags,youtube_id,time_start,time_end\nsport|unknown,a,1,2\n'
    put(tmp_path / 'annotations', {'HVU_Train_V1.0.csv': rows})
    with pytest.raises(SystemExit):
        run(tmp_path, 'hvu')
    assert "has no tag 'unknown'" in capsys.readouterr().err


def test_omnisource(tmp_path, capsys):
    put(
        tmp_path / 'annotations',
        {
            'kinetics_200/k200_train.txt': '-bCdEfGhIjK.mp4 1\nAbCdEfGhIjK.mp4 0\n',
            'kinetics_200/k200_val.txt': 'valvalvalva.mp4 1\n',
            'k200_actions.txt': 'abseiling\nair drumming\n',
            'webimage_200/tsn_8seg_webimage_200_wodup.txt': 'googleimage_200/000/00/000001.jpg 0\n'
            'insimage_200/001/air drumming/x.jpg 1\ngoogleimage_200/000/01/000001.jpg 0\n',
            'webimage_200/tsn_8seg_webimage_200.txt': 'googleimage_200/000/00/000009.jpg 0\n',
            'insvideo_200/slowonly_8x8_insvideo_200_wodup.txt': '001/air drumming/x.mp4 1\n',
            'kinetics_raw_200/slowonly_8x8_kinetics_raw_200.json': [
                {
                    'video_dir': 'pref-/-bCdEfGhIjK',
                    'label': 1,
                    'num_clips': 4,
                    'positive_clip_inds': [0, 2],
                }
            ],
        },
    )
    touch(
        tmp_path / 'videos',
        'kinetics_200_train/-bCdEfGhIjK.mp4',
        'kinetics_200_train/AbCdEfGhIjK.mp4',
        'kinetics_200_val/valvalvalva.mp4',
        'googleimage_200/000/00/000001.jpg',
        'insimage_200/001/air drumming/x.jpg',
        'insvideo_200/001/air drumming/x.mp4',
        'kinetics_raw_200_train/pref-/-bCdEfGhIjK/part_0.mp4',
        'kinetics_raw_200_train/pref-/-bCdEfGhIjK/part_1.mp4',
    )
    out = run(tmp_path, 'omnisource')
    assert lines(out / 'train.txt') == [
        'kinetics_200_train/-bCdEfGhIjK.mp4 1',
        'kinetics_200_train/AbCdEfGhIjK.mp4 0',
    ]
    assert lines(out / 'val.txt') == ['kinetics_200_val/valvalvalva.mp4 1']
    assert lines(out / 'web_image.txt') == [
        'googleimage_200/000/00/000001.jpg 0',
        'insimage_200/001/air drumming/x.jpg 1',
    ]
    assert lines(out / 'web_video.txt') == ['insvideo_200/001/air drumming/x.mp4 1']
    assert lines(out / 'kinetics_raw.txt') == [
        'kinetics_raw_200_train/pref-/-bCdEfGhIjK/part_0.mp4 1'
    ]
    assert [row[:3] for row in dropped(out / 'dropped.tsv')] == [
        ('web_image', 'missing', 'googleimage_200/000/01/000001'),
        ('kinetics_raw', 'missing', 'pref-/-bCdEfGhIjK/part_2'),
    ]
    # What is not there, and what is not the best, is said.
    webs = tmp_path / 'annotations' / 'webimage_200'
    (webs / 'tsn_8seg_webimage_200_wodup.txt').unlink()
    (tmp_path / 'annotations/insvideo_200/slowonly_8x8_insvideo_200_wodup.txt').unlink()
    capsys.readouterr()
    run(tmp_path, 'omnisource', '--out', tmp_path / 'less')
    printed = capsys.readouterr().out
    assert 'tsn_8seg_webimage_200.txt may hold near-duplicates of val' in printed
    assert 'no web_video: there is no *insvideo_200_wodup.txt' in printed
    put(tmp_path / 'annotations', {'kinetics_200/k200_val.txt': 'valvalvalva.mp4 200\n'})
    with pytest.raises(SystemExit):
        run(tmp_path, 'omnisource')
    assert 'k200_val.txt:1: label 200 is outside the 2 classes' in capsys.readouterr().err


def test_supported_datasets_table_is_current():
    text = (ROOT / 'docs' / 'supported_datasets.md').read_text()
    named = set()
    for line in text.splitlines():
        match = re.fullmatch(
            r'\| .+ \| (.+) \| \[.+\]\(\.\./(mmaction/.+)\) \| `(test_.+)` \|', line
        )
        if match:
            datasets = re.findall('`(.+?)`', match[1])
            named.update(datasets)
            folder = 'mmaction/data_preparation/readers'
            assert {f'{folder}/{prepare.DATASETS[name]}.py' for name in datasets} == {match[2]}
            assert callable(globals()[match[3]])
    assert named == set(prepare.DATASETS)
    preparation = (ROOT / 'docs' / 'data_preparation.md').read_text()
    for name in prepare.DATASETS:
        reader = prepare.reader_of(name)
        for count in reader.official.values():
            assert {f'{count:,}', str(count)} & set(re.findall('[0-9,]*[0-9]', preparation)), name


def test_documented_commands_match_the_readers():
    text = (ROOT / 'docs' / 'data_preparation.md').read_text()
    commands = re.findall(r'^python tools/data/prepare\.py ([a-z].+)$', text, re.MULTILINE)
    parsed = [prepare.parse_args(shlex.split(command)) for command in commands]
    # Kinetics-700-2020 is prepared as Kinetics-700 is.
    assert {args.dataset for args in parsed} == set(prepare.DATASETS) - {'kinetics700_2020'}
    assert all(args.out.parent == Path('data') for args in parsed)
