"""Videos as users hand them over: files, folders of frames, arrays and dicts."""

import numpy as np
import pytest
import torch
from PIL import Image

from mmaction.datasets.video_source import VideoSource, as_videos, clip_info, clip_name
from tests.video_factory import frame_number, frame_pixels, write_video


@pytest.fixture
def array():
    return np.stack([frame_pixels(number) for number in range(9)])


@pytest.fixture
def sources(tmp_path, array):
    """The same nine frames in each form."""
    folder = tmp_path / 'frames'
    folder.mkdir()
    for number, image in enumerate(array):
        Image.fromarray(image).save(folder / f'img_{number + 4:05}.png')
    video = write_video(tmp_path / 'a.mp4', num_frames=9)
    return dict(video=video, rawframes=folder, array=array)


@pytest.mark.parametrize('kind', ['video', 'rawframes', 'array'])
def test_every_form_gives_the_same_frames(sources, kind):
    source = VideoSource(sources[kind])
    assert len(source) == 9
    assert [frame_number(image) for image in source.read([8, 0, 3])] == [8, 0, 3]
    parts = list(source.parts(4))
    assert [len(part) for part in parts] == [4, 4, 1]
    assert [frame_number(image) for image in np.concatenate(parts)] == list(range(9))
    assert bool(source.fps) == (kind == 'video')
    assert clip_info(sources[kind])[0] == kind


FORMS = dict(
    tensor=torch.from_numpy,
    planar_tensor=lambda array: torch.from_numpy(array).permute(0, 3, 1, 2),
    list_of_arrays=list,
    tuple_of_tensors=lambda array: tuple(torch.from_numpy(array)),
    list_of_pictures=lambda array: [Image.fromarray(frame) for frame in array],
)


@pytest.mark.parametrize('form', FORMS.values(), ids=list(FORMS))
def test_frames_in_other_forms_are_one_video(array, form):
    kind, info = clip_info(form(array))
    assert kind == 'array'
    assert info['total_frames'] == 9
    np.testing.assert_array_equal(info['array'], array)
    video = form(array)
    videos, several = as_videos(video)
    assert not several
    assert videos[0] is video
    assert as_videos([video, video])[1]


def test_a_folder_tells_its_numbering(sources):
    _, info = clip_info(sources['rawframes'])
    assert (info['filename_tmpl'], info['start_index']) == ('img_{:05}.png', 4)
    assert info['total_frames'] == 9


def test_a_dict_starts_from_its_own_index():
    assert clip_info(dict(filename='a.mp4'))[1]['start_index'] == 0
    kind, info = clip_info(dict(frame_dir='d', start_index=7))
    assert (kind, info['start_index'], info['label']) == ('rawframes', 7, -1)
    assert clip_info(dict(frame_dir='d'))[1]['start_index'] == 1


def test_names_in_messages(array):
    assert clip_name('a.mp4') == clip_name(dict(filename='a.mp4')) == 'a.mp4'
    assert clip_name(array) == f'array of shape {array.shape}'
    assert clip_name(torch.from_numpy(array)) == clip_name(array)
    assert clip_name(list(array)) == 'list of 9 frames'


@pytest.mark.parametrize(
    ('video', 'error', 'message'),
    [
        ('no.mp4', FileNotFoundError, 'no video file or folder of frames no.mp4'),
        ('x' * 5000, FileNotFoundError, 'a path of 5000 characters'),
        (3, TypeError, 'a video is a path, an array .* not int: 3'),
        ([3, 4], TypeError, r'not list: \[3, 4\]'),
        ([], TypeError, r'not list: \[\]'),
        (iter([]), TypeError, 'a list of frames .* not list_iterator: '),
        ([np.zeros((4, 8, 3), np.uint8)] * 2 + [np.zeros((5, 8, 3))], ValueError, 'have one size'),
        ([np.zeros((4, 8, 4), np.uint8)], ValueError, r'not \(1, 4, 8, 4\) of uint8'),
        (torch.zeros(4, 8, 8, 3), ValueError, r'not \(4, 8, 8, 3\) of float32'),
        (np.zeros((4, 8, 8)), ValueError, r'not \(4, 8, 8\) of float64'),
        (np.zeros((0, 8, 8, 3), np.uint8), ValueError, r'not \(0, 8, 8, 3\)'),
        (dict(label=3), ValueError, "needs 'filename', 'frame_dir' or 'array'"),
    ],
)
def test_what_is_no_video_is_one_sentence(video, error, message):
    with pytest.raises(error, match=message):
        clip_info(video)


def test_broken_and_empty_inputs(tmp_path, sources):
    with pytest.raises(ValueError, match=r'holds no numbered images .* "mmaction predict '):
        VideoSource(tmp_path)
    (tmp_path / 'b.mp4').write_bytes(sources['video'].read_bytes()[:300])
    with pytest.raises(ValueError, match=r'b\.mp4. cannot be read'):
        VideoSource(tmp_path / 'b.mp4')
    with pytest.raises(ValueError, match="no input of format 'video' but 'array'"):
        clip_info(sources['array'], 'video')
