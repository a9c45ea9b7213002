"""Stored features as a dataset, for heads that are trained by the runner."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.data import Dataset

from mmaction.registry import DATASETS
from mmaction.structures import ActionDataSample

from .feature_store import load_features
from .transforms.pipeline import Pipeline

__all__ = ['FeatureDataset']


@DATASETS.register_module()
class FeatureDataset(Dataset[Any]):
    """Features that `tools/extract_features.py` has written, as one view of each clip.

    An item is dict(inputs=(1, C, T, H, W), data_samples=ActionDataSample): pooled features have
    T = H = W = 1. With `backbone=dict(type='StoredFeatures')` a `Recognizer3D` trains its head
    on them.

    Args:
        folder: Of the features; they are read into memory.
        pipeline: Transforms of an item.
        test_mode: Accepted; items are the same in training.

    Raises:
        ConfigError: The folder holds no complete features.
    """

    def __init__(
        self, folder: str, pipeline: list[Any] | None = None, test_mode: bool = False
    ) -> None:
        self.folder = folder
        self.test_mode = test_mode
        self.features, self.labels, self.about = load_features(folder)
        self.pipeline = Pipeline(pipeline or [])

    @property
    def metainfo(self) -> dict[str, Any]:
        """Names of the classes."""
        return dict(classes=self.about['classes'])

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, index: int) -> Any:
        """The item of an index."""
        position = int(index)
        features = self.features[position].float()
        if features.ndim == 1:
            features = features[:, None, None, None]
        label = self.labels[position]
        sample = ActionDataSample(
            metainfo=dict(filename=self.about['names'][position], sample_idx=position)
        )
        sample.set_gt_label(label if label.ndim else int(label))
        return self.pipeline(dict(inputs=features[None], data_samples=sample))

    def get_cat_ids(self, index: int) -> list[int]:
        """The labels of a clip, which `ClassBalancedDataset` asks for."""
        label = self.labels[int(index)]
        return torch.nonzero(label).flatten().tolist() if label.ndim else [int(label)]
