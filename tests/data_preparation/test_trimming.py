from pathlib import Path

import av
import pytest

from mmaction.data_preparation.trimming import Cut, cut
from mmaction.datasets.decoders import PyAVReader
from tests.data_preparation.preparing import dropped, lines, put, run
from tests.video_factory import frame_number, write_broken, write_video


def test_trim_cuts_annotated_segments(tmp_path, capsys):
    segments = [[0.4, 1.2], [1.5, 9.0], [5.0, 6.0]]
    put(
        tmp_path / 'annotations',
        {
            'activity_net.v1-3.min.json': {
                'database': {
                    name: {
                        'duration': 2.0,
                        'subset': subset,
                        'annotations': [{'segment': s, 'label': 'x'} for s in segments[:count]],
                    }
                    for name, subset, count in (
                        ('one', 'training', 3),
                        ('bad', 'training', 1),
                        ('odd', 'validation', 1),
                        ('gone', 'validation', 1),
                    )
                }
            }
        },
    )
    videos = tmp_path / 'videos'
    videos.mkdir()
    write_video(videos / 'v_one.mp4', num_frames=50, width=130, key_interval=12, b_frames=2)
    write_video(videos / 'odd.mkv', num_frames=50, codec='mpeg4', durations=[1, 2])
    write_broken(videos / 'v_bad.mp4', 'truncated')
    options = ('--trim', '--class-order', 'alphabetical')
    out = run(tmp_path, 'activitynet', *options)
    names = ['clips/v_one_0000400_0001200.mp4', 'clips/v_one_0001500_0002000.mp4']
    assert lines(out / 'train.txt') == [f'{name} 0' for name in names]
    for name, first, last in zip(names, (10, 38), (29, 49), strict=True):
        reader = PyAVReader(str(videos / name))
        assert abs(reader.get_avg_fps() - 25) < 1
        numbers = [frame_number(image) for image in reader.get_batch(range(len(reader)))]
        reader.close()
        assert numbers == list(range(first, last + 1))
        with av.open(str(videos / name)) as container:
            assert next(container.decode(video=0)).time == 0
    assert lines(out / 'val.txt') == ['clips/v_odd_0000400_0001200.mp4 0']
    told = {row[2]: row[1:] for row in dropped(out / 'dropped.tsv')}
    status, _, reason = told['v_bad_0000400_0001200']
    assert (status, reason.startswith('cutting it failed: ')) == ('unreadable', True)
    assert told['v_one_0005000_0002000'][2] == 'its segment is empty'
    assert told['v_gone_0000400_0001200'][2] == "no 'v_gone' among the videos"
    assert sorted(path.name for path in (videos / 'clips').iterdir()) == [
        'v_odd_0000400_0001200.mp4',
        *(Path(name).name for name in names),
    ]
    # Again: nothing to cut but what failed.
    before = {path.name: path.stat().st_mtime_ns for path in (videos / 'clips').iterdir()}
    run(tmp_path, 'activitynet', *options)
    assert before == {path.name: path.stat().st_mtime_ns for path in (videos / 'clips').iterdir()}


@pytest.mark.parametrize('late', [0, 35])
@pytest.mark.parametrize(
    ('start', 'end', 'numbers'),
    [(0.2, 0.4, range(5, 10)), (0.0, 0.04, [0]), (0.6, 9, range(15, 20))],
)
def test_frames_whose_time_is_in_the_segment(tmp_path, start, end, numbers, late):
    """25 frames a second: the frame at the start belongs to it, the one at its end does not."""
    source = write_video(tmp_path / 'v.ts', num_frames=20, start=late)
    with av.open(str(source)) as opened:
        stream = opened.streams.video[0]
        assert float(stream.start_time * stream.time_base) == pytest.approx(late / 25)
    assert cut(Cut(str(source), str(tmp_path / 'c.mp4'), start, end)) == len(numbers)
    reader = PyAVReader(str(tmp_path / 'c.mp4'))
    assert [frame_number(image) for image in reader.get_batch(range(len(reader)))] == [*numbers]
