"""Configs as text."""

import math
import random

import numpy as np
import pytest
import torch
from mmengine.config import Config

from mmaction.config.source import config_source, difference


def test_text_of_a_config_gives_its_values():
    draw = random.Random(0)

    def value(depth):
        kinds = ['int', 'float', 'str', 'bool', 'none', *(['dict', 'list', 'tuple'] * (depth > 0))]
        kind = draw.choice(kinds)
        if kind in ('dict', 'list', 'tuple'):
            items = [value(depth - 1) for _ in range(draw.randint(0, 5))]
            if kind == 'dict':
                names = draw.choice([['a', 'b_c', 'lambda', 'e', 'f'], ['k1', 'k2', 'x', 'y', 'z']])
                return dict(zip(names, items, strict=False))
            return tuple(items) if kind == 'tuple' else items
        return dict(
            int=draw.randint(-5, 10**6),
            float=draw.choice([1e-5, 0.1, -2.5, float('inf'), np.float64(0.5)]),
            str=draw.choice(['', "it's", 'a "b"', 'long ' * 10, '{{x}}', 'new\nline']),
            bool=draw.random() < 0.5,
            none=None,
        )[kind]

    for _ in range(200):
        values = {f'name_{i}': value(4) for i in range(4)}
        text = config_source(values)
        read = {}
        exec(text, read)
        assert {key: read[key] for key in values} == values
        assert max(map(len, text.splitlines())) <= 100


def test_text_of_nan():
    read = {}
    exec(config_source(dict(x=float('nan'))), read)
    assert math.isnan(read['x'])


def test_unserializable_value_is_error():
    with pytest.raises(TypeError, match='which a config file cannot hold'):
        config_source(dict(x=torch.nn.Linear))


def test_config_differences_merge_back():
    base = dict(a=1, hook=dict(type='A', x=1, y=2), same=[1], other=dict(type='B', z=1))
    wanted = dict(a=1, hook=dict(type='A', x=1, y=3), same=[1], other=dict(type='C', z=1), new=True)
    changes = difference(base, wanted)
    assert changes == dict(hook=dict(y=3), other=dict(_delete_=True, type='C', z=1), new=True)
    merged = Config(base)
    merged.merge_from_dict(changes)
    assert merged._cfg_dict.to_dict() == wanted
