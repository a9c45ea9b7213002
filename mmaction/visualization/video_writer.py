"""Frames as .mp4, .gif and .png files.

Frames are uint8 RGB arrays (T, H, W, 3).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack, nullcontext, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from mmaction.datasets.transforms import functional
from mmaction.utils.io import atomic_path, save_figure

__all__ = ['ClipWriter', 'check_out_name', 'contact_sheet', 'enlarge', 'resize_frames']


def check_out_name(
    path: str | Path, endings: Sequence[str] = ('.gif', '.mp4', '.png'), source: Any = None
) -> None:
    """See before the work that its result can be written.

    Args:
        path: The file to be.
        endings: Formats that there are.
        source: The video that is read; any other kind of input is left alone.

    Raises:
        ValueError: The name has another ending, or is that of the video or of a folder.
        PermissionError: Nothing can be written there.
    """
    out = Path(path)
    if out.suffix.lower() not in endings:
        raise ValueError(f'{path}: the name has to end in {", ".join(endings)}')
    if out.is_dir():
        raise ValueError(f'{path} is a folder; the result needs the name of a file')
    is_path = isinstance(source, (str, Path)) and Path(source).exists()
    if is_path and out.exists() and out.samefile(source):
        raise ValueError(f'{path} is the video itself; give the result another name')
    place = out if out.exists() else next(p for p in out.absolute().parents if p.exists())
    if not os.access(place, os.W_OK) or not (place == out or place.is_dir()):
        raise PermissionError(f'{path} cannot be written: no permission to write to {place}')


def resize_frames(
    frames: np.ndarray,
    resolution: tuple[int | None, int | None] | None,
    algorithm: str = 'bicubic',
) -> np.ndarray:
    """Frames of (width, height); where one of these is None or -1 it follows the other.

    Raises:
        ValueError: The algorithm or the size is none.
    """
    known = tuple(functional.INTERPOLATIONS)
    if algorithm not in known:
        raise ValueError(f'resize algorithm {algorithm!r} is none of {known}')
    if resolution is None:
        return frames
    height, width = frames.shape[1:3]
    w, h = (None if side in (None, -1) else side for side in resolution)
    if (w is None and h is None) or any(side is not None and side < 1 for side in (w, h)):
        raise ValueError(
            f'target resolution {tuple(resolution)} is no (width, height); one may be -1'
        )
    size = (w or max(round(width * h / height), 1), h or max(round(height * w / width), 1))
    resized: np.ndarray = functional.resize_frames(frames, size, algorithm)
    return resized


def enlarge(frames: np.ndarray, height: int = 224) -> np.ndarray:
    """Frames of at least this height, of which text and saliency need some to look well."""
    return frames if frames.shape[1] >= height else resize_frames(frames, (-1, height))


class ClipWriter:
    """Write frames to an .mp4 (H.264) or .gif file, part by part.

    Use it in a `with` statement.

    Args:
        path: The file; folders above it are made.
        fps: Frames per second. A GIF keeps hundredths of a second.
        smooth: Give the 256 colors of a GIF's frame to fine shades, such as those of
            saliency, at the cost of rare colors, such as those of a legend.

    Raises:
        ValueError: The name ends in neither, or `fps` is not positive.
    """

    def __init__(self, path: str | Path, fps: float, smooth: bool = False) -> None:
        check_out_name(path, ('.mp4', '.gif'))
        if fps <= 0:
            raise ValueError(f'fps={fps} must be positive')
        self.path = Path(path)
        self.fps = fps
        self.smooth = smooth
        self._container: Any = None
        self._stream: Any = None
        self._pages: list[Any] = []
        self._file = ExitStack()

    def __enter__(self) -> ClipWriter:
        return self

    def write(self, frames: np.ndarray) -> None:
        """Append frames (N, H, W, 3)."""
        if self.path.suffix.lower() == '.gif':
            from PIL import Image

            # Unlike the median cut, this keeps rare colors, those of a legend, as they are.
            how = Image.Quantize.MEDIANCUT if self.smooth else Image.Quantize.MAXCOVERAGE
            dither = Image.Dither.NONE
            self._pages += [Image.fromarray(f).quantize(256, how, dither=dither) for f in frames]
            return
        import av

        # Pictures of H.264 in 4:2:0 have even sides.
        height, width = frames.shape[1:3]
        frames = np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode='edge')
        if self._container is None:
            part = self._file.enter_context(atomic_path(self.path))
            self._container = av.open(str(part), 'w', format='mp4')
            rate = Fraction(self.fps).limit_denominator(1001)
            self._stream = self._container.add_stream('libx264', rate=rate)
            self._stream.height, self._stream.width = frames.shape[1:3]
            self._stream.pix_fmt = 'yuv420p'
            self._stream.options = {'crf': '18'}
        for frame in frames:
            encoded = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format='rgb24')
            self._container.mux(self._stream.encode(encoded))

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        container, pages = self._container, self._pages
        self._container, self._pages = None, []
        with self._file:
            if container is not None:
                try:
                    if error is None:
                        container.mux(self._stream.encode())
                finally:
                    # On a disk that is full it fails as well, which is no news then.
                    with suppress(OSError) if error else nullcontext():
                        container.close()
            if error is not None:
                raise error
            if pages:
                first, *rest = pages
                step = max(round(100 / self.fps), 1) * 10
                part = self._file.enter_context(atomic_path(self.path))
                options = dict(save_all=True, append_images=rest, duration=step, loop=0)
                first.save(part, 'GIF', **options)


def contact_sheet(
    rows: Sequence[tuple[str, np.ndarray]],
    path: str | Path,
    columns: int = 8,
    captions: Sequence[str] | None = None,
    title: str = '',
    colormap: str | None = None,
) -> None:
    """Write clips one below the other, each as a row of evenly spaced frames.

    Args:
        rows: Name and frames (T, H, W, 3) of each clip; frames of a row have one size.
        path: The .png file.
        columns: Most frames in a row.
        captions: A text above each column; only where all clips have equally many
            frames, of which these are the T captions.
        title: Headline.
        colormap: Draw the scale of this color map, from 0 to 1, at the right.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

    columns = min(columns, max(len(frames) for _, frames in rows))
    aspect = max(frames.shape[1] / frames.shape[2] for _, frames in rows)
    label_width = max(len(line) for name, _ in rows for line in name.split('\n')) * 0.075 + 0.15
    side = 1.35
    size = (
        columns * side + label_width + (0.6 if colormap else 0),
        len(rows) * (side * aspect + 0.04) + (0.35 if title else 0) + (0.22 if captions else 0),
    )
    figure = Figure(figsize=size, layout='constrained')
    layout: Any = figure.get_layout_engine()
    layout.set(w_pad=0.015, h_pad=0.015, wspace=0, hspace=0)
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for row, (name, frames) in enumerate(rows):
        chosen = np.linspace(0, len(frames) - 1, columns).round().astype(int)
        for column, index in enumerate(chosen):
            axis = axes[row, column]
            axis.imshow(frames[index], interpolation='nearest')
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
            if row == 0 and captions is not None:
                axis.set_title(captions[index], fontsize=8, pad=3)
        axes[row, 0].set_ylabel(name, rotation=0, ha='right', va='center', fontsize=9, labelpad=6)
    if colormap:
        bar = figure.colorbar(ScalarMappable(cmap=colormap), ax=axes, fraction=0.02, pad=0.01)
        bar.set_ticks([0, 1])
        bar.ax.tick_params(labelsize=8)
        bar.outline.set_visible(False)
    if title:
        figure.suptitle(title, fontsize=11, weight='bold')
    save_figure(figure, path, dpi=160)
