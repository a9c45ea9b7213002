"""A step of an optimizer that a flag on the device calls off, without the host reading the flag."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim import Adam, AdamW, Optimizer

__all__ = ['step_unless']


def step_unless(optimizer: Optimizer, called_off: Tensor, **kwargs: Any) -> None:
    """Step, unless the flag is 1: then parameters and state stay as they are.

    On a GPU the host does not wait, with two exceptions: the step in which an optimizer makes its
    state, and every step of an optimizer with state that is no tensor of the GPU.

    Args:
        optimizer: The optimizer; its gradients may be anything where the step is called off.
        called_off: 0 or 1, a float32 scalar on the device of the parameters.
        kwargs: Arguments of `optimizer.step`.
    """
    inner: Any = getattr(optimizer, 'optim', optimizer)  # of a ZeroRedundancyOptimizer
    if _takes_flag(inner):
        inner.found_inf = called_off
        try:
            optimizer.step(**kwargs)
        finally:
            del inner.found_inf
    elif _is_read_late(called_off) and _state_is_on(inner, called_off.device):
        step_and_restore(optimizer, called_off, **kwargs)
    elif not called_off.item():
        optimizer.step(**kwargs)


def _is_read_late(flag: Tensor) -> bool:
    """Whether the host would wait for a flag; on a CPU it reads it at once."""
    return flag.device.type != 'cpu'


def _takes_flag(optimizer: Optimizer) -> bool:
    """Whether the optimizer's own kernel heeds `found_inf`, as those of fused Adam and AdamW do.

    Not of fused SGD: the momentum after a first step that was called off would be 0, instead of
    the first gradient that counts, and with dampening these are not the same.
    """
    return isinstance(optimizer, (Adam, AdamW)) and all(
        group.get('fused') for group in optimizer.param_groups
    )


def _state_is_on(optimizer: Optimizer, device: torch.device) -> bool:
    return all(
        value is None or (isinstance(value, Tensor) and value.device == device)
        for state in optimizer.state.values()
        for value in state.values()
    )


def step_and_restore(optimizer: Optimizer, called_off: Tensor, **kwargs: Any) -> None:
    """Step, and put parameters and state back where the flag says so.

    Args:
        optimizer: The optimizer, all of whose state are tensors.
        called_off: As in `step_unless`.
        kwargs: Arguments of `optimizer.step`.
    """
    states = getattr(optimizer, 'optim', optimizer).state
    parameters = [p for group in optimizer.param_groups for p in group['params']]
    kept = [(parameter.data, parameter.detach().clone()) for parameter in parameters]
    before = {
        parameter: {key: None if v is None else v.clone() for key, v in state.items()}
        for parameter, state in states.items()
    }
    optimizer.step(**kwargs)
    if any(_made(state, before.get(parameter, {})) for parameter, state in states.items()):
        # State that did not exist has no value to go back to.
        if not called_off.item():
            return
        states.clear()
        states.update(before)
        for now, then in kept:
            now.copy_(then)
        return
    kept += [
        (states[parameter][key], value)
        for parameter, state in before.items()
        for key, value in state.items()
        if value is not None
    ]
    for now, then in kept:
        now.copy_(torch.where(called_off.bool(), then, now))


def _made(state: dict[str, Any], before: dict[str, Any]) -> bool:
    return any(value is not None and before.get(key) is None for key, value in state.items())
