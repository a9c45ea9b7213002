"""Pictures of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmaction.utils.io import save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from mmengine.logging import MessageHub

__all__ = ['TrainingHistory', 'history_of', 'plot_training', 'smooth']

BLUE, ORANGE, GREEN, GRAY = '#2b6cb0', '#dd6b20', '#2f855a', '#a0aec0'


@dataclass
class TrainingHistory:
    """What a run logged, by step.

    Attributes:
        loss: Loss of each step.
        learning_rate: Learning rate of each step, of the first parameter group.
        train_accuracy: Top-1 accuracy of each training batch, 0 to 1; may be empty.
        val_steps: Steps after which validation ran.
        val_metrics: Validation metrics by name, one value per `val_steps`.
        steps_per_epoch: Steps of an epoch.
    """

    loss: Sequence[float]
    learning_rate: Sequence[float]
    train_accuracy: Sequence[float] = ()
    val_steps: Sequence[int] = ()
    val_metrics: dict[str, Sequence[float]] = field(default_factory=dict)
    steps_per_epoch: int = 1


def history_of(hub: MessageHub, steps_per_epoch: int) -> TrainingHistory:
    """Read the history of a run from mmengine's message hub.

    The steps of its validations are the entry that `CurveHook` keeps there.
    """
    scalars = hub.log_scalars

    def values(key: str) -> list[float]:
        return scalars[key].data[0].tolist() if key in scalars else []

    steps = list(hub.get_info('steps_of_val') or [])
    metrics: dict[str, Sequence[float]] = {}
    for key in scalars:
        if key.startswith('val/') and key.split('/')[-1] not in ('time', 'data_time'):
            series = values(key)
            if steps and len(series) >= len(steps):
                metrics[key.removeprefix('val/')] = series[-len(steps) :]
    return TrainingHistory(
        loss=values('train/loss'),
        learning_rate=values('train/lr'),
        train_accuracy=values('train/top1_acc'),
        val_steps=steps,
        val_metrics=metrics,
        steps_per_epoch=steps_per_epoch,
    )


def smooth(values: Sequence[float], window: int) -> np.ndarray:
    """Mean over the last `window` values at each place, over fewer at the start.

    Values that are not finite, such as the loss of a step that was left out, do not count; where
    there are no others, the mean is NaN.
    """
    numbers = np.asarray(values, dtype=float)
    finite = np.isfinite(numbers)
    ends = np.arange(1, len(numbers) + 1)
    starts = np.maximum(ends - window, 0)
    totals = (np.cumsum(np.insert(x, 0, 0.0)) for x in (np.where(finite, numbers, 0), finite))
    sums, counts = (total[ends] - total[starts] for total in totals)
    means: np.ndarray = np.divide(sums, counts, where=counts > 0, out=np.full(len(ends), np.nan))
    return means


def plot_training(history: TrainingHistory, path: str | Path, title: str = '') -> None:
    """Draw loss, accuracy and learning rate of a run over its epochs.

    Args:
        history: The values.
        path: Picture file; the format follows its name.
        title: Headline.
    """
    from matplotlib.figure import Figure

    accuracy = _accuracy_names(history)
    with_accuracy = bool(accuracy or len(history.train_accuracy))
    rows = 3 if with_accuracy else 2
    ratios = [3, 3, 1.3] if with_accuracy else [3, 1.3]
    figure = Figure(figsize=(8, 2.2 + 1.9 * rows), layout='constrained')
    axes = figure.subplots(rows, 1, sharex=True, height_ratios=ratios)
    epochs = np.arange(1, len(history.loss) + 1) / history.steps_per_epoch
    window = max(1, min(len(history.loss) // 20, history.steps_per_epoch))
    _draw_series(axes[0], epochs, history.loss, window, 'training loss')
    axes[0].set_ylim(bottom=0)
    axes[0].set_ylabel('loss')
    if with_accuracy:
        _draw_accuracy(axes[1], history, accuracy, epochs, window)
    rates = history.learning_rate
    axes[-1].plot(epochs[: len(rates)], rates, color=GREEN, linewidth=1.8)
    axes[-1].set_ylabel('learning rate')
    axes[-1].set_ylim(bottom=0)
    axes[-1].ticklabel_format(axis='y', style='sci', scilimits=(-2, 3))
    axes[-1].set_xlabel('epoch')
    axes[-1].set_xlim(0, max(epochs[-1], 1e-9))
    for axis in axes:
        _tidy(axis)
    if title:
        figure.suptitle(title, fontsize=11, x=0.02, ha='left', weight='bold')
    save_figure(figure, path, dpi=130)


def _accuracy_names(history: TrainingHistory) -> list[str]:
    """The validation metrics worth drawing: fractions, best known first, at most three."""
    order = ('acc/top1', 'acc/top5', 'acc/mean1', 'acc/mean_average_precision')
    known = [name for name in order if name in history.val_metrics]
    others = [n for n, v in history.val_metrics.items() if n not in known and max(v) <= 1]
    names = known or others
    # Top-5 of a few classes is 1 from the start and would only hide the rest.
    return [n for n in names if n != 'acc/top5' or min(history.val_metrics[n]) < 0.99][:3]


def _draw_series(
    axis: Axes, epochs: np.ndarray, values: Sequence[float], window: int, label: str
) -> None:
    axis.plot(epochs[: len(values)], values, color=BLUE, alpha=0.22, linewidth=0.8)
    axis.plot(epochs[: len(values)], smooth(values, window), color=BLUE, linewidth=1.8, label=label)
    axis.legend(frameon=False, loc='best')


def _draw_accuracy(
    axis: Axes, history: TrainingHistory, names: list[str], epochs: np.ndarray, window: int
) -> None:
    train = history.train_accuracy
    if len(train):
        shown = smooth(train, max(window, 5))
        axis.plot(
            epochs[: len(train)],
            shown,
            color=BLUE,
            linewidth=1.3,
            alpha=0.6,
            label='training top-1',
        )
    titles = {'acc/top1': 'validation top-1', 'acc/top5': 'validation top-5'}
    titles['acc/mean1'] = 'validation mean class accuracy'
    steps = np.asarray(history.val_steps) / history.steps_per_epoch
    styles: list[dict[str, Any]] = [
        dict(color=ORANGE, marker='o', linewidth=1.8, markersize=4),
        dict(color=GREEN, marker='s', linewidth=1.3, markersize=3, linestyle='--'),
        dict(color=GRAY, marker='^', linewidth=1.3, markersize=3, linestyle=':'),
    ]
    for name, style in zip(names, styles, strict=False):
        label, values = titles.get(name, name), history.val_metrics[name]
        if name == names[0]:
            best = int(np.argmax(values))
            label += f' (best {values[best]:.3f})'
            axis.plot(steps[best], values[best], color=ORANGE, marker='o', markersize=9, alpha=0.4)
        axis.plot(steps, values, label=label, **style)
    axis.set_ylim(0, 1.03)
    axis.set_ylabel('accuracy')
    axis.legend(frameon=False, loc='best')


def _tidy(axis: Axes) -> None:
    axis.grid(color='#e2e8f0', linewidth=0.8)
    axis.set_axisbelow(True)
    for side in ('top', 'right'):
        axis.spines[side].set_visible(False)
    for side in ('left', 'bottom'):
        axis.spines[side].set_color(GRAY)
