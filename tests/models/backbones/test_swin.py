"""SwinTransformer3D against mmaction2 1.2: names, shapes, outputs, gradients."""

import pytest

from tests import zoo
from tests.models.backbones.reference import cases_of, check_case, check_checkpointing


@pytest.mark.parametrize('name', zoo.names_of('swin', distinct=True))
def test_names_and_shapes_are_mmaction2s(name):
    zoo.check_names(name)


@pytest.mark.parametrize('case', cases_of('swin'))
def test_outputs_and_gradients_are_mmaction2s(case):
    check_case(case)


@pytest.mark.slow
@pytest.mark.parametrize('name', zoo.names_of('swin', probed=True))
def test_scores_are_mmaction2s(name):
    zoo.check_scores(name)


def test_checkpointing_leaves_gradients_as_they_are():
    check_checkpointing('swin/swin')
