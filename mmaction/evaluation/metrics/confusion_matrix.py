"""How often each class is taken for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mmaction.registry import METRICS

from .clip_metric import ClipMetric, Result, one_view, to_array

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ['ConfusionMatrix']


@METRICS.register_module()
class ConfusionMatrix(ClipMetric):
    """Confusion matrix under the key `confusion_matrix/result`.

    Element (i, j) counts the clips of class i that are taken for class j. A
    clip that could not be read is in none, so its row sums to less than the
    class has clips.

    Args:
        num_classes: Number of classes K; needed only where samples have a
            `pred_label` but no `pred_score`.
        collect_device: 'cpu' or 'gpu', as in mmengine; the results are the same.
        prefix: What stands before the name; by default 'confusion_matrix'.

    Source: the metric of this name in mmaction2 1.x.
    """

    default_prefix = 'confusion_matrix'

    def __init__(
        self,
        num_classes: int | None = None,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.num_classes = num_classes

    def prediction(self, sample: Mapping[str, Any], name: str) -> tuple[int, int | None]:
        """The predicted class, and the number of classes where it is known."""
        scores = sample.get('pred_score')
        if scores is None and sample.get('pred_label') is None:
            raise ValueError(f'{name} has neither pred_score nor pred_label')
        if scores is None:
            return int(to_array(sample['pred_label']).item()), None
        scores = one_view(to_array(scores), name)
        return int(scores.argmax()), len(scores)

    def compute_metrics(self, results: list[Result]) -> dict[str, torch.Tensor]:
        """The matrix of all clips."""
        kept = [result for result in results if result['pred'] is not None]
        sizes = {result['pred'][1] for result in kept} - {None}
        if self.num_classes is not None:
            sizes.add(self.num_classes)
        if len(sizes) != 1:
            raise ValueError(
                'ConfusionMatrix needs num_classes where samples have no pred_score'
                if not sizes
                else f'ConfusionMatrix meets several numbers of classes: {sorted(sizes)}'
            )
        (num_classes,) = sizes
        for result in results:
            label = result['label']
            if np.size(label) != 1 or not 0 <= label < num_classes:
                raise ValueError(
                    f'{result["filename"]} has label {label}, but a confusion matrix of '
                    f'{num_classes} classes takes one label from 0 to {num_classes - 1}'
                )
        predicted = np.array([result['pred'][0] for result in kept], dtype=np.int64)
        labels = np.array([result['label'] for result in kept], dtype=np.int64)
        return {'result': self.calculate(predicted, labels, num_classes)}

    @staticmethod
    def calculate(
        pred: torch.Tensor | np.ndarray | Sequence[Any],
        target: torch.Tensor | np.ndarray | Sequence[int],
        num_classes: int | None = None,
    ) -> torch.Tensor:
        """The confusion matrix of predictions.

        Args:
            pred: Predicted labels (N,) or scores (N, K).
            target: True labels (N,).
            num_classes: Number of classes K; not needed with scores.

        Returns:
            Integer tensor of shape (K, K), rows are the true classes.

        Raises:
            ValueError: `num_classes` is missing, or shapes or labels do not fit.
        """
        found, real = to_array(pred), to_array(target).reshape(-1)
        if found.ndim == 2 and found.shape[1] > 1:
            num_classes = num_classes or found.shape[1]
            found = found.argmax(1)
        found = found.reshape(-1)
        if num_classes is None:
            raise ValueError('num_classes is needed where predictions are labels')
        if len(found) != len(real):
            raise ValueError(f'{len(found)} predictions for {len(real)} labels')
        for what, labels in (('prediction', found), ('label', real)):
            outside = labels[(labels < 0) | (labels >= num_classes)]
            if len(outside):
                raise ValueError(
                    f'{what} {outside[0]} is outside the {num_classes} classes '
                    f'(0 to {num_classes - 1})'
                )
        cells = real.astype(np.int64) * num_classes + found.astype(np.int64)
        counts = np.bincount(cells, minlength=num_classes**2)
        return torch.from_numpy(counts.reshape(num_classes, num_classes))

    @staticmethod
    def plot(
        confusion_matrix: torch.Tensor | np.ndarray,
        include_values: bool = False,
        cmap: str = 'viridis',
        classes: Sequence[str] | None = None,
        colorbar: bool = True,
        show: bool = True,
    ) -> Figure:
        """Draw a confusion matrix.

        Args:
            confusion_matrix: Shape (K, K), rows are the true classes; counts or shares.
            include_values: Write the value into each cell.
            cmap: Color map of Matplotlib.
            classes: Names of the classes; by default their numbers.
            colorbar: Draw the scale beside it.
            show: Open a window.

        Raises:
            ValueError: The matrix is not square, or there are not as many names
                as classes.
        """
        import matplotlib.pyplot as plt
        from matplotlib.ticker import MaxNLocator

        matrix = to_array(confusion_matrix)
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
            raise ValueError(f'a confusion matrix is square, not of shape {matrix.shape}')
        size = len(matrix)
        if classes is not None and len(classes) != size:
            raise ValueError(f'{len(classes)} class names for a matrix of {size} classes')
        side = min(max(5.0, 0.35 * size), 30.0)
        figure, axes = plt.subplots(figsize=(side + 1, side), layout='constrained')
        image = axes.imshow(matrix, cmap=cmap, interpolation='nearest')
        whole = np.issubdtype(matrix.dtype, np.integer)
        if include_values:
            middle = (matrix.min() + matrix.max()) / 2
            for (row, column), value in np.ndenumerate(matrix):
                # The end of the color map that is far from the cell's own color.
                color = image.cmap(0.0 if value > middle else 1.0)
                text = f'{value}' if whole else f'{value:.2g}'
                axes.text(column, row, text, ha='center', va='center', color=color)
        if colorbar:
            # Half a clip is no count: ticks of a scale from 0 to 2 would be 0.25 apart.
            locator = MaxNLocator('auto', steps=[1, 2, 2.5, 5, 10], integer=whole)
            figure.colorbar(image, ax=axes, ticks=locator)
        names = [str(i) for i in range(size)] if classes is None else list(classes)
        axes.set(xticks=range(size), yticks=range(size), xlabel='predicted', ylabel='true')
        axes.set_xticklabels(names, rotation=45, ha='right')
        axes.set_yticklabels(names)
        if show:
            plt.show()
        return figure
