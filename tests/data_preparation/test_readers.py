"""Every dataset from made-up files in its official format, with the quirks that these have."""

import re
import shlex
from pathlib import Path

import pytest

from mmaction.cli import prepare_dataset as prepare

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize('dataset', prepare.DATASETS)
def test_reader_states_published_sizes(dataset):
    reader = prepare.reader_of(dataset)
    assert reader.num_classes > 0
    assert all(count > 0 for count in reader.official.values())
    assert reader.orders[0] == 'mmaction2'


def test_supported_datasets_table_is_current():
    text = (ROOT / 'docs' / 'supported_datasets.md').read_text()
    named = set()
    for line in text.splitlines():
        match = re.fullmatch(
            r'\| .+ \| (.+) \| \[.+\]\(\.\./(mmaction/.+)\) \| `(test_.+)` \|', line
        )
        if match:
            datasets = re.findall('`(.+?)`', match[1])
            named.update(datasets)
            folder = 'mmaction/data_preparation/readers'
            assert {f'{folder}/{prepare.DATASETS[name]}.py' for name in datasets} == {match[2]}
            tests = Path(__file__).with_name('readers') / f'test_{Path(match[2]).stem}.py'
            assert f'def {match[3]}(' in tests.read_text()
    assert named == set(prepare.DATASETS)
    preparation = (ROOT / 'docs' / 'data_preparation.md').read_text()
    for name in prepare.DATASETS:
        reader = prepare.reader_of(name)
        for count in reader.official.values():
            assert {f'{count:,}', str(count)} & set(re.findall('[0-9,]*[0-9]', preparation)), name


def test_documented_commands_match_the_readers():
    text = (ROOT / 'docs' / 'data_preparation.md').read_text()
    commands = re.findall(r'^python tools/data/prepare\.py ([a-z].+)$', text, re.MULTILINE)
    parsed = [prepare.parse_args(shlex.split(command)) for command in commands]
    # Kinetics-700-2020 is prepared as Kinetics-700 is.
    assert {args.dataset for args in parsed} == set(prepare.DATASETS) - {'kinetics700_2020'}
    assert all(args.out.parent == Path('data') for args in parsed)
