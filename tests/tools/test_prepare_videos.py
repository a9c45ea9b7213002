"""Re-encoding: the same frames in less time, whole files, and going on after a stop."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest

from mmaction.data_preparation.reencode import new_size
from mmaction.datasets.decoders import PyAVReader
from mmaction.utils.io import partial_path
from tests.video_factory import (
    cut_video,
    decoded_pictures,
    frame_number,
    join_streams,
    set_display_matrix,
    write_broken,
    write_cover,
    write_video,
)
from tools.data import prepare_videos


def run(*args):
    with pytest.raises(SystemExit) as caught:
        prepare_videos.main([*map(str, args), '--workers', '2', '--timeout', '60'])
    return caught.value.code


def frames(path):
    reader = PyAVReader(str(path))
    try:
        return reader.get_batch(range(len(reader))), reader.get_avg_fps()
    finally:
        reader.close()


def key_frames(path):
    with av.open(str(path)) as container:
        return [i for i, p in enumerate(container.demux(video=0)) if p.size and p.is_keyframe]


def test_every_frame_is_kept_with_close_keyframes(tmp_path, odd_names):
    folder, out = tmp_path / 'in', tmp_path / 'out'
    (folder / "-it's (a) & ;").mkdir(parents=True)
    for name in odd_names:
        write_video(
            folder / "-it's (a) & ;" / name, num_frames=40, width=300, height=150,
            key_interval=250, b_frames=3,
        )  # fmt: skip
    assert run(folder, out, '--short-side', 80) == 0
    for name in odd_names:
        path = out / "-it's (a) & ;" / name
        images, fps = frames(path)
        assert images.shape == (40, 80, 160, 3)
        assert [frame_number(image) for image in images] == list(range(40))
        assert fps == 25
        assert key_frames(path) == [0, 16, 32]
    assert run(folder, out, '--short-side', 80, '--key-interval', 8, '--overwrite') == 0
    assert key_frames(path) == [0, 8, 16, 24, 32]


def test_a_reader_of_every_2nd_frame_decodes_little_more_than_half(tmp_path, monkeypatch):
    (tmp_path / 'in').mkdir()
    write_video(tmp_path / 'in/a.mp4', num_frames=64, key_interval=250)
    assert run(tmp_path / 'in', tmp_path / 'out') == 0
    reader = PyAVReader(str(tmp_path / 'out/a.mp4'))
    decoded = decoded_pictures(monkeypatch, PyAVReader)
    for first in (0, 1):
        decoded.clear()
        indices = range(first, 64, 2)
        assert [frame_number(image) for image in reader.get_batch(indices)] == list(indices)
        assert len(decoded) <= 48


def test_rotation_odd_sizes_ten_bits_and_varying_rates(tmp_path):
    folder, out = tmp_path / 'in', tmp_path / 'out'
    folder.mkdir()
    kinds = {
        'turned': dict(rotation=90, key_interval=250),
        'odd': dict(width=131, height=81, pix_fmt='yuv444p'),
        'ten': dict(pix_fmt='yuv420p10le'),
        'varying': dict(durations=[1, 3, 2]),
    }
    for name, options in kinds.items():
        write_video(folder / f'{name}.mp4', num_frames=30, **options)
    write_video(folder / 'old.avi', num_frames=30, codec='mpeg4')
    assert run(folder, out) == 0
    sizes = {'turned': (128, 80), 'odd': (80, 132), 'old': (80, 128)}
    for name in (*kinds, 'old'):
        source = frames(next(folder.glob(f'{name}.*')))[0]
        images, _ = frames(out / f'{name}.mp4')
        assert images.shape == (30, *sizes.get(name, (80, 128)), 3)
        if name != 'odd':
            assert np.abs(images.astype(int) - source).mean() < 4, name
    with av.open(str(out / 'varying.mp4')) as container:
        times = [float(p.pts * p.time_base) for p in container.demux(video=0) if p.size]
    expected = np.cumsum([0, *[1, 3, 2] * 10])[:30] / 25
    np.testing.assert_allclose(sorted(times), expected, atol=1e-3)


def test_bad_files_are_listed_and_second_run_continues(tmp_path, capsys):
    folder, out = tmp_path / 'in', tmp_path / 'out'
    folder.mkdir()
    write_video(folder / 'a.mp4', num_frames=12)
    for kind in ('empty', 'sound only', 'too few frames'):
        write_broken(folder / f'{kind}.mp4', kind)
    assert run(folder, out) == 1
    failures = dict(line.split('\t') for line in (out / 'failures.txt').read_text().splitlines())
    names = ['empty.mp4', 'sound only.mp4', 'too few frames.mp4']
    assert list(failures) == [str(folder / name) for name in names]
    assert 'is damaged or missing' in failures[str(folder / 'too few frames.mp4')]
    expected = ['a.mp4', 'failures.txt', 'prepare_videos.json']
    assert sorted(path.name for path in out.iterdir()) == expected
    made = (out / 'a.mp4').stat().st_mtime_ns
    for name in names:
        write_video(folder / name, num_frames=12)
    capsys.readouterr()
    assert run(folder, out) == 0
    assert '3 videos (36 frames) made, 1 were there, 0 failed' in capsys.readouterr().out
    assert (out / 'a.mp4').stat().st_mtime_ns == made
    assert not (out / 'failures.txt').exists()
    assert run(folder, out, '--crf', 30) == 1
    assert 'give another folder, or --overwrite' in capsys.readouterr().err
    assert json.loads((out / 'prepare_videos.json').read_text())['crf'] == 20


def test_output_is_read_exactly_by_decord(tmp_path):
    (tmp_path / 'in').mkdir()
    write_video(tmp_path / 'in' / 'a.mp4', num_frames=40)
    assert run(tmp_path / 'in', tmp_path / 'out') == 0
    assert PyAVReader(str(tmp_path / 'out' / 'a.mp4')).in_plain_order


def test_sizes():
    assert new_size(1920, 1080, 256) == (456, 256)
    assert new_size(1080, 1920, 256) == (256, 456)
    assert new_size(320, 240, 256) == (320, 240)
    assert new_size(131, 81, 256) == (132, 80)
    assert new_size(5, 1, 256) == (4, 2)


def test_invalid_options_are_errors(tmp_path, capsys):
    assert run(tmp_path, tmp_path / 'out', '--key-interval', 0) == 2
    assert '--key-interval 0 must be at least 1' in capsys.readouterr().err
    assert run(tmp_path, tmp_path) == 1
    assert 'holds the videos themselves' in capsys.readouterr().err


def test_video_made_before_its_source_broke_is_removed(tmp_path):
    folder, out = tmp_path / 'in', tmp_path / 'out'
    folder.mkdir()
    source = write_video(folder / 'a.mp4', num_frames=12)
    assert run(folder, out) == 0
    source.write_bytes(b'broken')
    os.utime(source, ns=(2**62, 2**62))
    assert run(folder, out) == 1
    assert not (out / 'a.mp4').exists()


def start(folder, out, *options):
    """prepare_videos.py as a process of its own."""
    command = [sys.executable, prepare_videos.__file__, str(folder), str(out), *options]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def children(pid):
    """Processes of a parent, by the kernel."""
    found = []
    for stat in Path('/proc').glob('[0-9]*/stat'):
        with contextlib.suppress(OSError):
            if int(stat.read_text().rpartition(') ')[2].split()[1]) == pid:
                found.append(int(stat.parent.name))
    return found


def wait_for(condition, seconds=120):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def is_running(pid):
    try:
        state = Path(f'/proc/{pid}/stat').read_text().rpartition(') ')[2][0]
    except OSError:
        return False
    return state != 'Z'


def test_two_runs_on_one_folder_and_the_end_of_a_killed_one(tmp_path):
    """The second is refused; of a killed one nothing lives on, and the next run is whole."""
    folder, out = tmp_path / 'in', tmp_path / 'out'
    folder.mkdir()
    for name in 'ab':
        write_video(folder / f'{name}.mp4', num_frames=120, width=320, height=240)
    first = start(folder, out, '--preset', 'veryslow', '--workers', '2')
    wait_for(lambda: len(children(first.pid)) == 2)
    encoders = children(first.pid)
    # Stopped, it holds its lock for as long as the second takes to start.
    first.send_signal(signal.SIGSTOP)
    second = start(folder, out, '--preset', 'veryslow')
    _, errors = second.communicate(timeout=240)
    assert second.returncode == 1
    assert f'error: {out} is in use by another tool (process {first.pid} on ' in errors
    first.kill()
    first.wait()
    wait_for(lambda: not any(map(is_running, encoders)), 20)
    partial_path(out / 'a.mp4').write_bytes(b'half')
    assert run(folder, out, '--preset', 'ultrafast', '--overwrite') == 0
    names = ['a.mp4', 'b.mp4', 'prepare_videos.json']
    assert sorted(path.name for path in out.iterdir()) == names


@pytest.mark.parametrize(
    'kind', ['cut', 'cover first', 'mirrored', 'second stream', 'interlaced', 'turned and mirrored']
)
def test_prepared_video_shows_what_the_source_shows(tmp_path, kind):
    """Hidden frames, covers, other streams and display matrices, as training reads them."""
    folder = tmp_path / 'in'
    folder.mkdir()
    whole = write_video(tmp_path / 'whole.mp4', num_frames=40, key_interval=20, b_frames=2)
    source = folder / ('a.mkv' if kind == 'second stream' else 'a.mp4')
    if kind == 'cut':
        cut_video(whole, source, 25)
    elif kind == 'cover first':
        write_cover(source, whole)
    elif kind == 'second stream':
        large = write_video(tmp_path / 'large.mp4', 30, width=256, height=160)
        join_streams(source, [whole, large], default=1)
    elif kind == 'interlaced':
        write_video(source, options={'x264-params': 'tff=1'})
    else:
        one = 1 << 16
        matrix = (-one, 0, 0, one) if kind == 'mirrored' else (0, one, one, 0)
        set_display_matrix(write_video(source), *matrix)
    assert run(folder, tmp_path / 'out') == 0
    expected, made = frames(source)[0], frames(tmp_path / 'out' / 'a.mp4')[0]
    assert made.shape == expected.shape
    assert np.abs(made.astype(int) - expected).mean() < 4


@pytest.mark.parametrize('age', ['older', 'newer'])
def test_videos_that_are_not_its_own_are_not_replaced(tmp_path, capsys, age):
    folder, out = tmp_path / 'in', tmp_path / 'out'
    for path in (folder, out):
        path.mkdir()
    write_video(folder / 'a.mp4', num_frames=12)
    mine = write_video(out / 'a.mp4', num_frames=30)
    os.utime(mine, (1, 1) if age == 'older' else None)
    content = mine.read_bytes()
    assert run(folder, out) == 1
    assert 'was not made by this tool: give another folder, or --overwrite' in (
        capsys.readouterr().err
    )
    assert mine.read_bytes() == content
    assert run(folder, out, '--overwrite') == 0
    assert len(frames(mine)[0]) == 12
