"""Weights of another network as the first ones of a backbone."""

from __future__ import annotations

from collections.abc import Callable

from mmengine.logging import print_log
from torch import Tensor, nn

from mmaction.errors import CheckpointError
from mmaction.models.backbones.dualformer_weights import bare_state_dict
from mmaction.utils.checkpoint_reading import read_checkpoint

__all__ = ['Translation', 'inflate_center', 'load_pretrained']

Translation = Callable[[dict[str, Tensor], nn.Module], dict[str, Tensor]]


def load_pretrained(model: nn.Module, source: str, translate: Translation | None = None) -> None:
    """Load what fits of a checkpoint, and log what does not.

    Args:
        model: The backbone.
        source: Path or address of the checkpoint.
        translate: Brings its entries, by their bare names, to those of `model`.

    Raises:
        CheckpointError: It cannot be read or fetched, or none of its weights fits.
    """
    state = bare_state_dict(read_checkpoint(source))
    if translate is not None:
        state = translate(state, model)
    own = model.state_dict()
    fits = {k: v for k, v in state.items() if k in own and own[k].shape == v.shape}
    # counters of BatchNorm fit any network
    if not any(value.ndim for value in fits.values()):
        raise CheckpointError(
            f'{source} has no weight that fits {type(model).__name__}: its first names are '
            f'{list(state)[:3]}, those of the model {list(own)[:3]}'
        )
    model.load_state_dict(fits, strict=False)
    kept = [f'not in the checkpoint: {name}' for name in own if name not in state]
    kept += [f'not in the model: {name}' for name in state if name not in own]
    kept += [
        f'{name}: {tuple(state[name].shape)}, the model has {tuple(own[name].shape)}'
        for name in state
        if name in own and name not in fits
    ]
    listed = ''.join(f'\n  {line}' for line in kept)
    print_log(f'Loaded {len(fits)} of {len(own)} tensors from {source}{listed}', logger='current')


def inflate_center(state: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """2-D kernels as 3-D ones that are zero but at their middle frame."""
    inflated = dict(state)
    for name, target in model.state_dict().items():
        if name in state and target.ndim == 5 and state[name].ndim == 4:
            kernel = state[name].new_zeros(*state[name].shape[:2], *target.shape[2:])
            kernel[:, :, target.shape[2] // 2] = state[name]
            inflated[name] = kernel
    return inflated
