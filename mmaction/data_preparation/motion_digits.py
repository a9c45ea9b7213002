"""Make Motion Digits: short videos of handwritten digits whose label is the motion.

Each clip shows one real digit (scikit-learn's `load_digits`) that moves left,
right, up or down, turns clockwise or counter-clockwise, grows or shrinks on a
still background. Everything but the motion is drawn before the label is looked
at, and the label's motion is odd around the middle frame. So the middle frame
is the same picture for all eight labels, and the two labels of a pair (left and
right, grow and shrink, ...) are each other's film played backwards: only the
order of the frames tells them apart.

Written to the output folder: `videos/{train,val}/NNNNN.mp4` (H.264), the lists
`train.txt` and `val.txt` (`path label`), `classes.txt` and `manifest.json`. A
second run with the same arguments reuses a complete dataset and completes an
interrupted one.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import av
import cv2
import numpy as np
from tqdm import tqdm

from mmaction.utils.io import (
    atomic_path,
    lock,
    remove_partials,
    save_figure,
    write_json,
    write_lines,
)

__all__ = [
    'CLASSES',
    'DIGITS',
    'MotionSet',
    'build',
    'make_clip',
    'render_clip',
    'save_preview',
]

CLASSES = (
    'moving left',
    'moving right',
    'moving up',
    'moving down',
    'turning clockwise',
    'turning counter-clockwise',
    'growing',
    'shrinking',
)
SPLITS = ('train', 'val')
SIDE = 80  # height and width of a frame in pixels
FPS = 12
_LENGTHS = (17, 25)  # frames, always odd: the clip has a middle frame
_SIZES = (28.0, 40.0)  # side of the digit's box at the middle frame, in pixels
_SHIFTS = (19.0, 27.0)  # way of a moving digit over the clip, in pixels
_TURNS = (100.0, 200.0)  # angle of a turning digit over the clip, in degrees
_GROWTHS = (1.8, 2.4)  # ratio of the last size to the first
INK = 0.47  # half a digit's extent, as a part of its box
_TRAIN_DIGITS = 1257  # of 1797; the file is ordered by writer, so a cut keeps writers apart
_MASK = 32  # side of the enlarged digit, without its margin
_MARGIN = 12
_OVERSAMPLING = 2


class MotionSet(NamedTuple):
    """A set of clips of moving digits, of which `build` and `make_clip` make any.

    Args:
        name: For messages and the manifest.
        version: Of the pictures: raise it when the same seed gives other clips.
        classes: Names of the labels.
        trajectory: Gives the poses of a digit for a generator and a label, as `trajectory` does.
    """

    name: str
    version: int
    classes: tuple[str, ...]
    trajectory: Callable[[np.random.Generator, int], np.ndarray]


@cache
def digit_masks(split: str) -> np.ndarray:
    """The digits of one split as smooth masks.

    Returns:
        Float32 array of shape (digits, side, side) in [0, 1], the digit's
        8x8 box enlarged to 32x32 with an empty margin around it.
    """
    from sklearn.datasets import load_digits

    images = load_digits().images
    chosen = images[:_TRAIN_DIGITS] if split == 'train' else images[_TRAIN_DIGITS:]
    masks = []
    for image in chosen.astype(np.float32) / 16:
        large = cv2.resize(image, (_MASK, _MASK), interpolation=cv2.INTER_CUBIC)
        large = cv2.GaussianBlur(large, (0, 0), 1.2)
        ramp = np.clip((large - 0.25) / 0.4, 0, 1)
        masks.append(np.pad(ramp * ramp * (3 - 2 * ramp), _MARGIN))
    return np.stack(masks)


def trajectory(rng: np.random.Generator, label: int) -> np.ndarray:
    """Where the digit is in each frame.

    The generator gives the same numbers whatever the label is.

    Returns:
        Array of shape (frames, 4): x and y of the center and the side of the
        box in pixels, and the angle in degrees, clockwise.
    """
    frames = int(rng.integers(_LENGTHS[0] // 2, _LENGTHS[1] // 2 + 1)) * 2 + 1
    size = math.exp(rng.uniform(*np.log(_SIZES)))
    shift = rng.uniform(*_SHIFTS)
    turn = rng.uniform(*_TURNS)
    growth = rng.uniform(*np.log(_GROWTHS))
    # Room for whichever motion comes, so that the place tells nothing about it.
    reach = SIDE / 2 - max(INK * size + shift / 2, INK * size * math.exp(growth / 2))
    x, y = SIDE / 2 + rng.uniform(-reach, reach, size=2)
    angle = rng.uniform(0, 360)

    poses = np.tile([x, y, math.log(size), angle], (frames, 1))
    axis, way = ((0, shift), (1, shift), (3, turn), (2, growth))[label // 2]
    forwards = label in (1, 3, 4, 6)
    poses[:, axis] += np.linspace(-0.5, 0.5, frames) * (way if forwards else -way)
    poses[:, 2] = np.exp(poses[:, 2])
    return poses


DIGITS = MotionSet('Motion Digits', 3, CLASSES, trajectory)


def draw_background(rng: np.random.Generator, light: float) -> np.ndarray:
    """A plain, graded or cloudy still picture of shape (side, side, 3) around `light`."""
    color = light + rng.uniform(-0.08, 0.08, size=3)
    picture = np.ones((SIDE, SIDE, 1), np.float32) * color
    kind = rng.integers(3)
    if kind == 1:
        direction = rng.uniform(0, 2 * math.pi)
        ramp = np.linspace(-1, 1, SIDE)
        slope = math.cos(direction) * ramp[None, :] + math.sin(direction) * ramp[:, None]
        picture += rng.uniform(0.05, 0.12) * slope[..., None]
    elif kind == 2:
        for cells, strength in ((6, 0.07), (18, 0.05)):
            noise = rng.uniform(-strength, strength, size=(cells, cells, 1)).astype(np.float32)
            clouds = cv2.resize(noise, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
            picture += clouds[..., None]
    return picture.astype(np.float32)


def draw_lights(rng: np.random.Generator) -> tuple[float, np.ndarray]:
    """The background's lightness and the digit's color, well apart, in [0, 1]."""
    dark = rng.uniform(0.08, 0.32)
    bright = rng.uniform(dark + 0.5, 0.95)
    back, front = (dark, bright) if rng.random() < 0.6 else (bright, dark)
    return back, front + rng.uniform(-0.15, 0.15, size=3)


def place_digit(mask: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """The mask drawn at a pose: float32 array of shape (side, side, 1)."""
    x, y, size, angle = pose
    scale = _OVERSAMPLING * size / _MASK
    center = (len(mask) - 1) / 2
    # OpenCV counts angles counter-clockwise.
    matrix: np.ndarray = cv2.getRotationMatrix2D((center, center), -angle, scale)
    matrix[:, 2] += np.array([x, y]) * _OVERSAMPLING - 0.5 - center
    wide = cv2.warpAffine(mask, matrix, (SIDE * _OVERSAMPLING,) * 2, flags=cv2.INTER_LINEAR)
    return cv2.resize(wide, (SIDE, SIDE), interpolation=cv2.INTER_AREA)[..., None]


def render_clip(
    rng: np.random.Generator, masks: np.ndarray, label: int, motions: MotionSet = DIGITS
) -> np.ndarray:
    """Draw one clip.

    Args:
        rng: Source of every choice but the motion's kind.
        masks: Digits to choose from, as `digit_masks` gives them.
        label: Index into the classes.
        motions: The set.

    Returns:
        uint8 RGB array of shape (frames, 80, 80, 3).
    """
    mask = masks[rng.integers(len(masks))]
    light, color = draw_lights(rng)
    background = draw_background(rng, light)
    poses = motions.trajectory(rng, label)
    frames = np.empty((len(poses), SIDE, SIDE, 3), np.uint8)
    for frame, pose in zip(frames, poses, strict=True):
        alpha = place_digit(mask, pose)
        picture = background + alpha * (color.astype(np.float32) - background)
        frame[:] = np.clip(picture * 255 + 0.5, 0, 255)
    return frames


def make_clip(
    seed: int, split: str, index: int, motions: MotionSet = DIGITS
) -> tuple[np.ndarray, int]:
    """Clip number `index` of a split: its frames and its label.

    It depends on the arguments alone; labels take turns.
    """
    label = index % len(motions.classes)
    rng = np.random.default_rng([seed, SPLITS.index(split), index])
    return render_clip(rng, digit_masks(split), label, motions), label


def write_video(path: Path, frames: np.ndarray) -> None:
    """Write uint8 RGB frames (T, H, W, 3) as H.264 in an MP4 file, atomically."""
    with atomic_path(path) as part, av.open(str(part), 'w', format='mp4') as container:
        # One thread and a constant quantizer: under rate control (crf), x264 now and then
        # chose differently for the very same frames.
        options = {'qp': '20', 'preset': 'veryfast', 'threads': '1'}
        stream = container.add_stream('libx264', rate=FPS, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = 'yuv420p'
        stream.gop_size = 16
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format='rgb24')))
        container.mux(stream.encode())


def _videos(split: str, clips: int) -> list[str]:
    return [f'videos/{split}/{index:05d}.mp4' for index in range(clips)]


def _digest(out: Path, videos: list[str]) -> str:
    """SHA-256 over the videos in order."""
    total = hashlib.sha256()
    for path in videos:
        total.update(hashlib.sha256((out / path).read_bytes()).digest())
    return total.hexdigest()


def _read_manifest(out: Path, name: str) -> dict[str, Any]:
    """The manifest of an earlier run, empty for a new folder.

    Raises:
        ValueError: The folder holds something else.
    """
    path = out / 'manifest.json'
    if path.is_file():
        try:
            manifest = dict(json.loads(path.read_text(encoding='utf-8')))
        except (ValueError, TypeError):
            raise ValueError(f'{path} is damaged: remove the folder and run again') from None
        if manifest.get('dataset') == name:
            return manifest
    elif not out.exists() or (out.is_dir() and {p.name for p in out.iterdir()} <= {'.lock'}):
        return {}
    raise ValueError(
        f'{out} exists and was not made by this script (no manifest.json names {name}): '
        'remove it, or give a new folder as --out'
    )


def build(
    out: Path,
    train_clips: int,
    val_clips: int,
    seed: int = 0,
    workers: int = 2,
    motions: MotionSet = DIGITS,
) -> dict[str, Any]:
    """Make the dataset in `out`, or complete or reuse what is there.

    Args:
        out: Folder of the dataset.
        train_clips: Number of training clips.
        val_clips: Number of validation clips.
        seed: Non-negative; the clips depend on it and on their number alone.
        workers: Clips that are made at the same time.
        motions: The set.

    Returns:
        The manifest: arguments, digest and how many clips were `made` just now.

    Raises:
        ValueError: An argument is out of range, or `out` holds other things.
        BlockingIOError: Another process is making it.
    """
    for name, value, least in (
        ('--train-clips', train_clips, 1),
        ('--val-clips', val_clips, 1),
        ('--seed', seed, 0),
        ('--workers', workers, 1),
    ):
        if value < least:
            raise ValueError(f'{name} must be at least {least}, not {value}')
    _read_manifest(out, motions.name)  # before anything is written to the folder
    with lock(out, 'tool'):
        remove_partials(out, recursive=True)
        return _build(out, train_clips, val_clips, seed, workers, motions)


def _build(
    out: Path, train_clips: int, val_clips: int, seed: int, workers: int, motions: MotionSet
) -> dict[str, Any]:
    clips = dict(zip(SPLITS, (train_clips, val_clips), strict=True))
    asked = {
        'dataset': motions.name,
        'version': motions.version,
        'side': SIDE,
        'seed': seed,
        'clips': clips,
    }
    manifest = _read_manifest(out, motions.name)
    found = {key: manifest.get(key) for key in asked}
    videos = [path for split in SPLITS for path in _videos(split, clips[split])]

    # A digest is written last: without one the run was interrupted, and the clips that
    # are there are whole. With one a clip may be lost, but if one was changed, all go.
    missing = {path for path in videos if not (out / path).is_file()}
    changed = not missing and manifest.get('digest') not in (None, _digest(out, videos))
    if manifest and (found != asked or changed):
        shutil.rmtree(out / 'videos', ignore_errors=True)
        missing = set(videos)
    if missing or 'digest' not in manifest:
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / 'manifest.json', asked)
        for split in SPLITS:
            (out / 'videos' / split).mkdir(parents=True, exist_ok=True)
        _make_videos(out, seed, clips, missing, workers, motions)
        digest = _digest(out, videos)
        if (
            found == asked
            and manifest.get('digest', digest) != digest
            and len(missing) < len(videos)
        ):
            shutil.rmtree(out / 'videos')  # beside the lost clips, others were changed
            return _build(out, train_clips, val_clips, seed, workers, motions)
        manifest = {**asked, 'digest': digest}
        write_json(out / 'manifest.json', manifest)
    _write_lists(out, clips, motions.classes)
    return {**manifest, 'made': len(missing)}


def _write_lists(out: Path, clips: dict[str, int], classes: tuple[str, ...]) -> None:
    write_lines(out / 'classes.txt', classes)
    for split, count in clips.items():
        lines = (f'{path} {i % len(classes)}' for i, path in enumerate(_videos(split, count)))
        write_lines(out / f'{split}.txt', lines)


def _make_videos(
    out: Path,
    seed: int,
    clips: dict[str, int],
    missing: set[str],
    workers: int,
    motions: MotionSet,
) -> None:
    """Write the missing clips in threads: OpenCV and the encoder let go of the GIL."""

    def make(job: tuple[str, int, str]) -> None:
        split, index, path = job
        write_video(out / path, make_clip(seed, split, index, motions)[0])

    jobs = [
        (split, index, path)
        for split, count in clips.items()
        for index, path in enumerate(_videos(split, count))
        if path in missing
    ]
    for split in SPLITS:
        digit_masks(split)  # once, before the threads ask for it
    with ThreadPoolExecutor(workers) as pool:
        done = pool.map(make, jobs)
        for _ in tqdm(done, total=len(jobs), desc=motions.name, unit='clip', mininterval=0.5):
            pass


def save_preview(path: Path, seed: int = 0, columns: int = 8, motions: MotionSet = DIGITS) -> None:
    """Save a picture with one validation clip of each class, a row each."""
    import matplotlib

    matplotlib.use('Agg')
    import matplotlib.pyplot as plt

    rows = len(motions.classes)
    figure, axes = plt.subplots(
        rows, columns, figsize=(columns + 1.9, rows + 0.5), dpi=110, squeeze=False
    )
    figure.subplots_adjust(0.175, 0.06, 0.99, 0.995, wspace=0.05, hspace=0.05)
    for row, name in enumerate(motions.classes):
        frames, _ = make_clip(seed, 'val', row, motions)
        shown = np.linspace(0, len(frames) - 1, columns).round().astype(int)
        for axis, frame in zip(axes[row], frames[shown], strict=True):
            axis.imshow(frame, interpolation='bicubic')
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
        title = name.replace('turning ', 'turning\n')
        place = {'transform': axes[row, 0].transAxes, 'ha': 'right', 'va': 'center'}
        axes[row, 0].text(-0.12, 0.5, title, fontsize=12, **place)
    left, right = axes[-1, 0].get_position().x0, axes[-1, -1].get_position().x1
    figure.add_artist(
        matplotlib.patches.FancyArrowPatch(
            (left, 0.035), (right, 0.035), arrowstyle='-|>', mutation_scale=14, color='0.35'
        )
    )
    figure.text(left - 0.012, 0.035, 'time', ha='right', va='center', fontsize=12, color='0.35')
    save_figure(figure, path)
    plt.close(figure)
