"""MViT against mmaction2 1.2: names, shapes, outputs, gradients."""

import pytest

from mmaction.registry import MODELS
from tests import zoo
from tests.models.backbones.reference import cases_of, check_case, check_checkpointing


@pytest.mark.parametrize('name', zoo.names_of('mvit', distinct=True))
def test_names_and_shapes_are_mmaction2s(name):
    zoo.check_names(name)


@pytest.mark.parametrize('case', cases_of('mvit'))
def test_outputs_and_gradients_are_mmaction2s(case):
    check_case(case)


@pytest.mark.slow
@pytest.mark.parametrize('name', zoo.names_of('mvit', probed=True))
def test_scores_are_mmaction2s(name):
    zoo.check_scores(name)


def test_checkpointing_leaves_gradients_as_they_are():
    check_checkpointing('mvit/mvit')


@pytest.mark.parametrize('zero', [False, True])
def test_first_tables_of_relative_positions(zero):
    arch = dict(embed_dims=16, num_layers=2, num_heads=1, downscale_indices=[1])
    model = MODELS.build(dict(type='MViT', arch=arch, rel_pos_zero_init=zero))
    model.init_weights()
    tables = [value for name, value in model.state_dict().items() if 'rel_pos' in name]
    assert len(tables) == 6
    for table in tables:
        assert table.std().item() == pytest.approx(0 if zero else 0.02, rel=0.3)
