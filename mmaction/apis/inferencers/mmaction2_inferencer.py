"""The unified inferencer of mmaction2, of which this package has the recognition part."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch import nn

from mmaction.registry import INFERENCERS
from mmaction.structures import ActionDataSample
from mmaction.utils.packaged_configs import published_model

from .actionrecog_inferencer import ActionRecogInferencer

__all__ = ['MMAction2Inferencer']


@INFERENCERS.register_module()
class MMAction2Inferencer(ActionRecogInferencer):
    """`ActionRecogInferencer` under the names of mmaction2's unified inferencer.

    Predictions are dict(rec_labels=[[class]], rec_scores=[[score of each class]],
    rec_names=[name], top5=[(name, score), ...]).

    Args:
        rec: Config file, config, or a recognizer of `init_recognizer`; or a model of
            docs/model_zoo.md by the name of its config or its family (`'tsn'`).
        rec_weights: Checkpoint. If None, a model by its name has its published weights, which
            are downloaded once, and any other random ones.
        device: Where it runs; the first GPU, or the CPU without one, if None.
        label_file: Names of the classes, one a line; those of the checkpoint if None.
        input_format: 'video', 'rawframes' or 'array'; told from each input if None.

    Raises:
        ValueError: `rec` is missing.
        CheckpointError: The published weights cannot be fetched.

    Source: the class of this name in mmaction2 1.x.
    """

    def __init__(
        self,
        rec: str | Path | Config | nn.Module | None = None,
        rec_weights: str | Path | None = None,
        device: str | torch.device | None = None,
        label_file: str | Path | None = None,
        input_format: str | None = None,
    ) -> None:
        if rec is None:
            raise ValueError('MMAction2Inferencer needs rec, the config of a recognizer')
        if isinstance(rec, str) and not Path(rec).is_file():
            published = published_model(rec.removesuffix('.py'))
            if published is not None:
                rec, address = published
                rec_weights = rec_weights or address
        super().__init__(rec, rec_weights, device, label_file, input_format)

    def _as_dict(self, sample: ActionDataSample) -> dict[str, Any]:
        plain = super()._as_dict(sample)
        return dict(
            rec_labels=[plain['pred_labels']],
            rec_scores=[plain['pred_scores']],
            rec_names=plain['pred_names'],
            top5=plain['top5'],
        )
