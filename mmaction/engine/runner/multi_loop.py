"""Training on several dataloaders at once, by mmaction2's config key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.runner import Runner

from mmaction.errors import ConfigError
from mmaction.registry import LOOPS

from .loops import EpochBasedTrainLoop

__all__ = ['MultiLoaderEpochBasedTrainLoop', 'join_dataloaders']


@LOOPS.register_module()
class MultiLoaderEpochBasedTrainLoop(EpochBasedTrainLoop):
    """Each step trains on a batch of every dataloader, joined into one batch.

    So it resumes exactly, and an epoch is as long as that of `train_dataloader`. The
    pipelines must give clips of one shape (`BuildPseudoClip` makes one of an image).

    Args:
        runner: The runner.
        dataloader: Config of `train_dataloader`.
        other_loaders: Configs of the other dataloaders.
        max_epochs: Epochs of the training.
        kwargs: `val_begin` and `val_interval`.

    Source: the loop of this name in mmaction2 1.2, which hands on the batches as a tuple.
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: Mapping[str, Any],
        other_loaders: Sequence[Mapping[str, object]],
        max_epochs: int,
        **kwargs: Any,
    ) -> None:
        joined = join_dataloaders(dataloader, other_loaders)
        super().__init__(runner, joined, max_epochs, **kwargs)


def join_dataloaders(
    first: Mapping[str, Any], others: Sequence[Mapping[str, object]]
) -> dict[str, Any]:
    """The config of one dataloader whose batches hold one of each.

    Workers and whatever else are those of `first`; `JointSampler` draws from each dataset
    as many samples as its own batches have.

    Raises:
        ConfigError: A dataloader is no dict with `batch_size` and `dataset`.
    """
    loaders = [first, *others]
    for i, loader in enumerate(loaders):
        if not isinstance(loader, Mapping) or not {'batch_size', 'dataset'} <= set(loader):
            place = f'train_cfg.other_loaders[{i - 1}]' if i else 'train_dataloader'
            raise ConfigError(f'{place} must be a dict with batch_size and dataset')
    sizes = [loader['batch_size'] for loader in loaders]
    return {
        **{key: value for key, value in first.items() if key != 'batch_sampler'},
        'batch_size': sum(sizes),
        'dataset': dict(type='ConcatDataset', datasets=[loader['dataset'] for loader in loaders]),
        'sampler': dict(type='JointSampler', ratio=sizes),
    }
