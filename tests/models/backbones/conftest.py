import pytest

from mmaction.models.backbones import DualFormer
from tests.models.backbones.small_dualformer import SMALL, randomized


@pytest.fixture
def model() -> DualFormer:
    return randomized(DualFormer(**SMALL))
