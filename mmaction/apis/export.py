"""Exporting a recognizer to ONNX or torch.export, and checking what was exported."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmaction.apis.inference import init_recognizer, load_clip
from mmaction.apis.test_pipeline import pipeline_steps
from mmaction.errors import ConfigError
from mmaction.models.lora import merge_lora
from mmaction.structures import ActionDataSample
from mmaction.utils.io import atomic_path
from mmaction.utils.remote import is_remote, redacted
from mmaction.version import __version__

__all__ = [
    'Classifier',
    'check',
    'decoded_views',
    'describe_model',
    'export',
    'export_checked',
    'predict',
]

TOLERANCE = 1e-4


class Classifier(nn.Module):
    """What is exported: the recognizer's own steps from a clip to its scores.

    Args:
        recognizer: In evaluation mode.
        by_frame: Whether it is a `Recognizer2D`.
    """

    def __init__(self, recognizer: Any, by_frame: bool = False) -> None:
        super().__init__()
        self.recognizer = recognizer
        self.by_frame = by_frame
        # It saves memory, changes no score, and has no meaning for a batch of any size.
        recognizer.test_cfg.pop('max_testing_views', None)

    def forward(self, clips: Tensor) -> Tensor:
        """(batch, 3, T, H, W), 0 to 255 -> scores (batch, classes), each clip for itself.

        Frames (batch, T, 3, H, W) likewise; the crops that they are of are averaged.
        """
        inputs = clips if self.by_frame else clips[:, None]
        data = self.recognizer.data_preprocessor(dict(inputs=inputs, data_samples=None))
        feats, head_kwargs = self.recognizer.extract_feat(
            data['inputs'], stage='neck', test_mode=True
        )
        head_kwargs.pop('loss_aux', None)
        head = self.recognizer.cls_head
        scores = head.average_clip(head(feats, **head_kwargs), self._crops(clips.shape[1]))
        flat: Tensor = scores.flatten(0, 1) if scores.ndim == 3 else scores
        return flat

    def _crops(self, frames: int) -> int:
        """Scores of a clip that the head gives: one for each crop of a 2-D model with segments."""
        if not self.by_frame:
            return 1
        parts = (self.recognizer.backbone, self.recognizer.cls_head)
        segments = (getattr(part, 'num_segments', None) for part in parts)
        return frames // (next(filter(None, segments), None) or frames)


def decoded_views(recognizer: Any, video: str | None) -> Tensor:
    """Views (V, 3, T, H, W), or frames (T, 3, H, W), of a video, uint8, by the test pipeline."""
    if video is not None:
        given: Tensor = load_clip(recognizer, video)['inputs']
        return given
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, 'generated.mp4')
        _write_video(path)
        inputs: Tensor = load_clip(recognizer, str(path))['inputs']
        return inputs


def _write_video(path: Path, frames: int = 90, width: int = 340, height: int = 256) -> None:
    """Moving colored blocks: no channel, place or moment is like another."""
    blocks = np.random.default_rng(0).integers(0, 256, (height // 16, width // 20, 3), np.uint8)
    pattern = blocks.repeat(16, 0).repeat(20, 1)
    with av.open(str(path), 'w') as container:
        stream: Any = container.add_stream('mpeg4', rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, 'yuv420p'
        for index in range(frames):
            image = np.ascontiguousarray(np.roll(pattern, 3 * index, axis=1))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, 'rgb24')))
        container.mux(stream.encode())


def predict(recognizer: Any, views: Tensor) -> Tensor:
    """What `mode='predict'` gives for the views or frames of one video: (K,) or (V, K)."""
    with torch.no_grad():
        (sample,) = recognizer.test_step(dict(inputs=[views], data_samples=[ActionDataSample()]))
    scores: Tensor = sample.pred_score.float()
    return scores


def describe_model(recognizer: Any, shape: tuple[int, int, int]) -> dict[str, Any]:
    """The metadata: all that a program has to know to feed the model and read its answer."""
    cfg, head = recognizer.cfg, recognizer.cls_head
    preprocessor = recognizer.data_preprocessor
    steps = pipeline_steps(cfg)
    sampling: dict[str, Any] = next((step for step in steps if 'clip_len' in step), {})
    if head.average_clips == 'prob':
        output = 'probabilities (sigmoid)' if head.multi_class else 'probabilities (softmax)'
    else:
        output = 'logits'
    mean, std = (getattr(preprocessor, name, None) for name in ('mean', 'std'))
    return dict(
        classes=recognizer.dataset_meta.get('classes'),
        input_shape=list(shape),
        input_order=(
            'batch, time, channel (RGB), height, width'
            if type(recognizer).__name__ == 'Recognizer2D'
            else 'batch, channel (RGB), time, height, width'
        ),
        input_range=[0, 255],
        clip_len=sampling.get('clip_len', shape[0]),
        frame_interval=sampling.get('frame_interval', 1),
        num_clips=sampling.get('num_clips', 1),
        resize=_resize_of(steps),
        crop=_crop_of(steps),
        normalization=dict(
            inside=True,
            mean=None if mean is None else mean.flatten().tolist(),
            std=None if std is None else std.flatten().tolist(),
            to_rgb=bool(getattr(preprocessor, 'to_rgb', False)),
        ),
        output=output,
        average_clips=head.average_clips,
        multi_label=bool(head.multi_class),
        pipeline=[{key: _plain(value) for key, value in step.items()} for step in steps],
        config=Path(cfg.filename).name if cfg.filename else None,
        version=f'mmaction {__version__}, torch {torch.__version__}',
    )


def _resize_of(steps: list[dict[str, Any]]) -> Any:
    """The first `Resize`: [width, height], or {'short_side': s}, or its factor; None without."""
    step = next((step for step in steps if step['type'] == 'Resize'), None)
    if step is None:
        return None
    scale = step.get('scale')
    if isinstance(scale, (list, tuple)) and -1 in scale:
        return dict(short_side=max(scale))
    keeps = step.get('keep_ratio', True)
    return dict(largest=list(scale)) if keeps and isinstance(scale, (list, tuple)) else scale


def _crop_of(steps: list[dict[str, Any]]) -> Any:
    crop = next((step for step in steps if step['type'].endswith('Crop')), None)
    return None if crop is None else dict(type=crop['type'], size=_plain(crop.get('crop_size')))


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value, default=str))


Run = Callable[[Tensor], Tensor]


def export(model: Classifier, clips: Tensor, out: Path, aot: bool, about: dict[str, Any]) -> Run:
    """Write the model, and return a function that runs what was written."""
    batch = torch.export.Dim('batch', min=1, max=1024)
    texts = {key: json.dumps(value) for key, value in about.items()}
    if out.suffix == '.onnx':
        torch.onnx.export(
            model,
            (clips,),
            str(out),
            dynamo=True,
            input_names=['clips'],
            output_names=['logits' if about['output'] == 'logits' else 'probabilities'],
            dynamic_shapes={'clips': {0: batch}},
            external_data=False,
            verbose=False,
        )
        import onnx
        import onnxruntime

        written = onnx.load(str(out))
        onnx.helper.set_model_props(written, texts)
        onnx.save(written, str(out))
        session = onnxruntime.InferenceSession(str(out), providers=['CPUExecutionProvider'])
        return lambda x: torch.from_numpy(session.run(None, {'clips': x.numpy()})[0])
    program = torch.export.export(model, (clips,), dynamic_shapes={'clips': {0: batch}})
    if aot:
        torch._inductor.aoti_compile_and_package(
            program, package_path=str(out), inductor_configs={'aot_inductor.metadata': texts}
        )
        return torch._inductor.aoti_load_package(str(out))
    torch.export.save(program, str(out), extra_files={'metadata.json': json.dumps(about)})
    return torch.export.load(str(out)).module()


def check(recognizer: Any, run: Run, views: Tensor) -> float:
    """The largest difference between what the recognizer predicts and what the export gives.

    Held on a decoded video, all of whose views go through the export as one batch, and on three
    clips of noise; of a 2-D model, on frames of both. Probabilities are compared also by their
    logarithms where they are not tiny, logits by their size.

    Args:
        recognizer: The recognizer.
        run: The export.
        views: Views of a video (V, 3, T, H, W), or frames (T, 3, H, W), uint8.

    Raises:
        ValueError: It exceeds the tolerance.
    """
    generator, worst = torch.Generator().manual_seed(1), 0.0
    by_frame = views.ndim == 4
    size = views.shape if by_frame else (3, *views.shape[1:])
    noise = torch.randint(0, 256, size, generator=generator, dtype=torch.uint8)
    average = recognizer.cls_head.average_clips
    for name, clips in (('the decoded video', views), ('noise', noise)):
        expected = predict(recognizer, clips)
        with torch.no_grad():
            found = run(clips.float()[None] if by_frame else clips.float())
        found = found if average is None else found.mean(0)
        if found.shape != expected.shape:
            raise ValueError(f'the export gives {tuple(found.shape)}, not {tuple(expected.shape)}')
        if average == 'prob':
            pairs = [(found, expected), (found.clamp(1e-4).log(), expected.clamp(1e-4).log())]
        else:
            largest = expected.abs().max().clamp(min=1.0)
            pairs = [(found / largest, expected / largest)]
        worst = max(worst, *(float((a - b).abs().max()) for a, b in pairs))
        if not worst <= TOLERANCE:
            raise ValueError(
                f'the export differs from the model by {worst:.1e} on {name}, over {TOLERANCE:g}'
            )
    return worst


def export_checked(
    cfg: Any,
    checkpoint: str | None,
    out: Path,
    *,
    aot: bool = False,
    shape: Sequence[int] | None = None,
    video: str | None = None,
) -> None:
    """Export, hold the file against the recognizer, and only then give it its name.

    Args:
        cfg: The config.
        checkpoint: Weights; random ones if None.
        out: `.onnx` or `.pt2`.
        aot: Compile the .pt2 ahead of time.
        shape: Frames, height and width of a clip; those of the config's clips if None.
        video: On which the export is checked; a generated one if None.

    Raises:
        ConfigError: The recognizer cannot be exported, or a package is missing.
        ValueError: The export differs from the recognizer.
    """
    recognizer: Any = init_recognizer(cfg, checkpoint, device='cpu')
    merge_lora(recognizer)
    kind = type(recognizer).__name__
    by_frame = kind == 'Recognizer2D'
    if not hasattr(recognizer, 'cls_head') or not (by_frame or 'Recognizer3D' in kind):
        raise ConfigError(
            f'a {kind} cannot be exported: Recognizer2D and Recognizer3D with a head can'
        )
    if out.suffix == '.onnx':
        try:
            import onnx  # noqa: F401
            import onnxruntime  # noqa: F401
            import onnxscript  # noqa: F401
        except ImportError as error:
            raise ConfigError(f'{error}: pip install onnx onnxruntime onnxscript') from error
    views = decoded_views(recognizer, video)
    # (V, 3, T, H, W), of frames too
    clips = views.transpose(0, 1)[None] if by_frame else views
    of_pipeline = tuple(clips.shape[2:])
    if shape is not None and tuple(shape) != of_pipeline:
        resized = F.interpolate(clips.float(), tuple(shape), mode='trilinear')
        clips = resized.round().to(torch.uint8)
        views = clips[0].transpose(0, 1) if by_frame else clips
    t, h, w = clips.shape[2:]
    shape = (t, h, w)
    example = torch.rand(2, *(views if by_frame else views[0]).shape) * 255
    model = Classifier(recognizer, by_frame).eval()
    about = describe_model(recognizer, shape)
    if shape != of_pipeline:
        about.update(clip_len=t, resize=[w, h], crop=None)
    beside = None if is_remote(out) else out.parent
    if beside is not None:
        beside.mkdir(parents=True, exist_ok=True)
    # Under its own name, of which the writers read the format, in a folder of its own.
    with tempfile.TemporaryDirectory(prefix='.export-', dir=beside) as folder:
        part = Path(folder, out.name)
        run = export(model, example, part, aot, about)
        worst, size = check(recognizer, run, views), part.stat().st_size
        with atomic_path(out) as whole:
            shutil.move(part, whole)
    print(
        f'{redacted(out)}: {size / 1e6:.1f} MB; clips (batch, '
        f'{", ".join(map(str, example.shape[1:]))}); differs from the model by at most '
        f'{worst:.1e}'
    )
