"""Raw frames: the frames of the video, in whole folders that RawframeDataset reads."""

import cv2
import numpy as np
import pytest

from mmaction.datasets import RawframeDataset
from mmaction.datasets.decoders import PyAVReader
from tests.video_factory import frame_number, write_broken, write_video
from tools.data import build_file_list, extract_frames


def run(*args):
    with pytest.raises(SystemExit) as caught:
        extract_frames.main([*map(str, args), '--workers', '2', '--timeout', '60'])
    return caught.value.code


def test_extracted_frames_match_video_and_train(tmp_path, odd_names, capsys):
    folder, out = tmp_path / 'in', tmp_path / 'out'
    for label in ('-run', "sit (a) & ; 'b'"):
        (folder / label).mkdir(parents=True)
        for number, name in enumerate(odd_names):
            write_video(folder / label / name, num_frames=20 + number, rotation=90)
    write_broken(folder / '-run' / 'bad.mp4', 'empty')
    assert run(folder, out, '--quality', 100) == 1
    assert 'bad.mp4\t' in (out / 'failures.txt').read_text()
    assert not list(out.rglob('.*'))
    video = PyAVReader(str(folder / '-run' / odd_names[0])).get_batch(range(20))
    images = sorted((out / '-run' / odd_names[0][:-4]).iterdir())
    assert [path.name for path in images] == [f'img_{n:05}.jpg' for n in range(1, 21)]
    read = np.stack([cv2.imread(str(path))[..., ::-1] for path in images])
    assert read.shape == video.shape == (20, 128, 80, 3)
    assert np.abs(read.astype(int) - video).mean() < 2
    assert run(folder, out, '--quality', 100) == 1
    assert '0 videos (0 frames) extracted, 10 were there, 1 failed' in capsys.readouterr().out

    build_file_list.main([str(out), '--rawframes'])
    pipeline = [
        dict(type='SampleFrames', clip_len=4, frame_interval=2, test_mode=True),
        dict(type='RawFrameDecode'),
    ]
    dataset = RawframeDataset('train.txt', pipeline, dict(img=''), data_root=str(out))
    assert len(dataset) == 8
    assert {item['total_frames'] for item in (dataset[i] for i in range(8))} <= set(range(20, 25))
    assert dataset[0]['imgs'][0].shape == (128, 80, 3)


def test_size_names_and_start(tmp_path, capsys):
    (tmp_path / 'in').mkdir()
    write_video(tmp_path / 'in' / 'a.mp4', num_frames=12, width=320, height=160)
    args = (tmp_path / 'in', tmp_path / 'out', '--template', '{:03}.png', '--start-index', 0)
    assert run(*args, '--short-side', 80) == 0
    images = sorted((tmp_path / 'out' / 'a').iterdir())
    assert [path.name for path in images] == [f'{n:03}.png' for n in range(12)]
    image = cv2.imread(str(images[11]))
    assert image.shape == (80, 160, 3)
    assert frame_number(image) == 11
    assert run(*args) == 1
    assert 'give another folder, or --overwrite' in capsys.readouterr().err
    for options in ((), ('--short-side', 200)):  # which enlarges nothing
        assert run(*args, *options, '--overwrite') == 0
        assert cv2.imread(str(images[11])).shape == (160, 320, 3)


def test_frames_of_a_video_that_is_broken_now_are_removed(tmp_path):
    folder, out = tmp_path / 'in', tmp_path / 'out'
    folder.mkdir()
    for name in ('a.mp4', 'b.mp4'):
        write_video(folder / name, num_frames=5)
    assert run(folder, out) == 0
    (folder / 'a.mp4').write_bytes(b'broken')
    assert run(folder, out) == 1
    assert [path.name for path in sorted(out.iterdir())] == [
        'b',
        'extract_frames.json',
        'failures.txt',
    ]


@pytest.mark.parametrize('template', ['img.jpg', '{x}.jpg', 'a/{:05}.jpg', '{:05}.txt'])
def test_template_without_number_is_error(tmp_path, capsys, template):
    assert run(tmp_path, tmp_path / 'out', '--template', template) == 2
    assert 'must be like img_{:05}.jpg' in capsys.readouterr().err


def test_files_beside_the_frames_are_not_removed(tmp_path, capsys):
    folder, out = tmp_path / 'in', tmp_path / 'out'
    folder.mkdir()
    write_video(folder / 'a.mp4', num_frames=5)
    assert run(folder, out) == 0
    (out / 'a' / 'notes.txt').write_text('mine')
    assert run(folder, out, '--overwrite') == 1
    assert 'notes.txt is no frame: move it out' in capsys.readouterr().err
    assert (out / 'a' / 'notes.txt').read_text() == 'mine'
