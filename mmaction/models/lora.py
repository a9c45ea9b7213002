"""LoRA: low-rank updates of the linear layers of a frozen backbone, by peft.

Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", arXiv:2106.09685. The frozen
weights are not in the state dict of a recognizer with LoRA: they come from where the config says,
and a digest of them is saved, so that updates never meet other weights than they were trained on.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmaction.errors import CheckpointError, ConfigError
from mmaction.utils.checkpoint_reading import read_checkpoint, weights_of_backbone
from mmaction.utils.hub import require
from mmaction.utils.suggest import did_you_mean

__all__ = ['attach_lora', 'has_lora', 'merge_lora', 'weights_digest']

_KEY = 'config key model.backbone.lora'
BASE = 'lora_base'
"""Name of the buffer with the digest of the frozen weights."""


def weights_digest(state: dict[str, Tensor]) -> str:
    """SHA-256 of names, shapes and values, as hexadecimal digits."""
    digest = hashlib.sha256()
    for name in sorted(state):
        value = state[name].detach().cpu().contiguous()
        digest.update(f'{name} {tuple(value.shape)} {value.dtype}'.encode())
        digest.update(value.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def attach_lora(
    recognizer: nn.Module,
    r: int = 8,
    targets: str | list[str] | None = None,
    alpha: int | None = None,
    dropout: float = 0.0,
    base: str | None = None,
) -> None:
    """Load the weights of a recognizer's backbone, freeze them, and add low-rank updates.

    Args:
        recognizer: With a `backbone` of which no weight was loaded yet.
        r: Rank of the updates.
        targets: Ends of the names of linear layers, such as ['qkv', 'proj'], or a regular
            expression of whole names; all linear layers if None.
        alpha: The update counts alpha / r times; 2 r if None.
        dropout: Before the update.
        base: Checkpoint with the backbone's weights; what `pretrained` says if None.

    Raises:
        ConfigError: No layer of these names, or nothing says what the weights are.
        CheckpointError: `base` does not fit.
    """
    require('peft', 'model.backbone.lora')
    from peft import LoraConfig, inject_adapter_in_model

    backbone: Any = recognizer.backbone
    if r < 1:
        raise ConfigError(f'{_KEY}.r: {r}, expected a rank of at least 1')
    _load_base(backbone, base)
    names = _chosen(backbone, targets)
    digest = weights_digest(dict(backbone.named_parameters()))
    backbone.requires_grad_(False)
    options = LoraConfig(
        r=r,
        lora_alpha=2 * r if alpha is None else alpha,
        # as one expression: of names in a list, peft takes what ends in them
        target_modules='|'.join(map(re.escape, names)),
        lora_dropout=dropout,
    )
    inject_adapter_in_model(options, backbone)
    recognizer.register_buffer(BASE, torch.tensor(list(bytes.fromhex(digest)), dtype=torch.uint8))
    handles: Any = (
        recognizer.register_state_dict_post_hook(_without_frozen),
        recognizer.register_load_state_dict_pre_hook(_check_base),
    )
    recognizer.lora_hooks = handles


def _chosen(backbone: nn.Module, targets: str | list[str] | None) -> list[str]:
    """Names of the linear layers that get updates.

    Raises:
        ConfigError: A target is none.
    """
    names = [name for name, part in backbone.named_modules() if isinstance(part, nn.Linear)]
    if not names:
        raise ConfigError(f'{_KEY}: {type(backbone).__name__} has no linear layers')
    if targets is None:
        return names
    found: set[str] = set()
    for target in [targets] if isinstance(targets, str) else targets:
        if isinstance(targets, str):
            matching = {name for name in names if re.fullmatch(target, name)}
        else:
            matching = {name for name in names if f'.{name}'.endswith(f'.{target}')}
        if not matching:
            ends = {name.rpartition('.')[2] for name in names}
            hint = did_you_mean(target, ends, list_known=True)
            raise ConfigError(f'{_KEY}.targets: no linear layer is called {target!r}{hint}')
        found |= matching
    return sorted(found)


def has_lora(recognizer: nn.Module) -> bool:
    """Whether a recognizer has LoRA that is not merged."""
    return getattr(recognizer, BASE, None) is not None


def _load_base(backbone: Any, base: str | None) -> None:
    """Load all weights of a backbone.

    Raises:
        ConfigError: Nothing says what they are, or `pretrained` leaves some of them random.
        CheckpointError: `base` does not fit.
    """
    if base is not None:
        state = weights_of_backbone(read_checkpoint(base))
        own = backbone.state_dict()
        wrong = [n for n, v in own.items() if n not in state or state[n].shape != v.shape]
        if wrong:
            raise CheckpointError(
                f'{_KEY}.base: {base} does not fit the backbone: it lacks {", ".join(wrong[:5])}'
                f'{" and more" if len(wrong) > 5 else ""}, or has other shapes'
            )
        backbone.load_state_dict({name: state[name] for name in own})
        return
    if not getattr(backbone, 'pretrained', None):
        raise ConfigError(
            f'{_KEY}: it adapts weights that are there already: set lora.base to their checkpoint, '
            'or model.backbone.pretrained'
        )
    digests = set()
    with torch.random.fork_rng(devices=[]):
        for seed in (1, 2):
            torch.manual_seed(seed)
            for part in backbone.modules():  # of mmengine, which initializes but once
                if isinstance(part, BaseModule):
                    part.is_init = False
            with torch.no_grad():
                for weight in backbone.parameters():
                    weight.normal_()
            backbone.init_weights()
            digests.add(weights_digest(dict(backbone.named_parameters())))
    if len(digests) > 1:
        raise ConfigError(
            f'{_KEY}: pretrained={backbone.pretrained!r} leaves some weights of the backbone '
            'random, which a later run could not restore: set lora.base to a checkpoint of them all'
        )


def _frozen(recognizer: Any) -> set[str]:
    return {
        f'backbone.{name}'
        for name, weight in recognizer.backbone.named_parameters()
        if not weight.requires_grad
    }


def _without_frozen(
    recognizer: nn.Module, state: dict[str, Any], prefix: str, _metadata: object
) -> None:
    """Drop what is not trained from a state dict."""
    for name in _frozen(recognizer):
        state.pop(prefix + name, None)


def _check_base(recognizer: object, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Hold the weights that updates were trained on against those that are there.

    Raises:
        CheckpointError: They are others.
    """
    digest = state.get(prefix + BASE)
    if digest is not None and digest.tolist() != getattr(recognizer, BASE).tolist():
        raise CheckpointError(
            'these LoRA weights were trained on other weights of the backbone than '
            'model.backbone.lora.base or pretrained gives now: take those of training'
        )


def merge_lora(recognizer: Any) -> bool:
    """Add the updates to the weights, which makes it a recognizer without LoRA.

    Returns:
        Whether it had LoRA.
    """
    if not has_lora(recognizer):
        return False
    from peft.tuners.lora import LoraLayer

    for name, layer in list(recognizer.backbone.named_modules()):
        if isinstance(layer, LoraLayer):
            layer.merge()
            parent, _, child = name.rpartition('.')
            setattr(recognizer.backbone.get_submodule(parent), child, layer.get_base_layer())
    recognizer.backbone.requires_grad_(True)
    delattr(recognizer, BASE)
    for handle in recognizer.lora_hooks:
        handle.remove()
    return True
