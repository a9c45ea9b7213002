import pytest

from mmaction.config.options import parse_options, parse_value
from mmaction.errors import ConfigError


@pytest.mark.parametrize(
    ('text', 'value'),
    [
        ('3', 3),
        ('-1e-3', -1e-3),
        ('true', True),
        ('False', False),
        ('None', None),
        ('word', 'word'),
        ('two words', 'two words'),
        ('"3"', '3'),
        ('1,2,x', [1, 2, 'x']),
        ('[1, 2]', [1, 2]),
        ('[(1,2),(3,4)]', [(1, 2), (3, 4)]),
        ('(5,)', (5,)),
        ('[]', []),
        ('/a folder/x.mp4', '/a folder/x.mp4'),
        ('', ''),
    ],
)
def test_values_of_options(text, value):
    parsed = parse_value(text)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ('text', 'value'),
    [
        ('dict(type=Flip,flip_ratio=0.5)', dict(type='Flip', flip_ratio=0.5)),
        ('[dict(type=Flip),dict(scale=(4,4))]', [dict(type='Flip'), dict(scale=(4, 4))]),
        ('[{"type": "Flip", "lazy": null}, 3]', [dict(type='Flip', lazy=None), 3]),
        ('{type:Flip,flip_label_map:{0:1,1:0}}', dict(type='Flip', flip_label_map={0: 1, 1: 0})),
        ('dict(a=dict(b=[1,{"c": true}]))', dict(a=dict(b=[1, dict(c=True)]))),
        ('"a,b","c"', ['a,b', 'c']),
        ('dict(name="x, y=z")', dict(name='x, y=z')),
        ("Jim's clips, Joe's clips", ["Jim's clips", "Joe's clips"]),
        ('{}', {}),
    ],
)
def test_dicts_and_json_in_options(text, value):
    assert parse_value(text) == value


def test_empty_dict_values():
    with pytest.raises(ConfigError, match=r'"Flip" in dict\(Flip\) is no KEY=VALUE'):
        parse_value('dict(Flip)')


def test_options_have_an_equals_sign():
    assert parse_options(['a.b=1', 'c=x=y']) == {'a.b': 1, 'c': 'x=y'}
    with pytest.raises(ConfigError, match='"seed" is none'):
        parse_options(['seed'])
