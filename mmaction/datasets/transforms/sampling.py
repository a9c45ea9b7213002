"""Which frames of a video make its clips.

All write `frame_inds`, int32 of shape (clips * clip_len,), counted from
`start_index`, and `clip_len`, `frame_interval`, `num_clips`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mmaction.registry import TRANSFORMS

from .base import BaseTransform

__all__ = ['DenseSampleFrames', 'SampleFrames', 'UniformSample', 'UntrimmedSampleFrames']


def _positive(**numbers: float) -> None:
    for name, number in numbers.items():
        if number <= 0:
            raise ValueError(f'{name} must be positive, found {number}')


@TRANSFORMS.register_module()
class SampleFrames(BaseTransform):
    """Clips of `clip_len` frames, `frame_interval` apart.

    Reads total_frames, start_index, and avg_fps with `target_fps`.

    In training each of `num_clips` equal segments holds one clip at a random
    start; a clip takes a window of clip_len * frame_interval frames. In testing
    with `clip_len` 1 the middle of each segment is taken. With longer clips,
    `test_sampling` chooses the starts:

    - 'spread' (mmaction2 1.x): evenly from 0 to the last start at which the
      clip fits, one clip alone in the middle; the window ends with the last
      frame, (clip_len - 1) * frame_interval + 1. 100 frames, 32 x 2, 4 clips
      start at 0, 12, 25, 37.
    - 'segment_centers' (mmaction2 0.x, with which the published DualFormer
      accuracies were measured): the middle of each of `num_clips` equal parts
      of the possible starts; the window is clip_len * frame_interval. 300
      frames, 32 x 2, 4 clips start at 29, 88, 148, 207.

    Args:
        clip_len: Frames per clip.
        frame_interval: Distance of neighboring frames of a clip.
        num_clips: Clips per video.
        temporal_jitter: Shift each frame by a random part of the interval.
        twice_sample: In testing, twice as many clips: those at the middles of
            segments, then those at their starts; with 'spread' and longer clips
            2 * num_clips clips from the first start to the last.
        out_of_bound_opt: What stands for frames after the last one: 'loop'
            starts again at the first, 'repeat_last' repeats the last one taken.
        test_mode: Place clips without chance.
        keep_tail_frames: Training segments are not rounded down to whole frames,
            so that the last frames can be drawn too.
        target_fps: Sample as if the video had this rate.
        test_sampling: See above.

    Source: the transforms of this name in mmaction2 1.2 and 0.x.
    """

    shown: tuple[str, ...] = (
        'clip_len',
        'frame_interval',
        'num_clips',
        'temporal_jitter',
        'twice_sample',
        'out_of_bound_opt',
        'test_mode',
    )

    def __init__(
        self,
        clip_len: int,
        frame_interval: int = 1,
        num_clips: int = 1,
        temporal_jitter: bool = False,
        twice_sample: bool = False,
        out_of_bound_opt: str = 'loop',
        test_mode: bool = False,
        keep_tail_frames: bool = False,
        target_fps: float | None = None,
        test_sampling: str = 'spread',
    ) -> None:
        _positive(clip_len=clip_len, frame_interval=frame_interval, num_clips=num_clips)
        if out_of_bound_opt not in ('loop', 'repeat_last'):
            raise ValueError(
                f"out_of_bound_opt must be 'loop' or 'repeat_last', found {out_of_bound_opt!r}"
            )
        if test_sampling == 'segment_centres':
            raise ValueError("test_sampling='segment_centres' is now spelled 'segment_centers'")
        if test_sampling not in ('spread', 'segment_centers'):
            raise ValueError(
                f"test_sampling must be 'spread' or 'segment_centers', found {test_sampling!r}"
            )
        if target_fps is not None:
            _positive(target_fps=target_fps)
        self.clip_len = clip_len
        self.frame_interval = frame_interval
        self.num_clips = num_clips
        self.temporal_jitter = temporal_jitter
        self.twice_sample = twice_sample
        self.out_of_bound_opt = out_of_bound_opt
        self.test_mode = test_mode
        self.keep_tail_frames = keep_tail_frames
        self.target_fps = target_fps
        self.test_sampling = test_sampling

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Choose the frames."""
        total = results['total_frames']
        window = self._window(results.get('avg_fps'))
        starts = self._test_starts(total, window) if self.test_mode else self._starts(total, window)
        if self.target_fps is not None:
            steps: np.ndarray = np.linspace(0, window - 1, self.clip_len).astype(np.int32)
        else:
            steps = np.arange(self.clip_len) * self.frame_interval
        frames = np.add.outer(starts, steps)
        if self.temporal_jitter:
            jitter = np.random.randint(self.frame_interval, size=frames.size)
            frames = frames + jitter.reshape(frames.shape)
        inside = self._within(frames, total).reshape(-1)
        results['frame_inds'] = (inside + results['start_index']).astype(np.int32)
        results['clip_len'] = self.clip_len
        results['frame_interval'] = self.frame_interval
        results['num_clips'] = self.num_clips
        return results

    def _window(self, fps: float | None) -> float:
        """Frames of the video that a clip spans."""
        window = self.clip_len * self.frame_interval
        if self.target_fps is not None:
            return max(1.0, window * (fps / self.target_fps if fps else 1.0))
        if self.test_mode and self.test_sampling == 'spread':
            return window - self.frame_interval + 1
        return window

    def _starts(self, total: int, window: float) -> np.ndarray:
        """Random starts, one in each segment of the possible ones."""
        order = np.arange(self.num_clips)
        if self.keep_tail_frames:
            segment = (total - window + 1) / float(self.num_clips)
            if total <= window - 1:
                return np.zeros(self.num_clips, np.int32)
            shifts = np.random.uniform(0, segment, self.num_clips)
            return (order * segment + shifts).astype(np.int32)
        segment = (total - window + 1) // self.num_clips
        if segment > 0:
            return order * segment + np.random.randint(int(segment), size=self.num_clips)
        if total > max(self.num_clips, window):
            return np.sort(np.random.randint(int(total - window + 1), size=self.num_clips))
        if segment == 0:
            return np.around(order * (total - window + 1.0) / self.num_clips)
        return np.zeros(self.num_clips, np.int32)

    def _test_starts(self, total: int, window: float) -> np.ndarray:
        """Starts without chance."""
        if self.clip_len == 1:
            return self._segment_centers(total)
        if self.test_sampling == 'segment_centers':
            return self._segment_centers(max(total - window + 1, 0))
        num_clips = self.num_clips * (2 if self.twice_sample else 1)
        last = max(total - window, 0)
        if num_clips == 1:
            return np.array([last // 2])
        distance = last / float(num_clips - 1)
        if self.target_fps is not None:
            starts: np.ndarray = np.arange(num_clips) * np.floor(distance)
            return starts
        return np.round(np.arange(num_clips) * distance)

    def _segment_centers(self, length: float) -> np.ndarray:
        """The middles of equal segments, then maybe their starts."""
        segment = length / float(self.num_clips)
        starts = np.arange(self.num_clips) * segment
        middles = (starts + segment / 2.0).astype(np.int32)
        return np.concatenate([middles, starts]) if self.twice_sample else middles

    def _within(self, frames: np.ndarray, total: int) -> np.ndarray:
        """Bring frame numbers (clips, clip_len) after the end back into the video."""
        if self.out_of_bound_opt == 'loop':
            wrapped: np.ndarray = np.mod(frames, total)
            return wrapped
        inside = frames < total
        last = np.max(frames * inside, axis=1, keepdims=True)
        return np.where(inside, frames, last)


@TRANSFORMS.register_module()
class DenseSampleFrames(SampleFrames):
    """Clips out of one stretch of `sample_range` frames.

    The clips start `sample_range // num_clips` apart. In training the stretch
    lies anywhere; in testing there are `num_sample_positions` stretches, so
    num_clips * num_sample_positions clips, though `num_clips` is written as
    configured.

    Args:
        clip_len: Frames per clip.
        frame_interval: Distance of neighboring frames of a clip.
        num_clips: Clips per stretch.
        sample_range: Length of the stretch in frames.
        num_sample_positions: Stretches in testing.
        temporal_jitter: Shift each frame by a random part of the interval.
        out_of_bound_opt: 'loop' or 'repeat_last'.
        test_mode: Place clips without chance.

    Source: the transform of this name in mmaction2 1.2.
    """

    shown = (
        'clip_len',
        'frame_interval',
        'num_clips',
        'sample_range',
        'num_sample_positions',
        'temporal_jitter',
        'out_of_bound_opt',
        'test_mode',
    )

    def __init__(
        self,
        clip_len: int,
        frame_interval: int = 1,
        num_clips: int = 1,
        sample_range: int = 64,
        num_sample_positions: int = 10,
        temporal_jitter: bool = False,
        out_of_bound_opt: str = 'loop',
        test_mode: bool = False,
    ) -> None:
        super().__init__(
            clip_len,
            frame_interval,
            num_clips,
            temporal_jitter,
            out_of_bound_opt=out_of_bound_opt,
            test_mode=test_mode,
        )
        _positive(sample_range=sample_range, num_sample_positions=num_sample_positions)
        self.sample_range = sample_range
        self.num_sample_positions = num_sample_positions

    def _offsets(self) -> np.ndarray:
        return np.arange(self.num_clips) * (self.sample_range // self.num_clips)

    def _starts(self, total: int, window: float) -> np.ndarray:
        positions = max(1, 1 + total - self.sample_range)
        first = 0 if positions == 1 else np.random.randint(0, positions - 1)
        return (self._offsets() + first) % total

    def _test_starts(self, total: int, window: float) -> np.ndarray:
        positions = max(1, 1 + total - self.sample_range)
        firsts = np.linspace(0, positions - 1, num=self.num_sample_positions, dtype=int)
        frames: np.ndarray = (firsts[:, None] + self._offsets()[None, :]).reshape(-1) % total
        return frames


@TRANSFORMS.register_module()
class UniformSample(BaseTransform):
    """One frame out of each of `clip_len` equal segments of the video.

    In training the frame is drawn; in testing clip k of n takes the frame
    (k + 1) / (n + 1) into the segment.

    Args:
        clip_len: Frames per clip.
        num_clips: Clips per video; more than one needs `test_mode`.
        test_mode: Take frames without chance.

    Source: the transform of this name in mmaction2 1.2.
    """

    shown = ('clip_len', 'num_clips', 'test_mode')

    def __init__(self, clip_len: int, num_clips: int = 1, test_mode: bool = False) -> None:
        _positive(clip_len=clip_len, num_clips=num_clips)
        if num_clips > 1 and not test_mode:
            raise ValueError(f'num_clips={num_clips}: more than one clip needs test_mode=True')
        self.clip_len = clip_len
        self.num_clips = num_clips
        self.test_mode = test_mode

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Choose the frames."""
        size = float(results['total_frames'] - 1) / self.clip_len
        bounds = np.round(size * np.arange(self.clip_len + 1)).astype(int)
        if self.test_mode:
            into = (size / (self.num_clips + 1) * np.arange(1, self.num_clips + 1)).astype(int)
            frames = (bounds[None, :-1] + into[:, None]).reshape(-1)
        else:
            frames = np.random.randint(bounds[:-1], bounds[1:] + 1)
        results['frame_inds'] = (frames + results['start_index']).astype(np.int32)
        results['clip_len'] = self.clip_len
        results['frame_interval'] = None
        results['num_clips'] = self.num_clips
        return results


@TRANSFORMS.register_module()
class UntrimmedSampleFrames(BaseTransform):
    """A clip around every `clip_interval`-th frame of a long video.

    Writes as many clips as the video has room for, and `clip_interval`; frames
    before the first and after the last one are replaced by these.

    Args:
        clip_len: Frames per clip.
        clip_interval: Distance of the middles of neighboring clips.
        frame_interval: Distance of neighboring frames of a clip.

    Source: the transform of this name in mmaction2 1.2.
    """

    shown = ('clip_len', 'clip_interval', 'frame_interval')

    def __init__(self, clip_len: int = 1, clip_interval: int = 16, frame_interval: int = 1) -> None:
        _positive(clip_len=clip_len, clip_interval=clip_interval, frame_interval=frame_interval)
        self.clip_len = clip_len
        self.clip_interval = clip_interval
        self.frame_interval = frame_interval

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Choose the frames.

        Raises:
            ValueError: The video is shorter than half a `clip_interval`.
        """
        total = results['total_frames']
        middles = np.arange(self.clip_interval // 2, total, self.clip_interval)
        if not len(middles):
            raise ValueError(
                f'a video of {total} frames is too short for clip_interval={self.clip_interval}'
            )
        steps = (np.arange(self.clip_len) - self.clip_len // 2) * self.frame_interval
        frames = np.clip(middles[:, None] + steps[None, :], 0, total - 1).reshape(-1)
        results['frame_inds'] = (frames + results['start_index']).astype(np.int32)
        results['clip_len'] = self.clip_len
        results['frame_interval'] = self.frame_interval
        results['clip_interval'] = self.clip_interval
        results['num_clips'] = len(middles)
        return results
