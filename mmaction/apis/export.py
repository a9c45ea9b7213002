"""Exporting a recognizer to ONNX, torch.export or OpenVINO, and checking what was exported."""

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

from mmaction.apis.calibration import Agreement, Calibration, check_agreement, split_clips
from mmaction.apis.export_metadata import describe_model
from mmaction.apis.inference import init_recognizer, load_clip
from mmaction.apis.openvino_model import (
    find_openvino,
    model_runner,
    quantized,
    read_model,
    save_model,
)
from mmaction.errors import ConfigError
from mmaction.models.lora import merge_lora
from mmaction.models.recognizers import Recognizer2D, Recognizer3D
from mmaction.structures import ActionDataSample
from mmaction.utils.io import atomic_path
from mmaction.utils.plurals import how_many
from mmaction.utils.remote import is_remote, redacted

__all__ = [
    'Classifier',
    'as_batch',
    'check',
    'decoded_views',
    'export',
    'export_checked',
    'predict',
    'run_onnx',
]

TOLERANCE = 1e-4


class Classifier(nn.Module):
    """What is exported: the recognizer's own steps from a clip to its scores.

    Args:
        recognizer: In evaluation mode.
    """

    def __init__(self, recognizer: Any) -> None:
        super().__init__()
        self.recognizer = recognizer
        self.by_frame = isinstance(recognizer, Recognizer2D)
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


Run = Callable[[Tensor], Tensor]


def export(model: Classifier, clips: Tensor, out: Path, aot: bool, about: dict[str, Any]) -> Run:
    """Write the model, and return a function that runs what was written."""
    if out.suffix in ('.onnx', '.xml'):
        onnx_file = out.with_suffix('.onnx')
        _write_onnx(model, clips, onnx_file, about)
        if out.suffix == '.onnx':
            return run_onnx(out)
        save_model(read_model(onnx_file), out, about)
        onnx_file.unlink()
        return model_runner(out, 'f32')
    program = torch.export.export(model, (clips,), dynamic_shapes=_any_batch())
    if aot:
        torch._inductor.aoti_compile_and_package(
            program,
            package_path=str(out),
            inductor_configs={'aot_inductor.metadata': _texts(about)},
        )
        return torch._inductor.aoti_load_package(str(out))
    torch.export.save(program, str(out), extra_files={'metadata.json': json.dumps(about)})
    return torch.export.load(str(out)).module()


def _any_batch() -> dict[str, Any]:
    return {'clips': {0: torch.export.Dim('batch', min=1, max=1024)}}


def _texts(about: dict[str, Any]) -> dict[str, str]:
    return {key: json.dumps(value) for key, value in about.items()}


def _write_onnx(model: Classifier, clips: Tensor, out: Path, about: dict[str, Any]) -> None:
    torch.onnx.export(
        model,
        (clips,),
        str(out),
        dynamo=True,
        input_names=['clips'],
        output_names=['logits' if about['output'] == 'logits' else 'probabilities'],
        dynamic_shapes=_any_batch(),
        external_data=False,
        verbose=False,
    )
    import onnx

    written = onnx.load(str(out))
    onnx.helper.set_model_props(written, _texts(about))
    onnx.save(written, str(out))


def run_onnx(file: Path, threads: int = 0) -> Run:
    """A function that runs a file by ONNX Runtime on the CPU; 0 leaves it the number of threads."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(file), options, providers=['CPUExecutionProvider'])
    return lambda x: torch.from_numpy(session.run(None, {'clips': x.numpy()})[0])


def as_batch(views: Tensor) -> Tensor:
    """What an export takes of one video: views as a batch, or all frames (T, 3, H, W) as one."""
    return views.float()[None] if views.ndim == 4 else views.float()


def _both_scores(recognizer: Any, run: Run, views: Tensor) -> tuple[Tensor, Tensor]:
    """Scores of one video by the export and by the recognizer."""
    expected = predict(recognizer, views)
    with torch.no_grad():
        found = run(as_batch(views))
    if recognizer.cls_head.average_clips is not None:
        found = found.mean(0)
    if found.shape != expected.shape:
        raise ValueError(f'the export gives {tuple(found.shape)}, not {tuple(expected.shape)}')
    return found, expected


def _to_logits(head: Any, scores: Tensor) -> Tensor:
    """Logits of the scores that a head gives, of softmax up to a constant, which has no meaning."""
    if head.average_clips == 'prob':
        # Differences among probabilities that are next to nothing change no answer.
        scores = torch.logit(scores, 1e-6) if head.multi_class else scores.clamp(1e-6).log()
    return scores if head.multi_class else scores - scores.mean(-1, keepdim=True)


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
    size = views.shape if views.ndim == 4 else (3, *views.shape[1:])
    noise = torch.randint(0, 256, size, generator=generator, dtype=torch.uint8)
    average = recognizer.cls_head.average_clips
    for name, clips in (('the decoded video', views), ('noise', noise)):
        found, expected = _both_scores(recognizer, run, clips)
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
    int8: Calibration | None = None,
) -> None:
    """Export, hold the file against the recognizer, and only then give it its name.

    Args:
        cfg: The config.
        checkpoint: Weights; random ones if None.
        out: `.onnx`, `.pt2` or `.xml`.
        aot: Compile the .pt2 ahead of time.
        shape: Frames, height and width of a clip; those of the config's clips if None.
        video: On which the export is checked; a generated one if None.
        int8: Quantize the .xml, by the ranges of these clips. The fp32 form is checked first, then
            the int8 one on other clips of the list.

    Raises:
        ConfigError: The recognizer cannot be exported, a package is missing, or no clip of the
            calibration can be read.
        ValueError: The export differs from the recognizer.
    """
    recognizer: Any = init_recognizer(cfg, checkpoint, device='cpu')
    merge_lora(recognizer)
    if not (
        isinstance(recognizer, (Recognizer2D, Recognizer3D)) and hasattr(recognizer, 'cls_head')
    ):
        raise ConfigError(
            f'a {type(recognizer).__name__} cannot be exported: Recognizer2D and Recognizer3D with '
            'a head can'
        )
    _find_packages(out.suffix, int8 is not None)
    views = decoded_views(recognizer, video)
    of_pipeline = _grid(views)
    t, h, w = of_pipeline if shape is None else shape
    views = _resized(views, (t, h, w))
    # Read before the export, which takes longest, so that a wrong list is reported at once.
    calibration, unseen = ([], [views]) if int8 is None else split_clips(recognizer, int8)
    calibration, unseen = ([_resized(x, (t, h, w)) for x in y] for y in (calibration, unseen))
    model = Classifier(recognizer).eval()
    example = torch.rand(2, *(views if model.by_frame else views[0]).shape) * 255
    about = describe_model(recognizer, (t, h, w))
    if (t, h, w) != of_pipeline:
        about.update(clip_len=t, resize=[w, h], crop=None)
    beside = None if is_remote(out) else out.parent
    if beside is not None:
        beside.mkdir(parents=True, exist_ok=True)
    # Under its own name, of which the writers read the format, in a folder of its own.
    with tempfile.TemporaryDirectory(prefix='.export-', dir=beside) as folder:
        part = Path(folder, out.name)
        run = export(model, example, part, aot, about)
        found = f'differs from the model by at most {check(recognizer, run, views):.1e}'
        if calibration:
            fp32, part = part, Path(folder, 'int8', out.name)
            about.update(precision='int8', calibration_clips=len(calibration))
            save_model(quantized(read_model(fp32), calibration, as_batch), part, about)
            found = f'int8 by {how_many(len(calibration), "clip")}'
        if out.suffix == '.xml':
            found += f'; as this processor runs it: {_agreement(recognizer, part, unseen)}'
        # The weights of an .xml, which are beside it, come first: who reads the .xml finds them.
        files = [part.with_suffix('.bin'), part] if out.suffix == '.xml' else [part]
        size = sum(file.stat().st_size for file in files)
        for file in files:
            with atomic_path(out.with_suffix(file.suffix)) as whole:
                shutil.move(file, whole)
    print(
        f'{redacted(out)}: {size / 1e6:.1f} MB; clips (batch, '
        f'{", ".join(map(str, example.shape[1:]))}); {found}'
    )


def _agreement(recognizer: Any, file: Path, clips: list[Tensor]) -> Agreement:
    """How far a file, in the precision that OpenVINO chooses here, agrees with the recognizer."""
    run, head = model_runner(file), recognizer.cls_head
    return check_agreement(
        lambda clip: _both_scores(recognizer, run, clip),
        clips,
        lambda scores: _to_logits(head, scores),
    )


def _find_packages(suffix: str, int8: bool) -> None:
    """Ask for what writes a format, before anything else takes its time.

    Raises:
        ConfigError: A package is missing.
    """
    if suffix == '.pt2':
        return
    if suffix == '.xml':
        find_openvino(int8)
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401

        if suffix == '.onnx':
            import onnxruntime  # noqa: F401
    except ImportError as error:
        extra = 'export' if suffix == '.onnx' else 'openvino'
        raise ConfigError(f'{error}: pip install "dualformer[{extra}]"') from error


def _grid(views: Tensor) -> tuple[int, int, int]:
    """(T, H, W) of views (V, 3, T, H, W) or frames (T, 3, H, W)."""
    t, h, w = views[:, 0].shape if views.ndim == 4 else views.shape[2:]
    return t, h, w


def _resized(views: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Views or frames, uint8, in another size of the clip."""
    if _grid(views) == shape:
        return views
    clips = views.transpose(0, 1)[None] if views.ndim == 4 else views
    clips = F.interpolate(clips.float(), shape, mode='trilinear').round().to(torch.uint8)
    return clips[0].transpose(0, 1) if views.ndim == 4 else clips
