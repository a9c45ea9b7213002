"""Learning rates that fall from the head to the first layer."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from torch import nn

from mmaction.errors import ConfigError
from mmaction.registry import OPTIM_WRAPPER_CONSTRUCTORS

from .constructor import GroupingConstructor

__all__ = ['LearningRateDecayOptimizerConstructor', 'layer_of']

# What comes before the first block
_FIRST = (
    *('patch_embed.', 'patch_embed1.', 'patch_embeds.0.', 'pos_embed', 'time_embed'),
    *('cls_token', 'mask_token', 'class_embedding', 'positional_embedding', 'ln_pre'),
    *('conv1', 'bn1', 'stem.', 'embeddings.', 'encoder.embeddings.'),
)
# Names of blocks, with the number of the first stage; without a group `stage` there is one.
_BLOCKS = (
    (re.compile(r'blocks\.(?P<stage>\d+)\.(?P<block>\d+)\.'), 0),  # DualFormer
    (re.compile(r'layers\.(?P<stage>\d+)\.blocks\.(?P<block>\d+)\.'), 0),  # Swin
    (re.compile(r'blocks(?P<stage>\d+)\.(?P<block>\d+)\.'), 1),  # UniFormer
    (re.compile(r'layer(?P<stage>\d+)\.(?P<block>\d+)\.'), 1),  # ResNet
    (re.compile(r'(?:transformer\.res)?blocks\.(?P<block>\d+)\.'), 0),  # ViT, MViT, UniFormerV2
    (re.compile(r'transformer_layers\.layers\.(?P<block>\d+)\.'), 0),  # TimeSformer
    # Of transformers: pyramids, then plain lists of blocks
    (re.compile(r'encoder\.layers\.(?P<stage>\d+)\.blocks\.(?P<block>\d+)\.'), 0),
    (re.compile(r'encoder\.stages\.(?P<stage>\d+)\.layers\.(?P<block>\d+)\.'), 0),
    (re.compile(r'(?:encoder\.)?layers?\.(?P<block>\d+)\.(?!downsample\.)'), 0),
)
# Between two stages: with the first block of the later, or with the last of the earlier one
_BEFORE_STAGE = (
    (re.compile(r'(?:patch_embeds|pos_block)\.(\d+)\.'), 0),
    (re.compile(r'patch_embed(\d+)\.'), 1),
    (re.compile(r'encoder\.stages\.(\d+)\.downsampling_layer\.'), 0),
)
_AFTER_STAGE = (
    (re.compile(r'(?:encoder\.)?layers\.(\d+)\.downsample\.'), 0),
    (re.compile(r'layer(\d+)_lateral\.'), 1),
)


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LearningRateDecayOptimizerConstructor(GroupingConstructor):
    """Multiply the learning rate by `decay_rate` for each layer further from the head.

    Norms and biases get no weight decay. For DualFormer, Swin, UniFormer and ResNets (2-D,
    3-D, SlowFast), whose blocks are numbered through all stages, and for transformers with a
    plain list of blocks: ViT, MViT, UniFormerV2, TimeSformer, and the video models of transformers.

    Args:
        optim_wrapper_cfg: Config of the wrapper, with its optimizer.
        paramwise_cfg: `decay_rate` (0 to 1), `decay_type` ('layer_wise', the
            default, or 'stage_wise') and `num_layers` (counted if left out).

    Raises:
        ConfigError: `paramwise_cfg` has other values.

    Source: Clark et al., ELECTRA, arXiv:2003.10555, section 3; the class of this
    name in mmaction2 1.x.
    """

    PARAMWISE_KEYS = frozenset({'decay_rate', 'decay_type', 'num_layers'})

    def _validate_cfg(self) -> None:
        super()._validate_cfg()
        rate = self.paramwise_cfg.get('decay_rate')
        kind = self.paramwise_cfg.get('decay_type', 'layer_wise')
        if not isinstance(rate, (int, float)) or not 0 < rate <= 1:
            raise ConfigError(f'paramwise_cfg.decay_rate is above 0 and at most 1, not {rate!r}')
        if kind not in ('layer_wise', 'stage_wise'):
            raise ConfigError(
                f"paramwise_cfg.decay_type is 'layer_wise' or 'stage_wise', not {kind!r}"
            )

    def groups(self, model: nn.Module) -> list[dict[str, Any]]:
        """A group for each layer's parameters that decay, and one for those that do not."""
        rules = self.paramwise_cfg
        rate, kind = rules['decay_rate'], rules.get('decay_type', 'layer_wise')
        named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        depths = _depths(name for name, _ in model.named_parameters())
        count = sum(depths) if kind == 'layer_wise' else len(depths)
        last = rules.get('num_layers', count) + 1
        groups: dict[tuple[int, bool], dict[str, Any]] = {}
        for name, parameter in named:
            layer = layer_of(name, depths, by_stage=kind == 'stage_wise')
            # The head learns at the full rate, whatever `num_layers` is.
            layer = last if layer > count else min(layer, last)
            decays = parameter.ndim > 1 and not name.endswith('.bias')
            group = groups.setdefault(
                (layer, decays),
                dict(
                    params=[],
                    lr=self.base_lr * rate ** (last - layer),
                    weight_decay=(self.base_wd or 0.0) if decays else 0.0,
                ),
            )
            group['params'].append(parameter)
        # The head leads: its learning rate is the one that is logged.
        return [groups[key] for key in sorted(groups, reverse=True)]


def _within(name: str) -> str | None:
    """A parameter's name within the backbone, or within one pathway of SlowFast; None elsewhere."""
    if not name.startswith('backbone.'):
        return None
    return re.sub(r'^(?:slow|fast)_path\.', '', name.removeprefix('backbone.'))


def _block_of(name: str) -> tuple[int, int] | None:
    """Stage and block, both from 0, of a name within the backbone."""
    for pattern, first in _BLOCKS:
        if (found := pattern.match(name)) is not None:
            stage = found.groupdict().get('stage')
            return (0 if stage is None else int(stage) - first), int(found['block'])
    return None


def _depths(names: Iterable[str]) -> list[int]:
    """Blocks per stage, from the names of the parameters."""
    stages: dict[int, int] = defaultdict(int)
    for name in names:
        if (place := _block_of(_within(name) or '')) is not None:
            stage, block = place
            stages[stage] = max(stages[stage], block + 1)
    return [stages[stage] for stage in sorted(stages)]


def layer_of(name: str, depths: list[int], by_stage: bool = False) -> int:
    """The layer that a parameter belongs to, counted from the input.

    0 is the first patch embedding, or the stem; blocks count from 1 through all stages; the
    patch embedding and the position generator of a stage go with its first
    block; the last norm and the head are one above the last block.

    Args:
        name: Name in the model, such as `backbone.blocks.2.0.norm1.weight`.
        depths: Blocks per stage.
        by_stage: Count stages instead of blocks.
    """
    top = (len(depths) if by_stage else sum(depths)) + 1
    within = _within(name)
    if within is None:
        return top
    if within.startswith(_FIRST):
        return 0
    place = _block_of(within)
    for pattern, first in _BEFORE_STAGE:
        if (found := pattern.match(within)) is not None:
            place = int(found[1]) - first, 0
    for pattern, first in _AFTER_STAGE:
        if (found := pattern.match(within)) is not None:
            stage = int(found[1]) - first
            place = stage, depths[stage] - 1
    if place is None:
        return top
    stage, block = place
    return stage + 1 if by_stage else sum(depths[:stage]) + block + 1
