"""No key of an old config is overlooked."""

import pytest

from mmaction.config.legacy.section import ConversionNotes, LegacySection
from mmaction.errors import ConfigError


def section(values, place='data'):
    return LegacySection(values, place, ConversionNotes())


def test_keys_are_taken_one_by_one():
    data = section(dict(a=1, b=2, c=None))
    assert 'a' in data
    assert data.take('a') == data.need('a') == 1
    assert data.take('missing', 5) == 5
    target = {}
    data.copy_to(target, 'b', 'c', 'd')
    assert target == dict(b=2, c=None)
    data.close()


def test_an_unknown_key_is_an_error_with_the_nearest():
    data = section(dict(videos_per_gpu=8, worker_per_gpu=2))
    data.take('videos_per_gpu')
    data.take('workers_per_gpu')
    assert data.others() == dict(worker_per_gpu=2)
    with pytest.raises(ConfigError, match=r'data\.worker_per_gpu: .*did you mean "workers_per_gpu'):
        data.close()


def test_errors_name_the_place():
    with pytest.raises(ConfigError, match=r'key data\.train: a dict was expected, found 3'):
        section(3, 'data.train')
    with pytest.raises(ConfigError, match=r'config key data\.type is missing'):
        section({}).need('type')
    with pytest.raises(ConfigError, match='config key type is missing'):
        section(None, '').need('type')


def test_notes_of_what_is_lost_and_of_what_is_not_needed():
    notes = ConversionNotes()
    data = LegacySection(dict(a=1, b=0, c=3, d=4), 'data', notes)
    data.lost('a', 'why')
    data.lost('b', 'not said of a value that is off')
    data.not_needed('c', 'd', 'absent')
    data.close()
    assert notes.lines() == [
        'warning: data.a=1 has no counterpart: why',
        'note: not needed, so left out: data.c, data.d',
    ]
