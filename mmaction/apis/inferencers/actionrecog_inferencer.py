"""Classify one or many videos by one call."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.fileio import dump
from torch import nn

from mmaction.apis.features import clip_features
from mmaction.apis.inference import _run, init_recognizer, predict, top_classes
from mmaction.apis.test_pipeline import pipeline_steps, steps_for
from mmaction.datasets.transforms.pipeline import Pipeline
from mmaction.datasets.video_source import (
    FORMATS,
    Video,
    VideoSource,
    as_videos,
    clip_info,
    clip_name,
)
from mmaction.registry import INFERENCERS, TRANSFORMS
from mmaction.structures import ActionDataSample
from mmaction.utils.class_names import read_class_names
from mmaction.utils.cli import describe
from mmaction.utils.hub import WEIGHTS, is_address, snapshot
from mmaction.utils.io import atomic_path
from mmaction.visualization import (
    ActionVisualizer,
    ClipWriter,
    check_out_name,
    draw_top_classes,
    resize_frames,
)

__all__ = ['ActionRecogInferencer']


@INFERENCERS.register_module(name=['ActionRecogInferencer', 'action-recognition'])
class ActionRecogInferencer:
    """Classify videos, arrays and folders of frames, in batches.

    Of each video one clip, the middle one, and one crop, the center, are looked
    at; `inference_recognizer` takes all views of the test pipeline.

    Args:
        model: Config file, config, or a recognizer of `init_recognizer`.
        weights: Checkpoint; random weights if None.
        device: Where it runs; the first GPU, or the CPU without one, if None.
        label_file: Names of the classes, one a line; those of the checkpoint if None.
        input_format: 'video', 'rawframes', 'array' or 'dict'; told from each input if None.
        pack_cfg: What mmaction2 packs inputs with: `filename_tmpl`, `start_index` and
            `modality` of folders of frames; told from the folder where it is not given.
        scope: Accepted; configs are always of the scope `mmaction`.

    Raises:
        ValueError: `input_format` is none of these; see also `init_recognizer`.

    Source: the class of this name in mmaction2 1.x.
    """

    def __init__(
        self,
        model: str | Path | Config | nn.Module,
        weights: str | Path | None = None,
        device: str | torch.device | None = None,
        label_file: str | Path | None = None,
        input_format: str | None = None,
        pack_cfg: Mapping[str, Any] | None = None,
        scope: str = 'mmaction',
    ) -> None:
        if input_format == 'dict':  # which every call takes
            input_format = None
        if input_format not in (None, *FORMATS):
            raise ValueError(f'input_format={input_format!r} must be one of {FORMATS}, or None')
        self.input_format = input_format
        self._pack = {k: v for k, v in (pack_cfg or {}).items() if k != 'type'}
        unknown = sorted(set(self._pack) - {'filename_tmpl', 'modality', 'start_index'})
        if unknown:
            raise ValueError(f'pack_cfg has unknown keys {unknown}')
        if isinstance(model, nn.Module):
            if weights is not None:
                raise TypeError('weights go with a config; this model has its own')
            self.model: Any = model
        else:
            self.model = init_recognizer(model, weights, device)
            if weights is None:
                warnings.warn(
                    'no weights are given: the predictions are those of random weights, at least '
                    'in the head',
                    stacklevel=2,
                )
        if label_file is None:
            self.classes = self.model.dataset_meta.get('classes')
        else:
            self.classes = read_class_names(label_file, self.model.cls_head.num_classes)
        self._steps = pipeline_steps(self.model.cfg)
        self._pipelines: dict[str, Pipeline] = {}

    @classmethod
    def from_pretrained(
        cls, source: str | Path, device: str | torch.device | None = None, **kwargs: Any
    ) -> ActionRecogInferencer:
        """The inferencer of a published model: `mmaction publish` writes such folders.

        Args:
            source: A folder with config.json and model.safetensors, or
                `hf://ORG/REPO[@REVISION]` on the Hub.
            device: As in the constructor.
            kwargs: Further arguments of the constructor.

        Raises:
            ConfigError: It holds no config of a model.
            CheckpointError: It cannot be fetched, or its weights do not fit.
        """
        folder = snapshot(str(source)) if is_address(source) else Path(source).expanduser()
        for name in ('config.json', WEIGHTS):
            if not (folder / name).is_file():
                raise FileNotFoundError(f'{source} is no published model: it holds no {name}')
        return cls(folder / 'config.json', folder / WEIGHTS, device, **kwargs)

    def __call__(  # noqa: C901 (mmaction2 has all these options in one call)
        self,
        inputs: Video | Sequence[Video],
        batch_size: int = 1,
        return_vis: bool = False,
        show: bool = False,
        wait_time: float = 0,
        draw_pred: bool = True,
        fps: float | None = None,
        out_type: str = 'video',
        target_resolution: tuple[int, int] | None = None,
        vid_out_dir: str | Path | None = None,
        print_result: bool = False,
        pred_out_file: str | Path | None = None,
        return_datasamples: bool = False,
        return_datasample: bool = False,
    ) -> dict[str, Any]:
        """Classify videos.

        Args:
            inputs: A file, a folder of frames `img_00001.jpg, ...`, the frames as uint8 RGB
                (an array or tensor (T, H, W, 3), or a list of arrays (H, W, 3) or PIL images),
                a dict that the pipeline starts from, or a list of these.
            batch_size: Clips that the model sees at once.
            return_vis: Return the labeled frames of each video.
            show: Show them in a window.
            wait_time: Seconds that each is shown.
            draw_pred: Draw the best classes into the frames.
            fps: Frames per second of labeled videos; that of the video if None.
            out_type: 'video' (.mp4) or 'gif'.
            target_resolution: (width, height) of labeled frames; that of the video
                if None.
            vid_out_dir: Write labeled videos into this folder.
            print_result: Print the predictions.
            pred_out_file: Write dict(predictions=[...]) to this .json, .yaml or .pkl file.
            return_datasamples: Give `ActionDataSample`s in the place of dicts.
            return_datasample: The same, as mmaction2 spells it in places.

        Returns:
            dict(predictions=[...]), one for each input in order: dict(pred_labels=[class],
            pred_scores=[score of each class], pred_names=[name],
            top5=[(name, score), ...]), and visualization=[array (T, H, W, 3), ...], None
            without `return_vis`. An input of a list that cannot be read has
            dict(error=text) there, with `return_datasamples` a sample whose only field
            is `error`, and None among the visualizations; the others have their results.

        Raises:
            FileNotFoundError: An input does not exist; found before any is classified.
            ValueError: An input that is given alone cannot be read, or one would be
                overwritten by its labeled video.
            TypeError: An input is of none of these types.
        """
        if batch_size < 1:
            raise ValueError(f'batch_size={batch_size} must be at least 1')
        if out_type not in ('video', 'gif'):
            raise ValueError(f"out_type={out_type!r} must be 'video' or 'gif'")
        pred_out = Path(pred_out_file) if pred_out_file else None
        if pred_out is not None and pred_out.suffix not in ('.json', '.yaml', '.yml', '.pkl'):
            raise ValueError(f'pred_out_file={pred_out} must end in .json, .yaml or .pkl')
        vid_out_dir = vid_out_dir or None
        videos, several = as_videos(inputs)
        entries = [self._entry(video) for video in videos]
        ending = '.gif' if out_type == 'gif' else '.mp4'
        names = _out_names(videos, vid_out_dir, ending)
        for video, name in zip(videos, names, strict=True):
            if name is not None:
                check_out_name(name, (ending,), video)
        samples: list[ActionDataSample] = []
        alone = not several
        for start in range(0, len(videos), batch_size):
            stop = min(start + batch_size, len(videos))
            samples += self._predict(entries[start:stop], videos[start:stop], alone)
        predictions: list[dict[str, Any]] = [
            dict(error=sample.error) if 'error' in sample else self._as_dict(sample)
            for sample in samples
        ]
        drawn: list[np.ndarray | None] | None = None
        try:
            if return_vis or show or vid_out_dir is not None:
                drawn = []
                for index, (video, name) in enumerate(zip(videos, names, strict=True)):
                    prediction = predictions[index]
                    if 'error' in prediction:
                        drawn.append(None)
                        continue
                    top = prediction['top5'] if draw_pred else []
                    wait = wait_time if show else None
                    try:
                        frames = _label(video, top, name, return_vis, target_resolution, fps, wait)
                    except ValueError as error:
                        if alone:
                            raise
                        frames = None
                        prediction['error'] = samples[index].error = describe(error)
                    drawn.append(frames)
        finally:
            # Whatever became of the drawing: the predictions took longer.
            if print_result:
                print(dict(predictions=predictions))
            if pred_out is not None:
                _write_predictions(predictions, pred_out)
        found = samples if return_datasamples or return_datasample else predictions
        return dict(predictions=found, visualization=drawn if return_vis else None)

    def _predict(
        self, entries: Sequence[tuple[str, dict[str, object]]], videos: Sequence[Video], alone: bool
    ) -> list[ActionDataSample]:
        """Predictions of one batch; a clip that cannot be read has its error in its place."""
        clips: list[dict[str, Any]] = []
        samples: list[ActionDataSample | None] = []
        for entry, video in zip(entries, videos, strict=True):
            try:
                clips.append(self._clip(*entry, video))
                samples.append(None)
            except (ValueError, OSError) as error:
                if alone:
                    raise
                samples.append(ActionDataSample(error=describe(error)))
        predicted = iter(predict(self.model, clips) if clips else [])
        return [next(predicted) if sample is None else sample for sample in samples]

    def _entry(self, video: Video) -> tuple[str, dict[str, Any]]:
        kind, info = clip_info(video, self.input_format)
        info.update(self._pack if kind == 'rawframes' else {})
        return kind, info

    def _clip(self, kind: str, info: dict[str, Any], video: Video) -> dict[str, Any]:
        if kind not in self._pipelines:
            steps = steps_for(self._steps, kind, one_view=True)
            self._pipelines[kind] = Pipeline([TRANSFORMS.build(step) for step in steps])
        return _run(self._pipelines[kind], info, video)

    def extract(
        self, inputs: Video | Sequence[Video], kind: str = 'pooled', batch_size: int = 1
    ) -> Any:
        """Features of the backbone for one video, or a list of them.

        Args:
            inputs: As in a call.
            kind: 'pooled' gives (C,) of a video, 'tokens' the map (C, T, H, W).
            batch_size: Clips that the model sees at once.

        Returns:
            A float32 array, or a list of them for a list of videos.
        """
        videos, several = as_videos(inputs)
        found: list[np.ndarray] = []
        for start in range(0, len(videos), batch_size):
            part = videos[start : start + batch_size]
            clips = [self._clip(*self._entry(video), video) for video in part]
            found += list(clip_features(self.model, clips, kind).numpy())
        return found if several else found[0]

    def _as_dict(self, sample: ActionDataSample) -> dict[str, Any]:
        best = top_classes(sample, self.classes)
        return dict(
            pred_labels=sample.pred_label.tolist(),
            pred_scores=sample.pred_score.tolist(),
            pred_names=[best[0][0]],
            top5=best,
        )


def _write_predictions(predictions: list[dict[str, Any]], path: Path) -> None:
    # Through JSON, so that every format holds plain lists.
    plain = json.loads(json.dumps(dict(predictions=predictions)))
    with atomic_path(path) as part:
        dump(plain, part, file_format=path.suffix[1:])


def _out_names(
    videos: Sequence[Video], folder: str | Path | None, ending: str
) -> list[Path | None]:
    """A file in the folder for each video, called like it; a number tells equal names apart."""
    if folder is None:
        return [None] * len(videos)
    stems = [
        Path(clip_name(video)).stem if isinstance(video, (str, Path)) else f'clip_{i}'
        for i, video in enumerate(videos)
    ]
    return [
        Path(folder, (f'{stem}_{i}' if stems.count(stem) > 1 else stem) + ending)
        for i, stem in enumerate(stems)
    ]


def _label(
    video: Video,
    top: Sequence[tuple[str, float]],
    out: Path | None,
    keep: bool,
    resolution: tuple[int, int] | None,
    fps: float | None,
    wait_time: float | None,
) -> np.ndarray | None:
    """Draw the best classes into every frame; write and show these, return them if `keep`."""
    frames = VideoSource(video)
    window: Any = None if wait_time is None else ActionVisualizer('inferencer')
    writer = ClipWriter(out, fps or frames.fps or 30.0) if out is not None else None
    kept = []
    with writer or nullcontext():
        for part in frames.parts():
            drawn = resize_frames(part, resolution)
            if top:
                drawn = draw_top_classes(drawn, top)
            for frame in () if window is None else drawn:
                window.show(frame, win_name=clip_name(video), wait_time=wait_time)
            if writer is not None:
                writer.write(drawn)
            if keep:
                kept.append(drawn)
    return np.concatenate(kept) if keep else None
