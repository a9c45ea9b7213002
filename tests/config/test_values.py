"""Values of a config against the annotations and ranges of what takes them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pytest

from mmaction.config.values import annotations_of, check_type, check_value
from mmaction.errors import ConfigError


class Base:
    def __init__(self, rate: float, names: Sequence[str] = ()):
        pass


class Taker(Base):
    def __init__(
        self,
        count: int,
        *args: Any,
        size: 'int | tuple[int, int]' = 3,
        mode: Literal['a', 'b'] = 'a',
        flag: bool = False,
        path: str | Path | None = None,
        table: dict[str, int] = {},  # noqa: B006
        implicit: int = None,  # noqa: RUF013
        free=1,
        unknown: 'NotImported' = None,  # type: ignore[name-defined]  # noqa: F821
        **kwargs: Any,
    ):
        pass


FITTING = [
    ('count', 3), ('size', [1, 2]), ('size', 4), ('mode', 'b'), ('flag', True), ('path', None),
    ('path', 'x'), ('table', {}), ('implicit', None), ('free', 'anything'), ('unknown', 5),
    ('rate', 1), ('names', ['a']), ('other', object()),
]  # fmt: skip
WRONG = [
    ('count', 'x', 'an integer'), ('count', 1.0, 'an integer'), ('count', True, 'an integer'),
    ('count', None, 'an integer'), ('size', [1, 2, 3], 'an integer or a list of an integer'),
    ('size', 'x', 'an integer or'), ('mode', 'c', "'a', 'b'"), ('flag', 'maybe', 'True or False'),
    ('path', 3, 'a string'), ('table', [], 'a dict'), ('implicit', 'x', 'an integer or None'),
    ('rate', 'x', 'a number'), ('names', 'abc', 'a list of a string'), ('names', [1], 'a list'),
]  # fmt: skip


@pytest.mark.parametrize(('key', 'value'), FITTING)
def test_values_that_fit(key, value):
    check_type(f'a.{key}', value, Taker, key)


@pytest.mark.parametrize(('key', 'value', 'expected'), WRONG)
def test_values_of_a_wrong_type(key, value, expected):
    with pytest.raises(ConfigError, match=rf'config key a\.{key}: expected {expected}.*, found'):
        check_type(f'a.{key}', value, Taker, key)


def test_annotations_come_from_the_whole_class_hierarchy():
    assert annotations_of(Taker)['rate'] is float
    assert 'free' not in annotations_of(Taker)


def test_long_values_are_not_repeated():
    with pytest.raises(ConfigError) as error:
        check_type('a.count', 'x' * 10**6, Taker, 'count')
    assert len(str(error.value)) < 200


@pytest.mark.parametrize(
    ('place', 'value', 'message'),
    [
        ('train_dataloader.num_workers', 10**9, 'are more than'),
        ('train_dataloader.batch_size', 0, 'at least 1'),
        ('optim_wrapper.optimizer.lr', -0.1, 'at least 0'),
        ('optim_wrapper.optimizer.lr', float('inf'), 'a finite number'),
        ('model.backbone.rate', float('nan'), 'nan is no value'),
        ('randomness.seed', 2**32, r'less than 2\*\*32'),
        ('default_hooks.checkpoint.interval', 0, 'or -1 for never'),
        ('env_cfg.mp_cfg.mp_start_method', 'thread', 'one of fork'),
        ('log_level', 'LOUD', 'one of NOTSET'),
        ('model.backbone.drop_path_rate', 1e8, 'from 0 to 1'),
        ('train_cfg', 3, 'a dict'),
    ],
)
def test_values_out_of_range(place, value, message):
    with pytest.raises(ConfigError, match=rf'config key {place}: .*{message}'):
        check_value(tuple(place.split('.')), value)


@pytest.mark.parametrize(
    ('place', 'value'),
    [
        ('optim_wrapper.clip_grad.max_norm', float('inf')),
        ('default_hooks.checkpoint.interval', -1),
        ('model.backbone.seed', -3),
        ('train_dataloader.dataset.lr', -1),
        ('param_scheduler.0.end', 2.5),
    ],
)
def test_values_in_range(place, value):
    check_value(tuple(place.split('.')), value)
