"""RandAugment and AugMix of clips, against pytorchvideo 0.1.5."""

import pytest
import torch

from mmaction.datasets.transforms.clip_augment import (
    AUG_MIX,
    OPERATIONS,
    RAND_AUGMENT,
    AugMix,
    RandAugment,
)

# (T, C, H, W), and the means that pytorchvideo's transforms give of it, of the whole and of the
# upper left quarter, for the random states 0 to 7
RAMP = torch.arange(3 * 16 * 24 * 2).mul(7).remainder(251).to(torch.uint8).view(2, 3, 16, 24)
RECORDED = {
    'RandAugment': [
        (76.279, 76.753),
        (155.834, 158.031),
        (140.393, 128.675),
        (218.046, 217.964),
        (87.453, 95.309),
        (83.417, 42.405),
        (108.104, 130.554),
        (74.507, 44.434),
    ],
    'AugMix': [
        (115.063, 116.017),
        (120.336, 122.064),
        (122.312, 123.806),
        (119.666, 120.776),
        (111.672, 115.859),
        (121.228, 124.792),
        (123.908, 125.7),
        (114.873, 117.786),
    ],
}


@pytest.mark.parametrize('transform', [RandAugment(magnitude=7, num_layers=4), AugMix(magnitude=5)])
def test_results_are_pytorchvideos(transform):
    means = []
    for seed in range(8):
        torch.manual_seed(seed)
        clip = transform(RAMP)
        assert clip.dtype == torch.uint8
        clip = clip.float()
        means.append((clip.mean().item(), clip[:, :, :8, :12].mean().item()))
    recorded = RECORDED[type(transform).__name__]
    assert torch.tensor(means).sub(torch.tensor(recorded)).abs().max() < 0.01


@pytest.mark.parametrize('name', OPERATIONS)
def test_operations_treat_all_frames_alike(name):
    still = RAMP[:1].expand(3, -1, -1, -1)
    base, change, _ = RAND_AUGMENT[name]
    changed = OPERATIONS[name](still, base + change * 0.7)
    assert changed.shape == still.shape
    assert torch.equal(changed[0], changed[2])
    assert not torch.equal(changed, still)


def test_sets_of_operations():
    assert len(RAND_AUGMENT) == 14
    assert set(RAND_AUGMENT) - set(AUG_MIX) == {'Invert'}


def test_wrong_arguments():
    with pytest.raises(ValueError, match='num_layers from 1 to 14'):
        RandAugment(num_layers=15)
    with pytest.raises(ValueError, match='magnitude from 1 to 10, not 11'):
        AugMix(magnitude=11)
