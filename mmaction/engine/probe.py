"""Probes on frozen features: a grid of heads that are trained at once, in one pass.

All points of the grid see the same batches; each has weights, learning rate and weight decay of
its own. The best epoch of each by validation counts.

Shapes: N clips, C channels, G points of the grid, K classes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmaction.errors import ConfigError
from mmaction.models import AttentiveHead, KNNHead

__all__ = ['KINDS', 'ProbeResult', 'check_probe', 'train_probe']

KINDS = ('linear', 'knn', 'attentive')
_DEFAULTS: dict[str, dict[str, Any]] = dict(
    linear=dict(
        lrs=(1e-4, 1e-3, 1e-2), weight_decays=(0.0, 0.01, 0.1), epochs=20, batch_size=512, seed=0
    ),
    knn=dict(ks=(5, 10, 20, 50), temperatures=(0.07,)),
    attentive=dict(
        lrs=(1e-4, 3e-4, 1e-3), weight_decays=(0.01, 0.1), epochs=20, batch_size=64, seed=0,
        num_heads=8, mlp_ratio=4.0,
    ),
)  # fmt: skip


@dataclass
class ProbeResult:
    """What became of a grid.

    Attributes:
        points: For each point its settings, `accuracy` (top-1 on validation, 0 to 1, of its best
            epoch) and `epoch`, the best point first.
        head: State dict of the best head: `fc_cls.weight` and so on.
        options: What the head was made with, beside classes and channels.
    """

    points: list[dict[str, Any]]
    head: dict[str, Tensor]
    options: dict[str, Any] = field(default_factory=dict)


def check_probe(probe: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a probe, with what they leave out.

    Raises:
        ConfigError: An unknown kind or key, or values that cannot be meant.
    """
    kind = probe.get('kind')
    if kind not in KINDS:
        raise ConfigError(f'config key probe.kind: {kind!r} is none of {", ".join(KINDS)}')
    known = _DEFAULTS[kind]
    unknown = sorted(set(probe) - set(known) - {'kind'})
    if unknown:
        raise ConfigError(
            f'config key probe.{unknown[0]}: a {kind} probe has no such key; known are '
            f'{", ".join(known)}'
        )
    settings = {**known, **probe}
    for key, value in settings.items():
        values = value if isinstance(value, (list, tuple)) else [value]
        numbers = [v for v in values if isinstance(v, (int, float))]
        if key != 'kind' and (
            not values or len(numbers) < len(values) or min(numbers) < 0
            or (key not in ('weight_decays', 'seed') and min(numbers) == 0)
        ):  # fmt: skip
            raise ConfigError(f'config key probe.{key}: {value!r}, expected numbers above 0')
    return settings


def train_probe(
    probe: Mapping[str, Any],
    train: tuple[Tensor, Tensor],
    val: tuple[Tensor, Tensor],
    num_classes: int,
) -> ProbeResult:
    """Train the heads of a grid, or fill the bank of neighbors.

    Args:
        probe: Settings, as `check_probe` gives them.
        train: Features (N, C), for an attentive probe maps (N, C, T, H, W), and labels (N,).
        val: Likewise; what the best point is chosen by.
        num_classes: Number of classes K.

    Raises:
        ConfigError: Several labels of a clip, a label outside the classes, or pooled features for
            an attentive probe.
    """
    kind = probe['kind']
    for name, (_, labels) in (('training', train), ('validation', val)):
        if labels.ndim != 1:
            raise ConfigError('probes take one label of a clip; these clips have several')
        if int(labels.min()) < 0 or int(labels.max()) >= num_classes:
            raise ConfigError(f'a label of {name} lies outside the {num_classes} classes')
    train, val = ((x if x.ndim == 2 else x.flatten(2), y) for x, y in (train, val))
    if kind == 'attentive':
        if train[0].ndim == 2:
            raise ConfigError(
                'an attentive probe attends to tokens: extract features with --tokens'
            )
        return _train(_AttentiveGrid, probe, train, val, num_classes)
    train, val = ((x.flatten(2).mean(2) if x.ndim > 2 else x, y) for x, y in (train, val))
    run = _neighbors if kind == 'knn' else _train_linear
    return run(probe, train, val, num_classes)


Split = tuple[Tensor, Tensor]


def _neighbors(probe: Mapping[str, Any], train: Split, val: Split, num_classes: int) -> ProbeResult:
    features, labels = train
    size, channels = features.shape
    points = []
    for k, temperature in itertools.product(probe['ks'], probe['temperatures']):
        head = KNNHead(num_classes, channels, size, k, temperature)
        head.remember(features, labels)
        right = sum(
            int((head(x.float()).argmax(1) == y).sum())
            for x, y in zip(val[0].split(1024), val[1].split(1024), strict=True)
        )
        points.append(dict(k=k, temperature=temperature, accuracy=right / len(val[1])))
    points.sort(key=lambda point: -point['accuracy'])
    options = dict(bank_size=size, k=points[0]['k'], temperature=points[0]['temperature'])
    return ProbeResult(points, head.state_dict(), options)


class _LinearGrid(nn.Module):
    """G linear layers as parameters of their own, whose products are one."""

    def __init__(self, points: int, channels: int, classes: int, probe: Mapping[str, Any]) -> None:
        super().__init__()
        weight = torch.empty(classes, channels).normal_(std=0.01)
        self.weights = nn.ParameterList(weight.clone() for _ in range(points))
        self.biases = nn.ParameterList(torch.zeros(classes) for _ in range(points))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C) -> (G, B, K)."""
        weight, bias = torch.cat([*self.weights]), torch.cat([*self.biases])
        y: Tensor = F.linear(x, weight, bias).unflatten(1, (len(self.weights), -1)).transpose(0, 1)
        return y

    def parameters_of(self, point: int) -> list[nn.Parameter]:
        """The parameters of a point of the grid."""
        return [self.weights[point], self.biases[point]]

    def head(self, point: int) -> dict[str, Tensor]:
        """A copy of the weights of a point."""
        weight, bias = self.parameters_of(point)
        copies = {'fc_cls.weight': weight, 'fc_cls.bias': bias}
        return {name: value.detach().clone() for name, value in copies.items()}


class _AttentiveGrid(nn.Module):
    """G attentive heads that start from the same weights."""

    def __init__(self, points: int, channels: int, classes: int, probe: Mapping[str, Any]) -> None:
        super().__init__()
        options = {key: probe[key] for key in ('num_heads', 'mlp_ratio')}
        heads = [AttentiveHead(classes, channels, **options) for _ in range(points)]
        for head in heads[1:]:
            head.load_state_dict(heads[0].state_dict())
        self.heads = nn.ModuleList(heads)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, L) -> (G, B, K)."""
        return torch.stack([head(x) for head in self.heads])

    def parameters_of(self, point: int) -> list[nn.Parameter]:
        """The parameters of a point of the grid."""
        return list(self.heads[point].parameters())

    def head(self, point: int) -> dict[str, Tensor]:
        """A copy of the weights of a point."""
        return {k: v.detach().clone() for k, v in self.heads[point].state_dict().items()}


def _train_linear(
    probe: Mapping[str, Any], train: Split, val: Split, num_classes: int
) -> ProbeResult:
    """Train on features of mean 0 and deviation 1; the head takes them as they are."""
    features = train[0].float()
    mean, std = features.mean(0), features.std(0).clamp(min=1e-6)
    train, val = (((x.float() - mean) / std, y) for x, y in (train, val))
    result = _train(_LinearGrid, probe, train, val, num_classes)
    weight = result.head['fc_cls.weight'] / std
    result.head['fc_cls.bias'] -= weight @ mean
    result.head['fc_cls.weight'] = weight
    return result


def _train(
    grid: type[_LinearGrid] | type[_AttentiveGrid],
    probe: Mapping[str, Any],
    train: Split,
    val: Split,
    num_classes: int,
) -> ProbeResult:
    points = [
        dict(lr=lr, weight_decay=decay, accuracy=-1.0, epoch=0)
        for lr, decay in itertools.product(probe['lrs'], probe['weight_decays'])
    ]
    x, y = train
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(probe['seed'])
        heads = grid(len(points), x.shape[1], num_classes, probe)
        groups = [
            dict(params=heads.parameters_of(i), lr=p['lr'], weight_decay=p['weight_decay'])
            for i, p in enumerate(points)
        ]
        optimizer = torch.optim.AdamW(groups, foreach=True)
        epochs, size = int(probe['epochs']), int(probe['batch_size'])
        steps = epochs * math.ceil(len(x) / size)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: 0.5 * (1 + math.cos(math.pi * step / steps))
        )
        best: list[dict[str, Tensor]] = [{} for _ in points]
        for epoch in range(1, epochs + 1):
            heads.train()
            for batch in torch.randperm(len(x)).split(size):
                logits = heads(x[batch].float())  # (G, B, K)
                target = y[batch].expand(len(points), -1)
                loss = F.cross_entropy(logits.flatten(0, 1), target.flatten(), reduction='sum')
                optimizer.zero_grad()
                # the sum over points: none sees the others' gradients
                (loss / len(batch)).backward()
                optimizer.step()
                schedule.step()
            for i, accuracy in enumerate(_accuracies(heads, val)):
                if accuracy > points[i]['accuracy']:
                    points[i].update(accuracy=accuracy, epoch=epoch)
                    best[i] = heads.head(i)
    order = sorted(range(len(points)), key=lambda i: -points[i]['accuracy'])
    options = {key: probe[key] for key in ('num_heads', 'mlp_ratio') if key in probe}
    return ProbeResult([points[i] for i in order], best[order[0]], options)


@torch.no_grad()
def _accuracies(heads: nn.Module, val: Split) -> Sequence[float]:
    """Top-1 accuracy of each point, 0 to 1."""
    heads.eval()
    right = sum(
        (heads(x.float()).argmax(-1) == y).sum(1)
        for x, y in zip(val[0].split(1024), val[1].split(1024), strict=True)
    )
    assert isinstance(right, Tensor)
    return (right.double() / len(val[1])).tolist()
