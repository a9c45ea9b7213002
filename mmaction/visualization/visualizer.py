"""mmaction2's visualizer: clips with their labels and predictions, as files or in a window."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.dist import master_only
from mmengine.visualization import BaseVisBackend, Visualizer
from mmengine.visualization import LocalVisBackend as _LocalVisBackend
from mmengine.visualization import TensorboardVisBackend as _TensorboardVisBackend
from mmengine.visualization import WandbVisBackend as _WandbVisBackend
from mmengine.visualization.vis_backend import force_init_env

from mmaction.datasets.video_source import Video, VideoSource
from mmaction.registry import VISBACKENDS, VISUALIZERS
from mmaction.structures import ActionDataSample

from .text import draw_text, draw_top_classes
from .video_writer import ClipWriter, resize_frames

__all__ = [
    'ActionVisualizer',
    'LocalVisBackend',
    'TensorboardVisBackend',
    'TrackioVisBackend',
    'WandbVisBackend',
]

OUT_TYPES = {'img': '', 'gif': '.gif', 'video': '.mp4'}


def write_frames(frames: np.ndarray, path: str | Path, out_type: str, fps: float) -> Path:
    """Write frames (T, H, W, 3) as a folder of `0.png, ...`, a .gif or an .mp4 file.

    Returns:
        What was written: `path`, with the ending of its type.

    Raises:
        ValueError: `out_type` is none of 'img', 'gif' and 'video'.
    """
    from PIL import Image

    if out_type not in OUT_TYPES:
        raise ValueError(f'out_type={out_type!r} must be one of {tuple(OUT_TYPES)}')
    ending = OUT_TYPES[out_type]
    path = Path(path)
    if ending:
        path = path if path.suffix.lower() == ending else path.with_name(path.name + ending)
        with ClipWriter(path, fps) as writer:
            writer.write(frames)
        return path
    path.mkdir(parents=True, exist_ok=True)
    for i, frame in enumerate(frames):
        Image.fromarray(frame).save(path / f'{i}.png')
    return path


@VISBACKENDS.register_module()
class LocalVisBackend(_LocalVisBackend):
    """mmengine's backend of files, which also takes clips.

    Source: the class of this name in mmaction2 1.x.
    """

    def add_video(
        self,
        name: str,
        frames: np.ndarray,
        step: int = 0,
        fps: float = 4,
        out_type: str = 'img',
    ) -> None:
        """Write a clip.

        Args:
            name: Of the clip; characters that a folder cannot have become '_'.
            frames: (T, H, W, 3) uint8 RGB.
            step: Of the run.
            fps: Frames per second of a video.
            out_type: 'img': `<save_dir>/<name>/frames_<step>/<i>.png`; 'gif' or
                'video': `<save_dir>/<name>/step_<step>.gif` or `.mp4`.
        """
        safe = re.sub(r'[^\w.-]+', '_', name).strip('.') or 'clip'
        inner = f'frames_{step}' if out_type == 'img' else f'step_{step}'
        write_frames(frames, Path(self._save_dir, safe, inner), out_type, fps)


@VISBACKENDS.register_module()
class TensorboardVisBackend(_TensorboardVisBackend):
    """mmengine's backend for TensorBoard, which also takes clips."""

    @force_init_env
    def add_video(
        self, name: str, frames: np.ndarray, step: int = 0, fps: float = 4, **kwargs: Any
    ) -> None:
        """Log a clip (T, H, W, 3), uint8 RGB; encoding it needs moviepy."""
        clip = frames.transpose(0, 3, 1, 2)[None]
        self._tensorboard.add_video(name, clip, global_step=step, fps=fps)


@VISBACKENDS.register_module()
class WandbVisBackend(_WandbVisBackend):
    """mmengine's backend for Weights & Biases, which also takes clips."""

    @force_init_env
    def add_video(
        self, name: str, frames: np.ndarray, step: int = 0, fps: float = 4, **kwargs: Any
    ) -> None:
        """Log a clip (T, H, W, 3), uint8 RGB, at the logger's own step."""
        import wandb

        clip = wandb.Video(frames.transpose(0, 3, 1, 2), fps=fps, format='gif')
        self._wandb.log({name: clip})


@VISBACKENDS.register_module()
class TrackioVisBackend(BaseVisBackend):
    """Logs to Trackio, which keeps runs in files of this machine (`trackio show` draws them).

    Args:
        save_dir: Of the visualizer; its run's folder names the run.
        project: Name of the project.
        init_kwargs: Further arguments of `trackio.init`.
    """

    def __init__(
        self, save_dir: str, project: str = 'mmaction', init_kwargs: dict[str, Any] | None = None
    ) -> None:
        super().__init__(save_dir)
        self._project, self._init_kwargs = project, init_kwargs or {}

    def _init_env(self) -> None:
        import trackio

        # work_dir/TIME/vis_data
        place = Path(self._save_dir).resolve()
        name = '-'.join(place.parts[-3:-1])
        trackio.init(project=self._project, name=name, **self._init_kwargs)
        self._trackio = trackio

    @property
    @force_init_env
    def experiment(self) -> Any:
        """The module `trackio`, whose run is open."""
        return self._trackio

    @force_init_env
    def add_config(self, config: Config, **kwargs: Any) -> None:
        """Nothing: the work dir holds the config."""

    @force_init_env
    def add_scalar(self, name: str, value: Any, step: int = 0, **kwargs: Any) -> None:
        """Log a number."""
        self._trackio.log({name: float(value)}, step=step)

    @force_init_env
    def add_scalars(
        self, scalar_dict: dict[str, Any], step: int = 0, file_path: str | None = None, **_: Any
    ) -> None:
        """Log several numbers of one step."""
        numbers = {k: float(v) for k, v in scalar_dict.items() if k != 'step'}
        self._trackio.log(numbers, step=step)

    def close(self) -> None:
        """End the run, once what was logged is written."""
        if self._env_initialized:
            self._trackio.finish()
            self._env_initialized = False


@VISUALIZERS.register_module()
class ActionVisualizer(Visualizer):
    """Draws labels and predictions into clips.

    Args:
        name: Name of the instance.
        kwargs: Arguments of mmengine's `Visualizer`: vis_backends, save_dir, ...

    Source: the class of this name in mmaction2 1.x.
    """

    @master_only
    def add_datasample(
        self,
        name: str,
        video: Video,
        data_sample: ActionDataSample | None = None,
        draw_gt: bool = True,
        draw_pred: bool = True,
        draw_score: bool = True,
        rescale_factor: float | None = None,
        show_frames: bool = False,
        text_cfg: dict[str, Any] | None = None,
        wait_time: float = 0.1,
        out_path: str | Path | None = None,
        out_type: str = 'img',
        target_resolution: tuple[int, int] | None = None,
        step: int = 0,
        fps: float = 4,
    ) -> np.ndarray:
        """Draw a clip, and show it, write it or hand it to the backends.

        Args:
            name: Of the clip.
            video: Frames (T, H, W, 3), uint8 RGB, as an array or a list; a video file, or a
                folder of frames.
            data_sample: Its label and prediction.
            draw_gt: Draw the label, where the sample has one.
            draw_pred: Draw the best five classes, where the sample has scores.
            draw_score: With their scores; else the best class alone.
            rescale_factor: Resize the frames by this.
            show_frames: Show them in a window.
            text_cfg: `font_scale` and `font_color` of the text.
            wait_time: Seconds that a frame is shown.
            out_path: Write here, in place of the backends.
            out_type: 'img' (a folder of .png), 'gif' or 'video' (.mp4).
            target_resolution: (width, height) of the frames; one may be -1.
            step: Of the run.
            fps: Frames per second of a video.

        Returns:
            The frames as they are drawn, (T, H, W, 3).

        Raises:
            TypeError: `video` is none of these.
            ValueError: An argument has no such value, or the video cannot be read.
        """
        style = dict(font_scale=1.0, font_color='white')
        unknown = sorted(set(text_cfg or {}) - set(style))
        if unknown:
            raise ValueError(f'text_cfg has unknown keys {unknown}; it takes {sorted(style)}')
        style.update(text_cfg or {})
        source = VideoSource(video)
        frames = source.read(np.arange(len(source)))
        if rescale_factor is not None:
            if rescale_factor <= 0:
                raise ValueError(f'rescale_factor={rescale_factor} must be positive')
            frames = resize_frames(frames, (-1, max(round(frames.shape[1] * rescale_factor), 1)))
        frames = resize_frames(frames, target_resolution)
        if data_sample is not None:
            frames = self._draw(frames, data_sample, draw_gt, draw_pred, draw_score, style)
        if show_frames:
            for frame in frames:
                self.show(frame, win_name=name, wait_time=wait_time)
        if out_path is not None:
            write_frames(frames, out_path, out_type, fps)
        else:
            self.add_video(name, frames, step, fps, out_type)
        self.set_image(frames[-1])
        return frames

    def _draw(
        self,
        frames: np.ndarray,
        sample: ActionDataSample,
        draw_gt: bool,
        draw_pred: bool,
        draw_score: bool,
        style: dict[str, Any],
    ) -> np.ndarray:
        def called(label: int) -> str:
            names = (self.dataset_meta or {}).get('classes')
            return names[label] if names else f'class {label}'

        scores = sample.get('pred_score')
        if draw_pred and scores is not None:
            scores = scores if scores.ndim == 1 else scores.softmax(-1).mean(0)
            best = scores.argsort(descending=True, stable=True)[:5].tolist()
            top = [(called(label), float(scores[label])) for label in best]
            if draw_score:
                frames = draw_top_classes(frames, top, **style)
            else:
                frames = draw_text(frames, top[0][0], 'bottom', **style)
        label = sample.get('gt_label')
        if draw_gt and label is not None:
            if label.is_floating_point():  # one weight of each class, as of several labels
                labels = label.flatten().nonzero().flatten().tolist()
            else:
                labels = [int(one) for one in label.flatten() if one >= 0]
            if labels:
                text = f'label: {", ".join(called(one) for one in labels)}'
                frames = draw_text(frames, text, 'top', **style)
        return frames

    @master_only
    def add_video(
        self,
        name: str,
        frames: np.ndarray,
        step: int = 0,
        fps: float = 4,
        out_type: str = 'img',
    ) -> None:
        """Hand a clip to every backend that takes clips."""
        for backend in self._vis_backends.values():
            if hasattr(backend, 'add_video'):
                backend.add_video(name, frames, step=step, fps=fps, out_type=out_type)
