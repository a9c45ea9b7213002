"""demo/webcam_demo.py, with a file in the camera's place."""

import av
import numpy as np
import pytest

from demo import webcam_demo
from mmaction.apis import init_recognizer
from mmaction.apis.inference import load_clip, predict
from mmaction.apis.test_pipeline import pipeline_steps, steps_for
from mmaction.datasets.video_source import VideoSource
from mmaction.visualization import enlarge
from tests.demo.conftest import NAMES, write_model
from tests.video_factory import cut_video, set_display_matrix, write_video


@pytest.fixture
def files(tmp_path):
    """Config, checkpoint and video."""
    write_model(tmp_path)
    write_video(tmp_path / 'clip.mp4', 30, 64, 48, fps=10)
    return [str(tmp_path / name) for name in ('config.py', 'model.pth', 'clip.mp4')]


def run(files, *options):
    config, checkpoint, video = files
    webcam_demo.main([config, checkpoint, '--camera-id', video, '--device', 'cpu', *options])


def test_webcam_prints_predictions_and_writes_video(files, tmp_path, capsys):
    out = tmp_path / 'out.mp4'
    run(files, '--headless', '--out-filename', str(out))
    *lines, written = capsys.readouterr().out.splitlines()
    assert written == f'written: {out} (30 frames)'
    assert lines[0].startswith('  0:00.7  ')  # a clip spans 7 frames
    assert all(line.split(' %  ')[1] in NAMES for line in lines)
    with av.open(str(out)) as container:
        shown = np.stack([f.to_ndarray(format='rgb24') for f in container.decode(video=0)])
        assert container.streams.video[0].average_rate == 10
    plain = enlarge(VideoSource(files[2]).read(range(30)))
    assert shown.shape[1] == plain.shape[1] == 224
    change = np.abs(shown[:, 120:, :100].astype(int) - plain[:, 120:, :100]).mean((1, 2, 3))
    assert change[:6].max() < 8 < 20 < change[6:].min()  # no panel before the first result


def test_webcam_scores_average_recent_clips(files):
    config, checkpoint, video = files
    model = init_recognizer(config, checkpoint, 'cpu')
    frames = VideoSource(video).read(range(30))
    watcher = webcam_demo.Watcher(model, 0.5, 2, wait=True)
    found = [watcher.see(frame) for frame in frames]
    watcher.close()
    at = [i for i, scores in enumerate(found) if scores is not None]
    assert at == list(range(6, 30, 4))
    steps = steps_for(pipeline_steps(model.cfg), 'array', one_view=True)
    expected = [
        predict(model, [load_clip(model, frames[i - 6 : i + 1], steps)])[0].pred_score.numpy()
        for i in at
    ]
    np.testing.assert_allclose(found[at[0]], expected[0], rtol=1e-5)
    for i, before, now in zip(at[1:], expected, expected[1:], strict=False):
        np.testing.assert_allclose(found[i], (before + now) / 2, rtol=1e-5)


def test_threshold_time_and_short_input(files, capsys):
    run(files, '--headless', '--threshold', '1.1', '--seconds', '1')
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1
    assert lines[0].endswith(' %  ?')
    run(files, '--headless', '--seconds', '0.5')
    assert '5 frames: too few for a clip of 7' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('options', 'text'),
    [
        (['--camera-id', '97', '--headless'], 'camera 97 cannot be opened'),
        (['--camera-id', 'nowhere.mp4', '--headless'], 'there is no video file'),
        (['--headless', '--out-filename', 'a.png'], 'has to end in .mp4, .gif'),
        (['--headless', '--stride', '0'], '--stride 0.0 and --average-size 1 must be positive'),
        ([], 'no window can be opened'),
    ],
)
def test_errors(files, monkeypatch, capsys, options, text):
    monkeypatch.delenv('DISPLAY', raising=False)
    with pytest.raises(SystemExit):
        run(files, *options)
    assert text in capsys.readouterr().err


def test_file_is_read_as_training_reads_it(tmp_path):
    """Cut, mirrored and interlaced files, which OpenCV reads otherwise."""
    whole = write_video(tmp_path / 'whole.mp4', num_frames=40, key_interval=20, b_frames=2)
    paths = [cut_video(whole, tmp_path / 'cut.mp4', 25)]
    mirrored = write_video(tmp_path / 'mirrored.mp4', num_frames=10)
    paths.append(set_display_matrix(mirrored, -65536, 0, 0, 65536))
    paths.append(write_video(tmp_path / 'i.mp4', 10, options={'x264-params': 'tff=1'}))
    for path in paths:
        camera = webcam_demo.Camera(str(path))
        assert camera.fps == 25
        source = VideoSource(str(path))
        assert np.array_equal(np.stack(list(camera)), source.read(range(len(source))))
