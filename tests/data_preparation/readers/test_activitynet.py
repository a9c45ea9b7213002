import pytest

from mmaction.datasets.annotations import ListFormat, read_list
from tests.data_preparation.preparing import dropped, fails, images, lines, put, run, touch

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
