"""Formats of annotations that several datasets share."""

import pytest

from mmaction.data_preparation.shared_formats import read_numbered
from tests.data_preparation.preparing import put

FILES = {
    'x-labels.csv': 'Doing other things\nPutting a, b\n',
    'x-train.csv': '7;Putting a, b\n8;Doing other things\n',
    'x-validation.csv': '9;Putting a, b\n',
}


def test_numbered_clips(tmp_path):
    put(tmp_path, {**FILES, 'x-test.csv': '10\n'})
    found = read_numbered(tmp_path, 'x')
    assert found.classes == ['Doing other things', 'Putting a, b']
    rows = {name: [(row.names, row.label) for row in rows] for name, rows in found.lists.items()}
    assert rows == dict(train=[(('7',), 1), (('8',), 0)], val=[(('9',), 1)], test=[(('10',), None)])


def test_test_list_may_be_missing(tmp_path):
    put(tmp_path, FILES)
    assert set(read_numbered(tmp_path, 'x').lists) == {'train', 'val'}


@pytest.mark.parametrize('line', ['7', 'seven;Putting a, b', ';Putting a, b'])
def test_malformed_lines_are_named(tmp_path, line):
    put(tmp_path, {**FILES, 'x-train.csv': f'8;Putting a, b\n{line}\n'})
    with pytest.raises(ValueError, match=r"x-train.csv:2: expected '40321;Name of the class'"):
        read_numbered(tmp_path, 'x')
