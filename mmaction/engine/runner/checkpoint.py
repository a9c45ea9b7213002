"""Checkpoint files: written whole or not at all, read without running what they hold."""

from __future__ import annotations

import errno
import re
import shutil
import time
from collections import OrderedDict
from pathlib import Path
from typing import Any

import mmengine
import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from mmengine.optim import OptimWrapper
from torch import nn
from torch.utils.data import DataLoader

from mmaction.errors import CheckpointError, RemoteFileError
from mmaction.utils.checkpoint_reading import load_checkpoint_file, weights_of
from mmaction.utils.cli import some
from mmaction.utils.io import atomic_path, write_text
from mmaction.utils.remote import exists, is_remote, list_folder, read_bytes, uploaded, uri_of
from mmaction.version import __version__

from .random_state import random_state

__all__ = [
    'LoadReport',
    'checkpoints_by_age',
    'find_checkpoint',
    'load_checkpoint_file',
    'load_weights',
    'plain',
    'rank_state',
    'run_facts',
    'save_checkpoint_file',
    'write_pointer',
]

POINTER = 'last_checkpoint'
"""Name of the file in the work dir that names the last checkpoint."""


def save_checkpoint_file(checkpoint: dict[str, Any], path: str | Path) -> None:
    """Write a checkpoint so that `path` at no instant holds half of it.

    Raises:
        CheckpointError: The disk is full or cannot be written; what was at
            `path` before is still there.
    """
    path = Path(path)
    try:
        with atomic_path(path, durable=True) as part:
            torch.save(checkpoint, part)
    except RemoteFileError as error:
        raise CheckpointError(f'checkpoint {error}') from None
    except (OSError, RuntimeError) as error:
        raise CheckpointError(_write_problem(error, path)) from error


def _write_problem(error: Exception, path: Path) -> str:
    """What went wrong; torch's writer hides a full disk behind its own RuntimeError."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__cause__ or cause.__context__
    full = isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT)
    if full or shutil.disk_usage(path.parent).free < 1 << 20:
        return (
            f'the disk is full: {path} could not be written. Earlier checkpoints are whole; '
            'free some space and go on with --resume (fewer are kept with '
            'default_hooks.checkpoint.max_keep_ckpts=2)'
        )
    return f'{path} could not be written: {cause or error}'


def write_pointer(work_dir: str | Path, checkpoint: str | Path) -> None:
    """Name the last checkpoint of a work dir, after it has been written.

    The name is relative to the work dir, so that a copy names its own.
    """
    target, path = Path(work_dir, POINTER), Path(checkpoint)
    if is_remote(path):
        # Where the machine of the next run finds it, which has another disk.
        with uploaded(path.parent / POINTER) as part:
            part.write_text(uri_of(path), encoding='utf-8')
    elif path.resolve().is_relative_to(Path(work_dir).resolve()):
        path = path.resolve().relative_to(Path(work_dir).resolve())
    try:
        write_text(target, uri_of(path), durable=True)
    except OSError as error:
        raise CheckpointError(_write_problem(error, target)) from error


def checkpoints_by_age(work_dir: str | Path) -> list[Path]:
    """Checkpoints of a run that may be resumed, the last one first.

    The one that the pointer names leads; `epoch_*.pth` and `iter_*.pth` follow
    by the time they were written.
    """
    work_dir = Path(work_dir)
    found: list[Path] = []
    pointer = work_dir / POINTER
    if is_remote(work_dir):
        return _remote_by_age(work_dir)
    if pointer.is_file():
        named = pointer.read_text(encoding='utf-8', errors='replace').strip()
        if is_remote(named):
            return _remote_by_age(Path(named).parent, named)
        # Absolute in work dirs of mmengine, of which this may be a copy: its own come first.
        choices = (work_dir / Path(named).name, work_dir / named)
        found += [path for path in choices if named and path.is_file()][:1]
    others = [p for p in work_dir.glob('*.pth') if re.fullmatch(r'(epoch|iter)_\d+\.pth', p.name)]
    others.sort(key=lambda path: path.stat().st_mtime_ns, reverse=True)
    return found + [path for path in others if not any(path.samefile(other) for other in found)]


def _remote_by_age(folder: Path, named: str | None = None) -> list[Path]:
    """Checkpoints of a remote folder by the age in their names: servers tell the upload time."""
    pointer = folder / POINTER
    if named is None and exists(pointer):
        named = read_bytes(pointer, fresh=True).decode(errors='replace').strip()
    try:
        paths = [Path(each) for each in list_folder(folder)]
    except FileNotFoundError:
        return []
    steps = {path: re.fullmatch(r'(epoch|iter)_(\d+)\.pth', path.name) for path in paths}
    others = sorted(
        ((match[1], int(match[2]), path) for path, match in steps.items() if match), reverse=True
    )
    first = [path for path in paths if named and path.name == Path(named).name]
    return first + [path for _, _, path in others if path not in first]


def find_checkpoint(work_dir: str | Path) -> Path | None:
    """The last checkpoint of a work dir, or None."""
    return next(iter(checkpoints_by_age(work_dir)), None)


def plain(value: object) -> Any:
    """A copy made of tensors on the CPU, numbers, texts, lists, tuples and dicts.

    Anything else becomes its text, so that every checkpoint of ours loads with
    `weights_only=True`.
    """
    if isinstance(value, torch.Tensor):
        return value.detach().cpu()
    if isinstance(value, HistoryBuffer):
        values, counts = value.data
        return {'values': torch.tensor(values).double(), 'counts': torch.tensor(counts).double()}
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value.copy()) if value.dtype.kind in 'fiub' else value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        copy = OrderedDict() if isinstance(value, OrderedDict) else {}
        for key, item in value.items():
            copy[key if isinstance(key, (str, int, float, bool)) else str(key)] = plain(item)
        return copy
    if isinstance(value, (list, tuple, set)):
        kind = type(value) if type(value) in (list, tuple, set) else list
        return kind(plain(item) for item in value)
    if value is None or type(value) in (bool, int, float, complex, str, bytes):
        return value
    return str(value)


class LoadReport:
    """What became of the weights of a checkpoint.

    Attributes:
        loaded: Names that were copied into the model.
        missing: Names of the model that the file lacks.
        unexpected: Names of the file that the model lacks.
        mismatched: (name, shape in the file, shape in the model).
        not_finite: Names of those that were copied and hold nan or inf.
    """

    def __init__(self) -> None:
        self.loaded: list[str] = []
        self.missing: list[str] = []
        self.unexpected: list[str] = []
        self.mismatched: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = []
        self.not_finite: list[str] = []

    @property
    def total(self) -> int:
        """Number of tensors of the model."""
        return len(self.loaded) + len(self.missing) + len(self.mismatched)

    @property
    def complete(self) -> bool:
        """Whether file and model hold the same weights."""
        return not (self.missing or self.unexpected or self.mismatched)

    def errors_of_training(self, pooling_kernels: set[str]) -> LoadReport:
        """The report without what may start anew: the head, and kernels of other clips."""
        rest = LoadReport()
        rest.loaded = self.loaded
        rest.missing = [name for name in self.missing if not _in_head(name)]
        rest.unexpected = [name for name in self.unexpected if not _in_head(name)]
        rest.mismatched = [
            (name, theirs, ours)
            for name, theirs, ours in self.mismatched
            if not _in_head(name) and not (name in pooling_kernels and theirs[:2] == ours[:2])
        ]
        return rest

    def warning(self, source: str | Path) -> str | None:
        """A sentence on weights that are not finite, None where all are."""
        if not self.not_finite:
            return None
        return (
            f'{len(self.not_finite)} of {self.total} tensors of {source} hold nan or inf, the '
            f'first is {self.not_finite[0]}: the run that wrote it has diverged; take an earlier '
            'checkpoint of it'
        )

    def likely_reason(self) -> str:
        """Why the weights do not fit, in a sentence."""
        shared = [*self.loaded, *(name for name, _, _ in self.mismatched)]
        if all(map(_in_head, shared)):
            return 'It is of another kind of model: take the config that it was made with'
        wrong = [*self.missing, *self.unexpected, *(name for name, _, _ in self.mismatched)]
        # Of a layer for other classes only the first side differs.
        classes = {
            (*theirs[:1], *ours[:1]) if theirs[1:] == ours[1:] else ()
            for _, theirs, ours in self.mismatched
        }
        if all(map(_in_head, wrong)) and [*map(len, classes)] == [2]:
            ((theirs, ours),) = classes
            return (
                f'It was trained on {theirs} classes, and the config has '
                f'model.cls_head.num_classes={ours}'
            )
        if not all(_in_head(name) for name, _, _ in self.mismatched):
            return (
                'It is most likely of another size of the model (tiny, small, base) or of its '
                'clips: take the config that it was made with'
            )
        return 'Was it made with another config?'

    def __str__(self) -> str:
        parts = []
        if self.mismatched:
            parts.append(
                'other shapes: '
                + some([f'{n} ({a} in the file, {b} here)' for n, a, b in self.mismatched], 3)
            )
        if self.missing:
            parts.append(f'not in the file: {some(self.missing, 3)}')
        if self.unexpected:
            parts.append(f'not in the model: {some(self.unexpected, 3)}')
        return '; '.join(parts) or 'all weights match'


def _pooling_kernels(model: nn.Module) -> set[str]:
    return {
        f'{name}.weight'
        for name, module in model.named_modules()
        if getattr(module, 'kernel_follows_video_size', False)
    }


def _in_head(name: str) -> bool:
    return name.startswith('cls_head.')


def load_weights(
    model: nn.Module, checkpoint: dict[str, Any], source: str | Path, *, strict: bool
) -> LoadReport:
    """Copy the weights of a checkpoint into a model.

    Args:
        model: The bare model, not its wrapper.
        checkpoint: As `load_checkpoint_file` returns it: with `state_dict` or
            `model`, or the weights themselves. What DDP and torch.compile add to
            names is dropped; a backbone's own names get `backbone.` in front.
        source: The file, for messages.
        strict: Whether a head that does not match is an error as well. Without
            it, entries of `cls_head` that are missing, unknown or of another
            shape (other classes) leave the model's own as they are, and are
            reported; so are pooling kernels of another `video_size`.

    Raises:
        CheckpointError: Anything else, or with `strict` anything, does not
            match. The model is then as it was.
    """
    weights = weights_of(checkpoint)
    own, report, fitting = model.state_dict(), LoadReport(), {}
    # A hook for averaged weights takes those of the other name.
    for loaded in (weights, checkpoint.get('ema_state_dict', {})):
        _check_kinds(loaded, own, source)
    if not any(name in own for name in weights):
        weights = {f'backbone.{name}': value for name, value in weights.items()}
    for name, value in weights.items():
        if name not in own:
            report.unexpected.append(name)
        elif value.shape != own[name].shape:
            report.mismatched.append((name, tuple(value.shape), tuple(own[name].shape)))
        else:
            fitting[name] = value
    report.loaded = list(fitting)
    report.missing = [name for name in own if name not in weights]
    wrong = report if strict else report.errors_of_training(_pooling_kernels(model))
    if not fitting or not wrong.complete:
        raise CheckpointError(
            f'checkpoint {source} does not fit the model of this config: {wrong}. '
            f'{wrong.likely_reason()}'
        )
    model.load_state_dict(fitting, strict=False)
    # As the model holds them: a number of more bits may be too large for it.
    held = (name for name in fitting if not own[name].is_meta)
    report.not_finite = [name for name in held if not own[name].isfinite().all()]
    return report


def _check_kinds(weights: dict[str, Any], own: dict[str, Any], source: str | Path) -> None:
    """Raise `CheckpointError` for a weight that is sparse, complex or of integers."""
    for name, value in weights.items():
        mine = own.get(re.sub(r'^module\.', '', name), own.get(f'backbone.{name}'))
        if isinstance(value, torch.Tensor) and mine is not None and not _same_kind(value, mine):
            raise CheckpointError(
                f'checkpoint {source}: {name} is {_kind(value)}, expected {_kind(mine)}'
            )


def _same_kind(value: torch.Tensor, own: torch.Tensor) -> bool:
    """Whether a weight can be copied without losing what it is."""
    dense = value.layout == torch.strided and not value.is_quantized and not value.is_meta
    # Counters of BatchNorm, the only integers of a model, may come as floats.
    real = not value.is_complex() and (value.is_floating_point() or not own.is_floating_point())
    return dense and real


def _kind(value: torch.Tensor) -> str:
    layout = str(value.layout).removeprefix('torch.')
    place = ' without content' if value.is_meta else ''
    return f'{str(value.dtype).removeprefix("torch.")} ({layout}{place})'


def run_facts(loader: DataLoader[Any], world_size: int) -> dict[str, Any]:
    """What a checkpoint notes of the run that writes it, beside its config and seed.

    Args:
        loader: The loader of training.
        world_size: Number of ranks.
    """
    return dict(
        time=time.strftime('%Y%m%d_%H%M%S'),
        mmengine_version=mmengine.__version__,
        mmaction_version=__version__,
        clips_per_step=(loader.batch_size or 1) * world_size,
        steps_per_epoch=len(loader),
        dataset_meta=getattr(loader.dataset, 'metainfo', None),
    )


def rank_state(model: nn.Module, optim_wrapper: object) -> dict[str, Any]:
    """What only this rank knows: its random state, and gradients that wait for an update."""
    state: dict[str, Any] = {'random': random_state()}
    if isinstance(optim_wrapper, OptimWrapper) and not optim_wrapper.should_update():
        state['gradients'] = {
            name: parameter.grad.detach().cpu()
            for name, parameter in model.named_parameters()
            if parameter.grad is not None
        }
    return state
