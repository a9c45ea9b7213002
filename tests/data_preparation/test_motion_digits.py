"""Motion Digits: what is written, that it can be repeated, and that only time tells the class."""

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, RidgeClassifier

from mmaction.data_preparation import motion_digits as md
from mmaction.utils.io import partial_path
from tools.data.motion_digits import make_motion_digits

SCRIPT = Path(make_motion_digits.__file__)
CHANCE = 1 / len(md.CLASSES)


def run_script(*args):
    return subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, args)],
        capture_output=True,
        text=True,
        env={**os.environ, 'OMP_NUM_THREADS': '1'},
    )


def files_of(out):
    return {p.relative_to(out).as_posix(): p.read_bytes() for p in out.rglob('*') if p.is_file()}


@pytest.fixture(scope='module')
def dataset(tmp_path_factory):
    out = tmp_path_factory.mktemp('digits') / 'set'
    md.build(out, train_clips=16, val_clips=8, seed=3, workers=1)
    return out


def read_list(path):
    return [line.rsplit(' ', 1) for line in path.read_text().splitlines()]


def test_structure_and_balance(dataset):
    assert (dataset / 'classes.txt').read_text().splitlines() == list(md.CLASSES)
    assert len(set(md.CLASSES)) == 8
    for split, clips in (('train', 16), ('val', 8)):
        lines = read_list(dataset / f'{split}.txt')
        assert len(lines) == clips
        assert all((dataset / path).stat().st_size > 500 for path, _ in lines)
        counts = np.bincount([int(label) for _, label in lines], minlength=8)
        assert (counts == clips // 8).all()
    assert not list(dataset.rglob('*.part'))


def test_videos_decode_to_what_was_drawn(dataset):
    decord = pytest.importorskip('decord')
    for index, (path, label) in enumerate(read_list(dataset / 'train.txt')[:8]):
        reader = decord.VideoReader(str(dataset / path), num_threads=1)
        drawn, drawn_label = md.make_clip(3, 'train', index)
        assert int(label) == drawn_label
        assert len(reader) == len(drawn)
        assert reader.get_avg_fps() == md.FPS
        decoded = reader.get_batch(range(len(reader))).asnumpy()
        assert decoded.shape == drawn.shape
        # H.264 loses a little, color at half size a little more.
        assert np.abs(decoded.astype(int) - drawn).mean() < 6


def test_output_is_independent_of_workers(dataset, tmp_path):
    out = tmp_path / 'again'
    done = run_script('--out', out, '--train-clips', 16, '--val-clips', 8, '--seed', 3)
    assert done.returncode == 0, done.stderr
    assert '24 clips made' in done.stdout
    assert files_of(out) == files_of(dataset)


def test_encoder_is_deterministic_with_threads(tmp_path):
    frames = md.make_clip(3, 'train', 9)[0]

    def encode(index):
        md.write_video(tmp_path / f'{index}.mp4', frames)
        return (tmp_path / f'{index}.mp4').read_bytes()

    with ThreadPoolExecutor(2) as pool:
        assert len(set(pool.map(encode, range(150)))) == 1


def test_other_seed_and_split_give_other_clips():
    first = md.make_clip(0, 'train', 5)[0]
    for other in (
        md.make_clip(1, 'train', 5),
        md.make_clip(0, 'val', 5),
        md.make_clip(0, 'train', 13),
    ):
        assert other[1] == 5
        assert other[0].shape != first.shape or np.abs(other[0].astype(int) - first).mean() > 5


def test_complete_dataset_is_reused(dataset):
    before = {path: path.stat().st_mtime_ns for path in dataset.rglob('*.mp4')}
    assert md.build(dataset, 16, 8, seed=3)['made'] == 0
    assert {path: path.stat().st_mtime_ns for path in dataset.rglob('*.mp4')} == before


@pytest.mark.parametrize(
    'harm', ['interrupted', 'clip lost', 'clip changed', 'both', 'list changed']
)
def test_incomplete_dataset_is_completed(dataset, tmp_path, harm):
    out = tmp_path / 'set'
    shutil.copytree(dataset, out)
    clip = out / 'videos/train/00007.mp4'
    if harm == 'interrupted':
        manifest = json.loads((out / 'manifest.json').read_text())
        manifest.pop('digest')
        (out / 'manifest.json').write_text(json.dumps(manifest))
        partial_path(out / 'videos/val/00002.mp4').write_bytes(b'half a file')
        for path in (clip, out / 'val.txt', out / 'videos/val/00002.mp4'):
            path.unlink()
    elif harm == 'clip lost':
        clip.unlink()
    elif harm == 'clip changed':
        clip.write_bytes(b'not a video')
    elif harm == 'both':
        clip.write_bytes(b'not a video')
        (out / 'videos/val/00002.mp4').unlink()
    else:
        (out / 'train.txt').write_text('videos/train/00000.mp4 3\n')
    made = md.build(out, 16, 8, seed=3)['made']
    assert (
        made
        == {'interrupted': 2, 'clip lost': 1, 'clip changed': 24, 'both': 24, 'list changed': 0}[
            harm
        ]
    )
    assert files_of(out) == files_of(dataset)


def test_other_arguments_replace_the_dataset(dataset, tmp_path):
    out = tmp_path / 'set'
    shutil.copytree(dataset, out)
    assert md.build(out, 8, 8, seed=4)['made'] == 16
    assert len(list(out.rglob('*.mp4'))) == 16
    assert (out / 'videos/train/00001.mp4').read_bytes() != (
        dataset / 'videos/train/00001.mp4'
    ).read_bytes()


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (('--train-clips', '0'), '--train-clips must be at least 1, not 0'),
        (('--val-clips', '-2'), '--val-clips must be at least 1, not -2'),
        (('--seed', '-1'), '--seed must be at least 0, not -1'),
        (('--workers', '0'), '--workers must be at least 1, not 0'),
        (('--preview', 'picture.jpg'), 'picture.jpg must end in .png'),
    ],
)
def test_wrong_arguments_are_one_clear_error(tmp_path, capsys, args, message):
    out = tmp_path / 'new'
    assert make_motion_digits.main(['--out', str(out), *args]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
    assert not out.exists()


def test_foreign_folder_is_left_alone(tmp_path, capsys):
    (tmp_path / 'thesis.txt').write_text('mine')
    assert make_motion_digits.main(['--out', str(tmp_path)]) == 2
    assert 'was not made by this script' in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ['thesis.txt']


def test_folder_of_another_manifest_is_left_alone(tmp_path):
    (tmp_path / 'manifest.json').write_text('{"dataset": "another"}')
    (tmp_path / 'videos').mkdir()
    with pytest.raises(ValueError, match='was not made by this script'):
        md.build(tmp_path, 8, 8)
    assert (tmp_path / 'videos').exists()


def test_damaged_manifest_is_named(tmp_path):
    (tmp_path / 'manifest.json').write_text('{')
    with pytest.raises(ValueError, match=r'manifest\.json is damaged'):
        md.build(tmp_path, 8, 8)


def test_preview_is_a_picture(tmp_path):
    import cv2

    md.save_preview(tmp_path / 'sub' / 'rows.png', columns=3)
    picture = cv2.imread(str(tmp_path / 'sub' / 'rows.png'))
    assert picture.shape[0] > 500
    assert picture.std() > 20


def test_no_digit_is_in_both_splits():
    train, val = ({mask.tobytes() for mask in md.digit_masks(split)} for split in ('train', 'val'))
    assert len(train) == 1257
    assert len(val) == 540
    assert not train & val


def seeded_clip(label, seed=11):
    return md.render_clip(np.random.default_rng(seed), md.digit_masks('val'), label)


def test_middle_frame_is_the_same_for_all_labels():
    clips = [seeded_clip(label) for label in range(8)]
    assert len(clips[0]) % 2 == 1
    middle = len(clips[0]) // 2
    for clip in clips[1:]:
        np.testing.assert_array_equal(clip[middle], clips[0][middle])
        assert np.abs(clip[0].astype(int) - clips[0][0]).max() > 30


@pytest.mark.parametrize('label', [0, 2, 4, 6])
def test_labels_of_a_pair_are_mirrored_in_time(label):
    one, other = seeded_clip(label), seeded_clip(label + 1)
    assert np.abs(one[::-1].astype(int) - other).max() <= 1
    assert np.abs(one.astype(int) - other).max() > 30


@pytest.mark.parametrize(
    ('label', 'column', 'sign'),
    [(0, 0, -1), (1, 0, 1), (2, 1, -1), (3, 1, 1), (4, 3, 1), (5, 3, -1), (6, 2, 1), (7, 2, -1)],
)
def test_each_label_moves_one_thing_one_way(label, column, sign):
    poses = md.trajectory(np.random.default_rng(2), label)
    steps = np.diff(poses, axis=0)
    assert (sign * steps[:, column] > 0).all()
    assert not np.delete(steps, column, axis=1).any()


def test_drawn_digit_follows_its_pose():
    """The center of mass, the size and the turn of a bar, measured in the picture."""
    mask = np.zeros((56, 56), np.float32)
    mask[13:43, 24:32] = 1  # upright, centered, 30 of 32 pixels of the box high

    def measured(x, y, size, angle):
        drawn = md.place_digit(mask, np.array([x, y, size, angle]))[..., 0]
        rows, columns = np.mgrid[: md.SIDE, : md.SIDE] + 0.5
        cx, cy = (drawn * columns).sum() / drawn.sum(), (drawn * rows).sum() / drawn.sum()
        across, down = columns - cx, rows - cy
        tilt = np.arctan2(2 * (drawn * across * down).sum(), (drawn * (across**2 - down**2)).sum())
        return cx, cy, drawn.sum(), np.degrees(tilt) / 2

    cx, cy, area, _ = measured(30.3, 41.8, 32, 0)
    np.testing.assert_allclose([cx, cy], [30.3, 41.8], atol=0.05)
    assert measured(40, 40, 48, 0)[2] / area == pytest.approx(2.25, rel=0.02)
    # Rows count downwards, so a bar turned clockwise by 30 degrees leans to 120 or -60.
    assert measured(40, 40, 32, 30)[3] == pytest.approx(-60, abs=1)


def test_digit_stays_inside_the_frame():
    for index in range(200):
        poses = md.trajectory(np.random.default_rng([index]), index % 8)
        half = 0.45 * poses[:, 2:3]
        assert (poses[:, :2] - half > 0).all()
        assert (poses[:, :2] + half < md.SIDE).all()
        assert md._LENGTHS[0] <= len(poses) <= md._LENGTHS[1]


def picture_features(frame):
    small = frame.mean(-1).reshape(20, 4, 20, 4).mean((1, 3)).ravel()
    # The digit may be darker or lighter than its ground: both are offered.
    apart = (small - np.median(small)) / 50
    return np.concatenate([apart, np.abs(apart)])


def flow_features(frames):
    """Mean motion of the moving pixels: sideways, down, turning, growing.

    The least-squares solution of the brightness constancy equation for a
    motion that is affine around the center of what changes.
    """
    gray = frames[::4].astype(np.float32).mean(-1)
    rows, columns = np.mgrid[: md.SIDE, : md.SIDE]
    found = []
    for before, after in pairwise(gray):
        change = after - before
        slope_y, slope_x = np.gradient((before + after) / 2)
        weight = change**2
        moving = weight > 0.05 * weight.max()
        x = (columns - (weight * columns).sum() / weight.sum()) / 12
        y = (rows - (weight * rows).sum() / weight.sum()) / 12
        parts = (slope_x, slope_y, slope_y * x - slope_x * y, slope_x * x + slope_y * y)
        system = np.stack(parts, -1)[moving]
        found.append(np.linalg.lstsq(system, -change[moving], rcond=None)[0])
    mean = np.median(found, axis=0)
    return np.concatenate([mean, np.abs(mean)])


def test_class_needs_temporal_order():
    train = [md.make_clip(0, 'train', index) for index in range(240)]
    held_out = [md.make_clip(0, 'val', index) for index in range(160)]

    def score(model, features):
        x, y = zip(*[(features(frames), label) for frames, label in train], strict=True)
        model.fit(np.stack(x), y)
        x, y = zip(*[(features(frames), label) for frames, label in held_out], strict=True)
        return model.score(np.stack(x), y)

    # Three standard deviations of guessing on 160 clips.
    limit = CHANCE + 3 * np.sqrt(CHANCE * (1 - CHANCE) / 160)
    assert score(RidgeClassifier(100), lambda clip: picture_features(clip[len(clip) // 2])) < limit
    assert score(LogisticRegression(C=100, max_iter=1000), flow_features) > 0.9
