"""Labels by category as vectors."""

import pytest

from mmaction.registry import TRANSFORMS

FORM = dict(categories=['action', 'event', 'scene'], category_nums=[3, 1, 2])


def load(**results):
    return TRANSFORMS.build(dict(type='LoadHVULabel'))({**FORM, **results})


def test_vectors_over_all_categories():
    found = load(label=dict(scene=[1], action=[0, 2]))
    assert found['label'].tolist() == [1, 0, 1, 0, 0, 1]
    assert found['mask'].tolist() == [1, 1, 1, 0, 1, 1]
    assert found['category_mask'].tolist() == [1, 0, 1]
    empty = load(label=dict(event=[]))
    assert empty['label'].sum() == 0
    assert empty['mask'].tolist() == [0, 0, 0, 1, 0, 0]


def test_labels_of_other_categories_are_left_out():
    found = load(label=dict(scene=[1], object=[5]))
    assert found['label'].tolist() == [0, 0, 0, 0, 0, 1]
    assert found['category_mask'].tolist() == [0, 0, 1]


def test_dataset_item_is_not_modified():
    given = dict(label=[0, 1], category_mask=[1])
    assert {key: load(**given)[key] for key in given} == given


def test_label_outside_its_category():
    with pytest.raises(ValueError, match=r"\[2\] of 'scene' .* 0 to 1"):
        load(label=dict(scene=[2]))
