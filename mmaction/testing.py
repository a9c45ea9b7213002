"""Helpers that tests of models and configs import, under the names of mmaction2."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from mmengine.config import Config
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmaction.utils.packaged_configs import config_folder
from mmaction.utils.suggest import did_you_mean

__all__ = [
    'check_norm_state',
    'generate_backbone_demo_inputs',
    'generate_recognizer_demo_inputs',
    'get_cfg',
    'get_recognizer_cfg',
]


def check_norm_state(modules: Iterable[nn.Module], train_state: bool) -> bool:
    """Whether all BatchNorm layers among the modules are in training (or evaluation) mode."""
    return all(m.training == train_state for m in modules if isinstance(m, _BatchNorm))


def generate_backbone_demo_inputs(input_shape: Sequence[int] = (1, 3, 64, 64)) -> Tensor:
    """Random clips or images from 0 to 1 of a shape."""
    return torch.rand(tuple(input_shape))


def generate_recognizer_demo_inputs(
    input_shape: Sequence[int] = (1, 3, 3, 224, 224), model_type: str = '2D'
) -> dict[str, Tensor]:
    """Random inputs and labels of class 2.

    Args:
        input_shape: (N, frames, C, H, W), or (N, clips, C, T, H, W).
        model_type: '2D' has a label for each of N, '3D' one for each clip.

    Returns:
        dict(imgs=float tensor, gt_labels=long tensor).

    Raises:
        ValueError: `model_type` is neither, or '3D' with five axes.
    """
    if model_type not in ('2D', '3D') or (model_type == '3D' and len(input_shape) != 6):
        raise ValueError(f'model_type={model_type!r} does not go with inputs of {input_shape}')
    count = input_shape[0 if model_type == '2D' else 1]
    return dict(imgs=torch.rand(tuple(input_shape)), gt_labels=torch.full((count,), 2))


def get_cfg(config_type: str, fname: str) -> Config:
    """A config of `configs/<config_type>/`, read afresh, so that a test may change it.

    Args:
        config_type: 'recognition'.
        fname: Path within the folder, `dualformer/NAME.py`.

    Raises:
        FileNotFoundError: There is no such config.
    """
    root = config_folder() / config_type
    path = root / fname
    if not path.is_file():
        hint = did_you_mean(fname, {p.relative_to(root).as_posix() for p in root.rglob('*.py')})
        raise FileNotFoundError(f'there is no config {fname} in configs/{config_type}{hint}')
    return Config.fromfile(path)


def get_recognizer_cfg(fname: str) -> Config:
    """A config of `configs/recognition/`, such as `dualformer/NAME.py`; see `get_cfg`."""
    return get_cfg('recognition', fname)
