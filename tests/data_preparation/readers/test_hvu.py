import json

import pytest

from tests.data_preparation.preparing import dropped, images, lines, put, run, touch

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
