import pytest

from mmaction.data_preparation.outcomes import KEPT, RowOutcome
from mmaction.data_preparation.schema import Row
from mmaction.data_preparation.write_lists import list_text
from mmaction.datasets.numbered_frames import FrameFolder
from tests.data_preparation.preparing import error_of, images, kinetics, lines, put, run, touch


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
    error = error_of(capsys, tmp_path, '--frames', dataset='mmit')
    assert "'x/a 7' cannot stand in a list, where it reads as 'x/a': rename it" in error


def test_unlistable_file_name_is_found_before_clips_are_read_or_lists_replaced(tmp_path, capsys):
    kinetics(tmp_path, ['x,a,0,1'], ['x,c,0,1'])
    touch(tmp_path / 'videos', 'a_000000_000001.mp4', 'c_000000_000001.mp4')
    out = run(tmp_path, 'kinetics400')
    kinetics(tmp_path, ['x,a,0,1', 'x,b,0,1'], ['x,c,0,1'])
    touch(tmp_path / 'videos', 'b_000000_000001.mp4')
    folder = tmp_path / 'videos' / 'two\nlines'
    folder.mkdir()
    (tmp_path / 'videos' / 'c_000000_000001.mp4').rename(folder / 'c_000000_000001.mp4')
    error = error_of(capsys, tmp_path, '--check')
    assert "'two\\nlines/c_000000_000001.mp4' cannot stand in a list: rename it" in error
    assert not (out / 'checked.jsonl').exists()
    assert lines(out / 'train.txt') == ['a_000000_000001.mp4 0']


@pytest.mark.parametrize(
    ('segment', 'span'),
    [
        ((0.0, 2.0), (0, 21)),
        ((2.5, 4.0), (25, 16)),
        ((9.5, 99.0), (95, 5)),
        ((99.0, 99.5), (99, 1)),
    ],
)
def test_frames_of_a_segment(segment, span):
    """100 frames in 10 s; both ends belong to a segment, and none goes beyond the video."""
    row = Row('a:1', ('clip',), 3, segment=segment, duration=10.0)
    outcome = RowOutcome(row, KEPT, path='v', frames=FrameFolder(100, 1, 'img_{:05}.jpg'))
    assert list(list_text([outcome])) == [f'v {span[0]} {span[1]} 3']
