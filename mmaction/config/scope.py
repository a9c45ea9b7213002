"""What mmaction2 has and this package leaves out, and three slips in its configs."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from mmengine.config import Config

from mmaction.errors import ConfigError
from mmaction.mmaction2_names import why_left_out
from mmaction.utils.cli import print_notes

from .registered_types import is_registered

__all__ = ['fit_blending', 'mend_published', 'refuse_left_out', 'why_missing']


def why_missing(kind: str) -> str | None:
    """Why a type of an mmaction2 config is not here, in one sentence, where that is on purpose.

    Args:
        kind: The type, as a config names it.
    """
    library, _, name = kind.rpartition('.')
    library = library.split('.')[0]
    left_out = why_left_out(kind)
    if left_out is not None:
        return left_out
    if name in ('ImgAug', 'Imgaug'):
        return (
            f'"{kind}" needs imgaug, which runs on no current NumPy: "PytorchVideoWrapper" with '
            'op="RandAugment", "TorchVisionWrapper" and "ColorJitter" take its place'
        )
    if library in ('mmcls', 'mmpretrain', 'mmdet', 'mmpose') and find_spec(library) is None:
        return (
            f'"{kind}" needs {library}, which is not installed and runs on no current PyTorch: '
            'backbones of torchvision and timm take its place, such as "timm.resnext101_32x4d" or '
            '"torchvision.resnext101_32x8d"'
        )
    return None


def refuse_left_out(cfg: Config) -> None:
    """Tell a config for another task than recognition before any slip within it.

    `dataset_type` is all that a config without a model says of its task. A class that a user
    has registered under such a name is theirs to use.

    Raises:
        ConfigError: With the first type that is left out on purpose.
    """
    loaders = ('train_dataloader', 'val_dataloader', 'test_dataloader')
    for name in ('model', *loaders, 'dataset_type'):
        _refuse(cfg.get(name), (name,))


def _refuse(node: object, way: tuple[str, ...]) -> None:
    if isinstance(node, dict):
        for key, value in node.items():
            _refuse(value, (*way, str(key)))
    elif isinstance(node, (list, tuple)):
        for index, value in enumerate(node):
            _refuse(value, (*way, str(index)))
    elif isinstance(node, str) and way[-1] in ('type', 'dataset_type'):
        reason = why_missing(node)
        if reason and not is_registered(node):
            raise ConfigError(f'config key {".".join(way)}: {reason}')


def mend_published(cfg: Config) -> None:
    """Read two slips in configs of mmaction2 1.2 as they were meant, and say so on stderr.

    `pipeline` and `test_mode` beside a dataloader's dataset belong to the dataset;
    `DecordDecode` has no `io_backend`, which `DecordInit` has.
    """
    notes = []
    for name, loader in cfg.items():
        if not name.endswith('_dataloader') or not isinstance(loader, dict):
            continue
        for key in ('pipeline', 'test_mode'):
            if key in loader and isinstance(loader.get('dataset'), dict):
                loader['dataset'][key] = loader.pop(key)
                notes.append(f'{name}.{key} is read as {name}.dataset.{key}')
    if _drop_io_backend(cfg._cfg_dict):
        notes.append('io_backend of DecordDecode is dropped: DecordInit reads the file')
    for note in notes:
        print_notes(f'note: {cfg.filename}: {note}')


def fit_blending(cfg: Config) -> None:
    """Have blendings mix the classes of the head, and say on stderr which did not.

    Some configs of mmaction2 1.2 forget to, and so does whoever sets the classes of the head alone.
    """
    model: Any = cfg.get('model')
    try:
        classes = model['cls_head']['num_classes']
        blending = model['data_preprocessor']['blending']
        blends = [blending, *blending.get('augments', [])]
    except (AttributeError, KeyError, TypeError):
        return  # no blending, or no config of a recognizer
    for blend in blends:
        if blend.get('num_classes', classes) != classes:
            note = f'{blend["type"]}.num_classes={blend["num_classes"]} is read as {classes}'
            print_notes(f'note: {cfg.filename}: {note}')
            blend['num_classes'] = classes


def _drop_io_backend(node: object) -> bool:
    """Whether a `DecordDecode` had one."""
    if isinstance(node, (list, tuple)):
        return sum(_drop_io_backend(item) for item in node) > 0
    if not isinstance(node, dict):
        return False
    had = node.get('type') == 'DecordDecode' and node.pop('io_backend', None) is not None
    return sum(_drop_io_backend(value) for value in node.values()) > 0 or had
