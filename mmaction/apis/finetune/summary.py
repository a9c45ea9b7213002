"""What a fine-tuning gives: accuracies with their uncertainty, the page, the saliency maps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config

from mmaction.apis.inference import init_recognizer, load_clip
from mmaction.apis.report import Results, page
from mmaction.apis.test_pipeline import pipeline_steps, steps_for
from mmaction.data_preparation.file_lists import Clip
from mmaction.evaluation.functional import wilson_interval
from mmaction.evaluation.results import labeled_results
from mmaction.utils.cli import some
from mmaction.utils.io import write_text
from mmaction.utils.plurals import how_many
from mmaction.visualization import ClipWriter, GradCAM, overlay, resize_frames
from mmaction.visualization.feature_maps import first_clip
from mmaction.visualization.grad_cam import scale_saliency

from .training import Run

__all__ = ['few_clips', 'read_results', 'short_videos', 'summarize', 'write_maps', 'write_page']

_FEW = 10  # clips of a class to train on, below which a warning is due
_FEW_TESTED = 30  # clips to test on


def few_clips(folds: Sequence[Mapping[str, Sequence[Clip]]]) -> list[str]:
    """Warnings where there are too few clips to learn from or, over all folds, to measure with."""
    warnings = []
    counts = Counter(clip.label for clip in folds[0]['train'])
    low = sorted((count, name) for name, count in counts.items() if count < _FEW)
    if low:
        counted = some([f'{name} ({count})' for count, name in low], 5)
        warnings.append(
            f'fewer than {_FEW} clips to train on: {counted}. Expect chance to decide much'
        )
    tested = sum(len(splits['test']) for splits in folds)
    if tested < _FEW_TESTED:
        low_end, high_end = wilson_interval(round(0.9 * tested), tested)
        hint = '. --folds tests on all' if len(folds) == 1 else ''
        warnings.append(
            f'only {how_many(tested, "clip")} to test on: an accuracy of 90 % would mean anything '
            f'from {100 * low_end:.0f} to {100 * high_end:.0f} % (95 % interval){hint}'
        )
    return warnings


def short_videos(counts: Sequence[int], needed: int, videos: int) -> str | None:
    """A warning where videos have fewer frames than a clip of the model.

    Args:
        counts: Frames of the videos that were looked at.
        needed: See `frames_needed`.
        videos: Number of all videos.
    """
    short = sum(count < needed for count in counts)
    if not short:
        return None
    looked = ' that were looked at' if len(counts) < videos else ''
    return (
        f'{short} of {len(counts)} videos{looked} have fewer than the {needed} frames that a clip '
        f'of the model spans, the shortest {min(counts)}: their frames repeat in it'
    )


def read_results(run: Run, cfg: Config) -> Results:
    """The predictions of a run."""
    return Results(labeled_results(run.results, cfg))


def summarize(runs: Sequence[Run], results: Sequence[Results], folds: int) -> dict[str, Any]:
    """Accuracy with its uncertainty.

    Over folds each clip is tested once, by a model that has not seen it: the interval is of
    all of them. Over seeds the same clips are tested again: the spread is of the training.

    Returns:
        `top1_acc`, its 95 % `interval` (Wilson, of the clips of one seed), `clips`, the
        accuracy of each run, and over several their `mean` and `std` (of a sample, n - 1).
    """
    each = [result.in_top(1) for result in results]
    seeds = max(1, len(runs) // folds)
    right = sum(int(result.right.sum()) for result in results) / seeds
    clips = sum(len(result.labels) for result in results) // seeds
    found: dict[str, Any] = dict(
        top1_acc=right / clips,
        interval=list(wilson_interval(round(right), clips)),
        clips=clips,
        runs=[
            dict(name=run.title or 'run', seed=run.seed, top1_acc=acc, folder=str(run.folder))
            for run, acc in zip(runs, each, strict=True)
        ],
    )
    if len(each) > 1:
        found.update(mean=float(np.mean(each)), std=float(np.std(each, ddof=1)))
    return found


def accuracy_text(summary: Mapping[str, Any]) -> str:
    """The accuracy in a line."""
    low, high = summary['interval']
    text = (
        f'top-1 accuracy {100 * summary["top1_acc"]:.1f} % of {how_many(summary["clips"], "clip")} '
        f'(95 % interval {100 * low:.1f} to {100 * high:.1f} %)'
    )
    if 'mean' in summary:
        text += (
            f'; {len(summary["runs"])} runs: mean {100 * summary["mean"]:.1f} %, '
            f'standard deviation {100 * summary["std"]:.1f} %'
        )
    return text


def write_page(
    path: Path,
    results: Sequence[Results],
    names: Sequence[str],
    where: str,
    notes: Sequence[str],
    maps: Sequence[Path],
) -> None:
    """Write report.html: the test clips of all folds together, and the saliency maps."""
    write_text(path, page(Results.joined(results), names, where, 12, notes=notes, pictures=maps))


def write_maps(cfg: Config, run: Run, results: Results, folder: Path, count: int = 4) -> list[Path]:
    """Saliency maps of test clips as GIFs: of the worst mistakes, else of the surest clips.

    DualFormer's early blocks are where HiResCAM stays on the evidence; of other networks
    Grad-CAM of the last block is drawn.

    Returns:
        The files.
    """
    model: Any = init_recognizer(cfg, run.checkpoint)
    names = model.dataset_meta['classes']
    surest = np.argsort(-results.scores.max(1), kind='stable')
    chosen = results.worst(count // 2)
    chosen += [int(i) for i in surest if results.right[i]][: count - len(chosen)]
    steps = steps_for(pipeline_steps(model.cfg), 'video', one_view=True)
    early = type(model.backbone).__name__ == 'DualFormer'
    cam = GradCAM(
        model,
        'backbone/blocks/0/-1' if early else None,
        colormap='turbo',
        method='hires-cam' if early else 'grad-cam',
    )
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob('*.gif'):
        old.unlink()
    files = []
    for number, index in enumerate(chosen, start=1):
        clip = load_clip(model, results.names[index], steps)
        data = dict(inputs=[clip['inputs']], data_samples=[clip['data_samples']])
        maps, _, _ = cam.raw_saliency(data)
        frames = resize_frames(first_clip(clip['inputs']).numpy(), (-1, 160))
        saliency = scale_saliency(maps[:1], frames.shape[:3])[0].cpu()
        mixed = (overlay(torch.from_numpy(frames) / 255, saliency, 'turbo', 0.5) * 255).round()
        label, best = names[results.labels[index]], names[results.best[index]]
        told = label if label == best else f'{label} taken for {best}'
        file = folder / f'{number} {told}.gif'.replace('/', '_')
        with ClipWriter(file, 5, smooth=True) as writer:
            writer.write(np.concatenate([frames, mixed.byte().numpy()], axis=2))
        files.append(file)
    return files
