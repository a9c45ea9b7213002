"""Mixing the clips of a batch and their labels, on the device."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Beta

from mmaction.registry import MODELS
from mmaction.structures import ActionDataSample
from mmaction.utils import ConfigType

__all__ = ['BaseMiniBatchBlending', 'CutmixBlending', 'MixupBlending', 'RandomBatchAugment']


class BaseMiniBatchBlending(ABC):
    """Blends a batch: the clips by `do_blending`, the labels into soft ones.

    Args:
        num_classes: Number of classes, K.
    """

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes

    @abstractmethod
    def do_blending(self, imgs: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """Blend clips (N, ...) and soft labels (N, K)."""

    def __call__(
        self, imgs: Tensor, batch_data_samples: Sequence[ActionDataSample]
    ) -> tuple[Tensor, Sequence[ActionDataSample]]:
        """Blend a batch.

        Args:
            imgs: (N, ...); may be changed in place.
            batch_data_samples: N samples with gt_label, a class (1,) or a vector (K,).

        Returns:
            The blended clips, and the samples, whose gt_label is a float vector (K,) now.

        Raises:
            ValueError: A label is missing or does not fit `num_classes`.
        """
        label = self._soft_labels(batch_data_samples).to(imgs.device)
        imgs, label = self.do_blending(imgs, label)
        for sample, row in zip(batch_data_samples, label, strict=True):
            sample.set_gt_label(row)
        return imgs, batch_data_samples

    def _soft_labels(self, samples: Sequence[ActionDataSample]) -> Tensor:
        missing = [s.get('filename', i) for i, s in enumerate(samples) if 'gt_label' not in s]
        if missing:
            raise ValueError(f'{type(self).__name__} needs a label for each clip, not so {missing}')
        labels = [sample.gt_label for sample in samples]
        sizes = {len(label) for label in labels}
        if sizes == {self.num_classes} and self.num_classes > 1:
            return torch.stack(labels).float()
        if sizes != {1}:
            raise ValueError(
                f'labels of {sorted(sizes)} numbers do not fit num_classes={self.num_classes} of '
                f'{type(self).__name__}: each must be one class or a vector of that length'
            )
        classes = torch.cat(labels)
        # On a GPU the check would make every step wait. There a class out of range gets a row of
        # zeros; the trial of a clip before training, on the host, has found a wrong num_classes.
        if classes.device.type == 'cpu':
            numbers = classes.numpy()
            if not 0 <= numbers.min() <= numbers.max() < self.num_classes:
                raise ValueError(
                    f'labels {numbers.tolist()} do not all lie in 0 to {self.num_classes - 1}: '
                    f'check num_classes of {type(self).__name__}'
                )
        # Not one_hot, which reads the classes on the host.
        columns = torch.arange(self.num_classes, device=classes.device)
        return (classes[:, None] == columns).float()


def _draw(distribution: Beta) -> float:
    """A number from the generator of the host, by `numpy`, which never waits for a device."""
    return float(distribution.sample().numpy())


def _draw_integer(below: int) -> int:
    return int(torch.randint(below, (1,), device='cpu').numpy()[0])


def _draw_order(length: int, device: torch.device) -> Tensor:
    """A permutation, drawn on the host and copied to a device without waiting for it."""
    order = torch.randperm(length, device='cpu')
    return order if device.type == 'cpu' else order.pin_memory().to(device, non_blocking=True)


def _check_alpha(alpha: float) -> Beta:
    if alpha <= 0:
        raise ValueError(f'alpha={alpha} must be positive')
    with torch.device('cpu'):  # also where a model is built on another device, or on none
        return Beta(float(alpha), float(alpha))


@MODELS.register_module()
class MixupBlending(BaseMiniBatchBlending):
    """Each clip becomes lam times itself plus (1 - lam) times another.

    lam ~ Beta(alpha, alpha), one for the batch. Source: Zhang et al., mixup:
    Beyond Empirical Risk Minimization, ICLR 2018.

    Args:
        num_classes: Number of classes.
        alpha: Parameter of the Beta distribution.
    """

    def __init__(self, num_classes: int, alpha: float = 0.2) -> None:
        super().__init__(num_classes)
        self.beta = _check_alpha(alpha)

    def do_blending(self, imgs: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """Blend clips (N, ...) and soft labels (N, K)."""
        lam = _draw(self.beta)
        order = _draw_order(len(imgs), imgs.device)
        mixed = lam * imgs + (1 - lam) * imgs[order]
        return mixed, lam * label + (1 - lam) * label[order]


@MODELS.register_module()
class CutmixBlending(BaseMiniBatchBlending):
    """In each clip a box, through all frames, is replaced by that of another clip.

    The box has the frame's aspect ratio and the share 1 - lam of its area,
    lam ~ Beta(alpha, alpha), around a random center, cut at the borders; the labels
    are weighed by what is left. Source: Yun et al., CutMix, ICCV 2019.

    Args:
        num_classes: Number of classes.
        alpha: Parameter of the Beta distribution.
    """

    def __init__(self, num_classes: int, alpha: float = 0.2) -> None:
        super().__init__(num_classes)
        self.beta = _check_alpha(alpha)

    @staticmethod
    def rand_bbox(img_size: Sequence[int], lam: float) -> tuple[int, int, int, int]:
        """Draw (left, top, right, bottom) for a batch of shape `img_size` (..., H, W)."""
        height, width = img_size[-2:]
        side = (1.0 - lam) ** 0.5
        half_w, half_h = int(width * side) // 2, int(height * side) // 2
        x, y = _draw_integer(width), _draw_integer(height)
        return (
            max(x - half_w, 0),
            max(y - half_h, 0),
            min(x + half_w, width),
            min(y + half_h, height),
        )

    def do_blending(self, imgs: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """Blend clips (N, ..., H, W), in place, and soft labels (N, K)."""
        order = _draw_order(len(imgs), imgs.device)
        lam = _draw(self.beta)
        left, top, right, bottom = self.rand_bbox(imgs.shape, lam)
        box = imgs[..., top:bottom, left:right]
        imgs[..., top:bottom, left:right] = box[order]
        lam = 1 - (right - left) * (bottom - top) / (imgs.shape[-1] * imgs.shape[-2])
        return imgs, lam * label + (1 - lam) * label[order]


@MODELS.register_module()
class RandomBatchAugment(BaseMiniBatchBlending):
    """One of several blendings, drawn for each batch.

    Args:
        augments: Config of a blending, or a list of them, all for the same
            number of classes.
        probs: Probability of each; what is missing to 1 leaves the batch as it
            is. None: all alike.

    Raises:
        TypeError: An augment is not a config.
        ValueError: The probabilities do not fit the augments, or their numbers of
            classes differ.
    """

    def __init__(
        self,
        augments: ConfigType | Sequence[ConfigType],
        probs: float | Sequence[float] | None = None,
    ) -> None:
        configs = [augments] if isinstance(augments, dict) else augments
        if not isinstance(configs, (list, tuple)):
            configs = []
        if not configs or not all(isinstance(config, dict) for config in configs):
            raise TypeError(f'augments must be the config of a blending or several, not {augments}')
        built = [MODELS.build(config) for config in configs]
        classes = {augment.num_classes for augment in built}
        if len(classes) > 1:
            raise ValueError(f'augments are for different num_classes: {sorted(classes)}')
        super().__init__(classes.pop())
        self.augments: list[BaseMiniBatchBlending | None] = list(built)
        self.probs: list[float] | None = None
        if probs is not None:
            self.probs = [probs] if isinstance(probs, (int, float)) else list(probs)
            total = sum(self.probs)
            if len(self.probs) != len(built) or min(self.probs) < 0 or total > 1 + 1e-8:
                raise ValueError(
                    f'probs={probs} must be {len(built)} numbers, one for each augment, '
                    'that sum to at most 1'
                )
            if total < 1:
                self.augments.append(None)
                self.probs.append(1 - total)

    def do_blending(self, imgs: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """Blend clips (N, ...) and soft labels (N, K) by one augment, or not at all."""
        augment = self.augments[np.random.choice(len(self.augments), p=self.probs)]
        return (imgs, label) if augment is None else augment.do_blending(imgs, label)
