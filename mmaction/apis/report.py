"""One HTML page of a test: what is right, what is wrong, and how it looks."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from matplotlib.figure import Figure

from mmaction.datasets.video_source import VideoSource
from mmaction.evaluation import ConfusionMatrix
from mmaction.evaluation.functional import wilson_interval
from mmaction.visualization import resize_frames

__all__ = ['Results', 'page']

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1f2937; max-width: 64rem;
       margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: 0; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
.where { color: #6b7280; margin-top: .2rem; overflow-wrap: anywhere; }
.facts { display: flex; flex-wrap: wrap; gap: .8rem; padding: 0; }
.facts li { list-style: none; background: #f3f4f6; border-radius: .5rem; padding: .6rem 1rem; }
.facts b { display: block; font-size: 1.4rem; }
table { border-collapse: collapse; width: 100%; }
td, th { text-align: left; padding: .2rem .6rem .2rem 0; border-bottom: 1px solid #e5e7eb; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.bar { background: #e5e7eb; height: .7rem; min-width: 6rem; }
.bar div { background: #3b82f6; height: 100%; }
img { max-width: 100%; height: auto; }
figure { margin: 0 0 1.2rem; } figcaption { color: #374151; }
.scroll { overflow-x: auto; }
.note { background: #fef3c7; padding: .5rem .8rem; border-radius: .4rem; }
"""


class Results:
    """The predictions of a test as arrays.

    Attributes:
        scores: (clips, classes), each row a distribution; zero where unreadable.
        labels: (clips,).
        names: Of the clips.
        unreadable: The reason for each clip that could not be read, else ''.
    """

    def __init__(self, samples: Sequence[dict[str, object]]) -> None:
        scores = np.stack([np.asarray(s['pred_score'], dtype=float).reshape(-1) for s in samples])
        sums = scores.sum(1)
        if (scores < 0).any() or not np.allclose(sums, 1, atol=1e-3):
            # Logits, as average_clips='score' leaves them.
            scores = np.exp(scores - scores.max(1, keepdims=True))
            scores /= scores.sum(1, keepdims=True)
        labels = [np.asarray(s['gt_label']).reshape(-1) for s in samples]
        several = next((i for i, label in enumerate(labels) if len(label) != 1), None)
        if several is not None:
            raise ValueError(f'clip {several} has several labels; a report needs one for each')
        self.labels = np.array([int(label[0]) for label in labels])
        self.names = [
            str(s.get('filename') or s.get('frame_dir') or f'clip {i}')
            for i, s in enumerate(samples)
        ]
        self.unreadable = [str(s.get('unreadable') or '') for s in samples]
        self.scores = np.where(np.array(self.unreadable)[:, None] != '', 0.0, scores)
        # An unreadable clip has no best class.
        self.best = np.where(self.scores.any(1), self.scores.argmax(1), -1)
        self.right = self.best == self.labels

    @classmethod
    def joined(cls, parts: Sequence[Results]) -> Results:
        """The predictions of several tests of the same classes as one."""
        if len(parts) == 1:
            return parts[0]
        whole = cls.__new__(cls)
        for name in ('scores', 'labels', 'best', 'right'):
            setattr(whole, name, np.concatenate([getattr(part, name) for part in parts]))
        whole.names = [name for part in parts for name in part.names]
        whole.unreadable = [reason for part in parts for reason in part.unreadable]
        return whole

    def in_top(self, k: int) -> float:
        """Share of the clips whose label is among the k best classes."""
        order = np.argsort(-self.scores, axis=1, kind='stable')[:, :k]
        return float(((order == self.labels[:, None]).any(1) & (self.best >= 0)).mean())

    def per_class(self) -> list[tuple[int, int, int]]:
        """(class, clips, right ones) of each class that occurs, the worst first."""
        rows = [
            (label, int((self.labels == label).sum()), int(self.right[self.labels == label].sum()))
            for label in np.unique(self.labels).tolist()
        ]
        return sorted(rows, key=lambda row: (row[2] / row[1], row[0]))

    def calibration(self, bins: int = 10) -> tuple[list[tuple[float, float, int]], float]:
        """How often the best class is right, by how sure the model is.

        Returns:
            (mean score, share that is right, clips) of each bin that holds clips,
            and the expected calibration error: the mean of their differences,
            weighted by clips (arXiv:1706.04599).
        """
        readable = self.best >= 0
        sure, right = self.scores.max(1)[readable], self.right[readable]
        place = np.minimum((sure * bins).astype(int), bins - 1)
        rows = [
            (
                float(sure[place == b].mean()),
                float(right[place == b].mean()),
                int((place == b).sum()),
            )
            for b in range(bins)
            if (place == b).any()
        ]
        error = sum(abs(mean - share) * n for mean, share, n in rows) / max(len(sure), 1)
        return rows, error

    def worst(self, most: int) -> list[int]:
        """The readable clips that are wrong, those that the model is surest of first."""
        wrong = np.flatnonzero(~self.right & (self.best >= 0))
        surest_first = np.argsort(-self.scores.max(1)[wrong], kind='stable')
        hardest: list[int] = wrong[surest_first][:most].tolist()
        return hardest


def image_tag(figure: Any) -> str:
    """A Matplotlib figure as an <img>."""
    file = io.BytesIO()
    figure.savefig(file, format='png', dpi=110)
    return f'<img alt="" src="data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}">'


def _interval(right: int, total: int) -> str:
    low, high = wilson_interval(right, total)
    return f'{100 * low:.1f} to {100 * high:.1f} %'


def _gif(path: Path) -> str:
    code = base64.b64encode(path.read_bytes()).decode()
    title = html.escape(path.stem.partition(' ')[2] or path.stem)
    return (
        f'<figure><img alt="frames and saliency" src="data:image/gif;base64,{code}">'
        f'<figcaption>{title}</figcaption></figure>'
    )


def reliability(rows: list[tuple[float, float, int]]) -> str:
    """The calibration as a figure."""
    figure = Figure(figsize=(4.2, 3.8), layout='constrained')
    axis = figure.subplots()
    axis.plot([0, 1], [0, 1], color='#9ca3af', linestyle='--', linewidth=1)
    most = max(n for _, _, n in rows)
    axis.scatter(
        [sure for sure, _, _ in rows],
        [right for _, right, _ in rows],
        s=[20 + 180 * n / most for _, _, n in rows],
        color='#3b82f6',
        clip_on=False,
    )
    axis.set(xlim=(0, 1.04), ylim=(0, 1.04), xlabel='score of the best class', ylabel='share right')
    axis.spines[['top', 'right']].set_visible(False)
    return image_tag(figure)


def thumbnails(name: str, count: int = 4, height: int = 120) -> str:
    """Frames of a clip side by side as an <img>, or why there are none."""
    try:
        frames = VideoSource(name)
        chosen = frames.read(np.linspace(0, len(frames) - 1, count).round().astype(int))
    except (ValueError, OSError, TypeError) as error:
        return f'<p class="where">no thumbnail: {html.escape(str(error))}</p>'
    row = np.concatenate(list(resize_frames(chosen, (-1, height))), axis=1)
    done, content = cv2.imencode('.jpg', row[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])
    assert done
    code = base64.b64encode(content.tobytes()).decode()
    return f'<img alt="frames of the clip" src="data:image/jpeg;base64,{code}">'


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows of ready cells; columns of cells that begin with a digit stand to the right."""

    def line(tag: str, cells: Sequence[str]) -> str:
        right = [' class=n' if cell[:1].isdigit() else '' for cell in rows[0]]
        made = (f'<{tag}{c}>{cell}</{tag}>' for c, cell in zip(right, cells, strict=True))
        return f'<tr>{"".join(made)}</tr>'

    body = ''.join(line('td', row) for row in rows)
    return f'<div class="scroll"><table>{line("th", head)}{body}</table></div>'


def page(
    results: Results,
    names: Sequence[str],
    where: str,
    mistakes: int,
    *,
    notes: Sequence[str] = (),
    pictures: Sequence[Path] = (),
) -> str:
    """The whole page.

    Args:
        results: The predictions.
        names: Of the classes.
        where: Config and file, for the headline.
        mistakes: Worst mistakes to show.
        notes: Sentences to stand at the top.
        pictures: GIFs of saliency maps to show, called by what they show.
    """
    shown = [html.escape(name) for name in names]
    clips, unreadable = len(results.labels), sum(map(bool, results.unreadable))
    classes = results.per_class()
    rows, error = results.calibration() if unreadable < clips else ([], 0.0)
    facts = [
        ('clips', f'{clips}'),
        ('top-1', f'{100 * results.in_top(1):.1f} %'),
        ('95 % interval of it', _interval(int(results.right.sum()), clips)),
        ('top-5', f'{100 * results.in_top(5):.1f} %'),
        ('mean of the classes', f'{100 * np.mean([r / n for _, n, r in classes]):.1f} %'),
        ('calibration error', f'{100 * error:.1f} %'),
        ('unreadable', f'{unreadable}'),
    ]
    parts = [
        f'<h1>Test report</h1><p class="where">{html.escape(where)}</p>',
        '<ul class="facts">' + ''.join(f'<li><b>{v}</b>{k}</li>' for k, v in facts) + '</ul>',
        ''.join(f'<p class="note">{html.escape(note)}</p>' for note in notes),
        '<h2>Classes, the worst first</h2>',
        table(
            ('class', 'right', 'of', 'accuracy', '95 % interval', ''),
            [
                (
                    shown[label],
                    f'{right}',
                    f'{count}',
                    f'{100 * right / count:.1f} %',
                    _interval(right, count),
                    f'<div class="bar"><div style="width:{100 * right / count:.0f}%"></div></div>',
                )
                for label, count, right in classes
            ],
        ),
    ]
    readable = results.best >= 0
    matrix = np.zeros((len(names), len(names)), int)
    np.add.at(matrix, (results.labels[readable], results.best[readable]), 1)
    pairs = sorted(
        (-int(count), real, found)
        for (real, found), count in np.ndenumerate(matrix)
        if count and real != found
    )[:15]
    parts += ['<h2>Which class is taken for which</h2>']
    figure = ConfusionMatrix.plot(matrix, len(names) <= 30, 'Blues', list(names), show=False)
    if len(names) > 60:  # names of so many would be too small to read
        figure.set_size_inches(8, 7)
        figure.axes[0].set(xticks=[], yticks=[])
    parts.append(image_tag(figure))
    parts.append(
        table(
            ('clips', 'of', 'is', 'taken for'),
            [(f'{-n}', f'{matrix[a].sum()}', shown[a], shown[b]) for n, a, b in pairs],
        )
        if pairs
        else '<p>No class is taken for another.</p>'
    )
    if rows:
        parts += [
            '<h2>Calibration</h2><p>On the dashed line the model is right as often as it says; '
            'below it, it is too sure. Larger dots stand for more clips.</p>',
            reliability(rows),
        ]
    if pictures:
        parts.append('<h2>Where the model looks</h2><p>Red areas speak most for the class.</p>')
        parts += [_gif(path) for path in pictures]
    worst = results.worst(mistakes)
    parts.append('<h2>Worst mistakes</h2>')
    for i in worst:
        best, label = results.best[i], results.labels[i]
        parts.append(
            f'<figure>{thumbnails(results.names[i])}<figcaption>{shown[label]}, taken for '
            f'<b>{shown[best]}</b> with {100 * results.scores[i, best]:.1f} % '
            f'({100 * results.scores[i, label]:.1f} % for the right one)<br>'
            f'<span class="where">{html.escape(results.names[i])}</span></figcaption></figure>'
        )
    if not worst:
        parts.append('<p>There are none.</p>')
    if unreadable:
        parts.append('<h2>Clips that could not be read (they count as wrong)</h2>')
        bad = [
            (html.escape(name), html.escape(why))
            for name, why in zip(results.names, results.unreadable, strict=True)
            if why
        ]
        parts.append(table(('clip', 'reason'), bad))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
        'content="width=device-width, initial-scale=1"><title>Test report</title>'
        f'<style>{STYLE}</style></head><body>{"".join(parts)}</body></html>\n'
    )
