"""Uploads are read as the pipeline reads them, within limits of memory, time and pixels."""

import sys
from pathlib import Path

import av
import numpy as np
import pytest

from mmaction.apis import init_recognizer
from mmaction.apis.inference import load_clip
from mmaction.apis.web.explain import Explainer
from mmaction.apis.web.reading import UploadReader
from mmaction.apis.web.uploads import Limits, UploadError
from mmaction.datasets.decoders import PyAVReader
from mmaction.errors import UnreadableVideoError
from mmaction.utils.forked_call import ForkedCall
from mmaction.utils.memory import keep_freed_memory
from tests.apis.conftest import tiny_config
from tests.video_factory import write_video

linux_only = pytest.mark.skipif(sys.platform != 'linux', reason='limits need Linux')
STEPS = tiny_config().test_pipeline


@pytest.fixture
def make_reader():
    readers = []

    def make(**limits):
        readers.append(UploadReader(Limits(**limits)))
        return readers[-1]

    yield make
    for reader in readers:
        reader.close()


@pytest.fixture(scope='module')
def large(tmp_path_factory):
    """64 frames of 17 MB each in a file of kilobytes."""
    path = tmp_path_factory.mktemp('large') / 'large.mp4'
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('libx264', rate=20, options=dict(preset='ultrafast'))
        stream.width, stream.height, stream.pix_fmt = 2400, 2400, 'yuv420p'
        frame = av.VideoFrame.from_ndarray(np.full((2400, 2400, 3), 90, np.uint8), format='rgb24')
        frame = frame.reformat(format='yuv420p')
        for i in range(64):
            frame.pts = i
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert path.stat().st_size < 100_000
    return path


@pytest.mark.parametrize('rotation', [0, 90])
@pytest.mark.parametrize('resize', [True, False])
def test_clips_match_the_pipeline(tmp_path, make_reader, rotation, resize):
    clip = write_video(tmp_path / 'a.mp4', 30, 96, 64, rotation=rotation)
    steps = [dict(step) for step in STEPS if resize or step['type'] != 'Resize']
    if not resize:
        steps[3] = dict(type='CenterCrop', crop_size=32)
    keys = ('frame_inds', 'avg_fps', 'original_shape', 'img_shape', 'total_frames')
    steps[-1]['meta_keys'] = keys
    expected = load_clip(init_recognizer(tiny_config(), device='cpu'), clip, steps)
    (found,) = make_reader().clips(clip, [steps])
    assert (found['inputs'] == expected['inputs']).all()
    for key in keys:
        left, right = (x['data_samples'].metainfo[key] for x in (found, expected))
        np.testing.assert_array_equal(left, right)


def peak_memory(pid):
    status = Path(f'/proc/{pid}/status').read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if 'VmHWM' in line) / 1000


@linux_only
def test_large_frames_are_not_kept_in_memory(large, make_reader):
    reader = make_reader()
    before = peak_memory(reader._call._pid)
    steps = [dict(step) for step in STEPS]
    steps[1].update(clip_len=32, frame_interval=1, num_clips=2)
    (clips,) = reader.clips(large, [steps])
    assert clips['inputs'].shape == (6, 3, 32, 32, 32)
    # all 64 frames together are 1106 MB, the decoder's own buffers about 250 MB
    assert peak_memory(reader._call._pid) - before < 500


@linux_only
def test_memory_limit_fails_the_file_alone(large, tmp_path, make_reader):
    reader = make_reader(memory_megabytes=400)
    steps = [dict(step) for step in STEPS if step['type'] not in ('Resize', 'ThreeCrop')]
    steps[1].update(clip_len=32, num_clips=1)
    with pytest.raises(ValueError, match=r'large\.mp4.* memory'):
        reader.clips(large, [steps])
    with pytest.raises(ValueError, match='more than 400 MB of memory'):
        reader._run(tmp_path, np.ones, 100_000_000)
    clip = write_video(tmp_path / 'small.mp4', 20, 64, 48)
    assert len(reader.clips(clip, [STEPS])) == 1


def take(size):
    return np.empty(size, np.uint8).size


def take_from_a_large_heap(path):
    """What a reader of 400 MB says of 800 MB, forked from a process with a free gigabyte."""
    keep_freed_memory()
    room, above = np.empty(1 << 30, np.uint8), np.empty(1 << 16, np.uint8)
    del room
    reader = UploadReader(Limits(memory_megabytes=400))
    try:
        return reader._run(path, take, 800_000_000) + above.size
    except ValueError as error:
        return str(error)
    finally:
        reader.close()


@linux_only
def test_memory_limit_counts_what_the_allocator_has_kept(tmp_path):
    # In a process of its own, since the allocator keeps the setting and the room.
    call = ForkedCall(take_from_a_large_heap, 60)
    assert 'more than 400 MB of memory' in str(call(tmp_path))
    call.close()


@linux_only
def test_time_limit_fails_the_file_alone(large, tmp_path, make_reader):
    reader = make_reader(decode_seconds=0.3)
    steps = [dict(step) for step in STEPS]
    steps[1].update(clip_len=64, frame_interval=1)
    with pytest.raises(ValueError, match=r'large\.mp4: reading it took longer than 0.3 s'):
        reader.clips(large, [steps] * 8)  # one is read in less on a fast machine
    clip = write_video(tmp_path / 'small.mp4', 20, 64, 48)
    assert reader.check(clip, 'small').width == 64


def test_pixel_limit(large, make_reader):
    reader = make_reader(pixels=5_000_000)
    with pytest.raises(UploadError, match=r'^my clip has 2400 x 2400 pixels; .* up to 5 million'):
        reader.check(large, 'my clip')
    # the sizes of the frames themselves, whatever the file says of them
    with pytest.raises(UnreadableVideoError):
        PyAVReader(str(large), max_pixels=5_000_000).get_batch([0])
    with pytest.raises(ValueError, match=r'large\.mp4'):
        reader.clips(large, [STEPS])


def test_rotated_video_has_its_displayed_size(tmp_path):
    clip = write_video(tmp_path / 'a.mp4', 30, 96, 64, rotation=90)
    result = Explainer(init_recognizer(tiny_config(), device='cpu'))(
        clip, tmp_path, lambda *_: None
    )
    assert result['video'] == dict(width=64, height=96)
