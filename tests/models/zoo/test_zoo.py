"""mmaction2's recognition models: names, shapes and scores of every one that is built."""

from collections import Counter
from pathlib import Path

import pytest

from tests.zoo import check_names, check_scores, configs, names_of

DOCS = Path(__file__).parents[3] / 'docs' / 'model_zoo.md'

# family (folder of configs/recognition): entry whose scores the default suite checks,
# where one is quick; the others are in the slow tests
FAMILIES = {
    'tsn': None,
    'c2d': None,
    'tsm': 'tsm/tsm_imagenet-pretrained-mobilenetv2_8xb16-1x1x8-100e_kinetics400-rgb.py',
    'slowonly': (
        'slowonly/slowonly_imagenet-pretrained-r50_16xb16-4x16x1-steplr-150e_kinetics700-rgb.py'
    ),
    'i3d': None,
    'slowfast': None,
    'x3d': 'x3d/x3d_m_16x5x1_facebook-kinetics400-rgb.py',
    'r2plus1d': None,
    'csn': None,
    'c3d': None,
    'trn': None,
    'tanet': None,
    'tin': None,
}


@pytest.mark.parametrize('name', names_of(*FAMILIES, distinct=True))
def test_names_and_shapes_are_mmaction2s(name):
    assert check_names(name) > 0


@pytest.mark.parametrize('name', [name for name in FAMILIES.values() if name])
def test_scores_are_mmaction2s(name):
    assert check_scores(name) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize('name', names_of(*FAMILIES, probed=True, distinct=True))
def test_all_scores_are_mmaction2s(name):
    assert check_scores(name) < 1e-4


def test_families_cover_the_zoo():
    """What is not built is named, with its reason; transformers have tests of their own."""
    left_out = {'omnisource': 'images and videos in turns, by a network of mmpretrain'}
    transformers = {'swin', 'mvit', 'timesformer', 'uniformer', 'uniformerv2', 'videomae'}
    covered = {*FAMILIES, *left_out, *transformers, 'videomaev2'}
    assert {name.split('/')[0] for name in names_of()} == covered - {'tpn'}


def test_table_in_the_docs_counts_what_is_recorded():
    table = DOCS.read_text().partition('| largest error | lines |\n')[2].partition('\n\n')[0]
    rows = [[cell.strip() for cell in line.split('|')[1:-1]] for line in table.splitlines()[1:]]
    recorded = Counter(name.split('/')[0] for name in configs())
    probed = Counter(name.split('/')[0] for name in names_of(probed=True, distinct=True))
    assert {row[0]: (int(row[1]), int(row[4])) for row in rows} == {
        family: (count, probed[family]) for family, count in recorded.items()
    }
