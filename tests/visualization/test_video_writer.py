"""Files of frames."""

import resource

import av
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from mmaction.errors import FileWriteError
from mmaction.utils.io import save_figure
from mmaction.visualization import ClipWriter, check_out_name, contact_sheet, resize_frames
from mmaction.visualization.text import draw_top_classes
from tests.processes import Forked


def read(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = [frame.to_ndarray(format='rgb24') for frame in container.decode(stream)]
        return np.stack(frames), float(stream.average_rate)


@pytest.fixture
def frames():
    """Frames (6, 47, 61, 3) that get brighter."""
    rows, columns = np.mgrid[0:47, 0:61]
    picture = np.stack([rows * 3, columns * 2, rows + columns], -1)
    return np.stack([picture + 10 * i for i in range(6)]).astype(np.uint8)


@pytest.mark.parametrize(('name', 'size'), [('a/clip.mp4', (48, 62)), ('clip.gif', (47, 61))])
def test_frames_are_written_in_chunks(frames, tmp_path, name, size):
    with ClipWriter(tmp_path / name, 10) as writer:
        writer.write(frames[:4])
        writer.write(frames[4:])
    found, rate = read(tmp_path / name)
    assert found.shape == (6, *size, 3)
    assert rate == pytest.approx(10)
    assert np.abs(found[:, :47, :61].astype(int) - frames).mean() < 5


def test_gif_loops_at_frame_rate(frames, tmp_path):
    with ClipWriter(tmp_path / 'clip.gif', 8) as writer:
        writer.write(frames)
    with Image.open(tmp_path / 'clip.gif') as image:
        assert (image.n_frames, image.info['loop'], image.info['duration']) == (6, 0, 120)


def test_gif_palette_keeps_rare_colors(tmp_path):
    # thousands of dark shades, and a strip of bright colors
    rows, columns = np.mgrid[0:80, 0:80]
    page = np.stack([rows, columns // 2, (rows + columns) // 2], -1).astype(np.uint8)
    page[:4] = np.random.default_rng(0).integers(0, 256, (4, 80, 3))
    page[:4, :4] = (0, 255, 0)
    errors = {}
    for smooth in (False, True):
        with ClipWriter(tmp_path / 'clip.gif', 8, smooth) as writer:
            writer.write(page[None])
        found = read(tmp_path / 'clip.gif')[0][0].astype(int)
        errors[smooth] = np.abs(found - page)
    assert errors[False][:4, :4].max() == 0
    assert errors[True].mean() < 0.8 * errors[False].mean()


@pytest.mark.parametrize('name', ['clip.mp4', 'clip.gif'])
def test_incomplete_output_is_removed(frames, tmp_path, name):
    def fail():
        with ClipWriter(tmp_path / name, 10) as writer:
            writer.write(frames.repeat(20, 0))  # more than the encoder holds back
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert not (tmp_path / name).exists()


def test_unwritable_names_and_rates_are_errors(tmp_path):
    with pytest.raises(ValueError, match=r'clip\.avi: the name has to end in \.gif, \.mp4, \.png'):
        check_out_name('clip.avi')
    with pytest.raises(ValueError, match='fps=0 must be positive'):
        ClipWriter(tmp_path / 'clip.mp4', 0)


def test_output_never_overwrites_input(tmp_path):
    video = tmp_path / 'clip.mp4'
    video.write_bytes(b'film')
    (tmp_path / 'other.mp4').symlink_to(video)
    for name in ('clip.mp4', 'other.mp4'):
        with pytest.raises(ValueError, match=rf'{name} is the video itself; give the result anot'):
            check_out_name(tmp_path / name, source=str(video))
    assert video.read_bytes() == b'film'
    check_out_name(video, source=np.zeros(3))  # an array is no file
    check_out_name(tmp_path / 'new' / 'x.gif', source=video)
    (tmp_path / 'x.png').mkdir()
    with pytest.raises(ValueError, match=r'x\.png is a folder'):
        check_out_name(tmp_path / 'x.png')
    with pytest.raises(PermissionError, match=r'no permission to write to .*clip\.mp4'):
        check_out_name(video / 'x.gif')


def test_unwritable_output_fails_early(tmp_path, monkeypatch):
    monkeypatch.setattr('os.access', lambda path, mode: False)
    with pytest.raises(PermissionError, match=r'x\.gif cannot be written: no permission to write'):
        check_out_name(tmp_path / 'new' / 'x.gif')


def test_resize(frames):
    assert resize_frames(frames, None) is frames
    assert resize_frames(frames, (122, 94)).shape == (6, 94, 122, 3)
    assert resize_frames(frames, (-1, 94)).shape == (6, 94, 122, 3)
    assert resize_frames(frames, (122, None)).shape == (6, 94, 122, 3)
    doubled = frames.repeat(2, 1).repeat(2, 2)
    np.testing.assert_array_equal(resize_frames(frames, (122, 94), 'nearest'), doubled)
    with pytest.raises(ValueError, match=r'\(-1, -1\) is no \(width, height\)'):
        resize_frames(frames, (-1, -1))
    with pytest.raises(ValueError, match="resize algorithm 'magic' is none of"):
        resize_frames(frames, (3, 3), 'magic')


def test_contact_sheet_shows_the_first_and_last_frame_of_each_row(tmp_path):
    red = np.zeros((5, 20, 20, 3), np.uint8)
    for i in range(5):
        red[i, ..., 0] = 50 * (i + 1)
    contact_sheet([('red', red), ('blue', red[..., ::-1])], tmp_path / 'new' / 'sheet.png', 3)
    sheet = np.asarray(Image.open(tmp_path / 'new' / 'sheet.png').convert('RGB'))
    colors = {tuple(c) for c in sheet.reshape(-1, 3)[::7]}
    assert {(50, 0, 0), (150, 0, 0), (250, 0, 0), (0, 0, 50), (0, 0, 150), (0, 0, 250)} <= colors
    assert (100, 0, 0) not in colors


def test_labels_are_drawn_in_the_lower_left_corner_of_copies(frames):
    frames = np.full((2, 200, 300, 3), 128, np.uint8)
    out = draw_top_classes(frames, [('jumping', 0.75), ('a name', 0.25)])
    assert (frames == 128).all()
    changed = (out[0] != 128).any(-1)
    assert (out[0] == out[1]).all()
    rows, columns = changed.nonzero()
    assert rows.max() == 199
    assert columns.min() == 0
    assert rows.min() > 120
    assert columns.max() < 200
    bars = (out[0].astype(int) - (246, 173, 85) == 0).all(-1), (out[0] == (99, 132, 173)).all(-1)
    assert bars[0].any(0).sum() / bars[1].any(0).sum() == pytest.approx(3, rel=0.15)


def test_text_follows_scale_and_color_and_fits_small_frames():
    frames = np.zeros((1, 200, 300, 3), np.uint8)
    top = [('jumping', 0.75)]
    small = draw_top_classes(frames, top, font_color='#00ff00')
    large = draw_top_classes(frames, top, font_scale=2)
    assert (large > 0).any(-1).sum() > 2 * (small > 0).any(-1).sum()
    assert (small[..., 1] > 240).any()
    assert not (large.min(-1) != large.max(-1)).all()
    tiny = draw_top_classes(np.zeros((1, 24, 32, 3), np.uint8), [('a long name ' * 9, 0.5)] * 5)
    assert tiny.shape == (1, 24, 32, 3)
    assert tiny.any()
    with pytest.raises(ValueError, match='unknown color specifier'):
        draw_top_classes(frames, top, font_color='mud')
    with pytest.raises(ValueError, match='font_scale=0'):
        draw_top_classes(frames, top, font_scale=0)


@pytest.mark.parametrize(
    ('size', 'padded'), [((47, 62), (48, 62)), ((48, 61), (48, 62)), ((47, 61), (48, 62)),
                         ((48, 62), (48, 62))]
)  # fmt: skip
def test_only_odd_sides_are_padded(tmp_path, size, padded):
    frames = np.zeros((2, *size, 3), np.uint8)
    frames[:, -1] = frames[:, :, -1] = 200  # what is repeated beyond the edge
    with ClipWriter(tmp_path / 'clip.mp4', 10) as writer:
        writer.write(frames)
    found, _ = read(tmp_path / 'clip.mp4')
    assert found.shape == (2, *padded, 3)
    assert np.abs(found[:, : size[0], : size[1]].astype(int) - frames).mean() < 5
    assert found[:, -1].mean() > 150
    assert found[:, :, -1].mean() > 150


def write_on_a_full_disk(paths):
    """Print the errors of writing to each of the paths, where no file may have over 32 KiB."""
    noise = np.random.default_rng(0).integers(0, 256, (8, 240, 320, 3)).astype(np.uint8)
    figure = Figure()
    figure.subplots().imshow(noise[0])
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 15, 1 << 15))
    for path in paths:
        try:
            if path.suffix == '.png':
                save_figure(figure, path)
            else:
                with ClipWriter(path, 10) as writer:
                    for frame in noise:
                        writer.write(frame[None])
        except FileWriteError as error:
            print(error)


def test_full_disk_leaves_the_file_that_was_there(tmp_path):
    paths = [tmp_path / name for name in ('a.mp4', 'b.gif', 'c.png')]
    for path in paths:
        path.write_text('old')
    output = tmp_path / 'output.txt'
    Forked(write_on_a_full_disk, (paths,), output).check()
    assert output.read_text().splitlines() == [
        f'cannot write {path}: File too large' for path in paths
    ]
    assert sorted(tmp_path.iterdir()) == [*paths, output]
    assert all(path.read_text() == 'old' for path in paths)


def test_file_that_is_given_up_leaves_what_was_there(frames, tmp_path):
    path = tmp_path / 'clip.mp4'
    path.write_text('old')
    wrong = [frames, frames[:, :, :, :1]]
    with pytest.raises(ValueError, match='array shape'), ClipWriter(path, 10) as w:
        list(map(w.write, wrong))
    assert [p.read_text() for p in tmp_path.iterdir()] == ['old']
