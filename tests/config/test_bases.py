"""Bases that are missing, odd, or lead back; data files that unfold, end or never end."""

import os

import pytest

from mmaction.config.load import read_config
from mmaction.errors import ConfigError

REFERENCES = 'a: &a [x, x, x, x, x, x, x, x]\n' + ''.join(
    f'{new}: &{new} [{", ".join([f"*{old}"] * 8)}]\n'
    for old, new in zip('abcdefgh', 'bcdefghi', strict=True)
)


def write(folder, **files):
    """Files by their names, of which '_' before the ending stands for a dot."""
    for name, text in files.items():
        stem, _, ending = name.rpartition('_')
        (folder / f'{stem}.{ending}').write_text(text)


@pytest.mark.parametrize(
    ('files', 'circle'),
    [
        (dict(a_py="_base_ = 'a.py'\n"), 'a.py -> a.py'),
        (dict(a_yaml='_base_: a.yaml\n'), 'a.yaml -> a.yaml'),
        (dict(a_py="_base_ = ['b.py']\n", b_py="_base_ = './a.py'\n"), 'a.py -> b.py -> a.py'),
        (dict(a_json='{"_base_": "b.yaml"}', b_yaml='_base_: [a.json]\n'), 'a.json -> b.yaml'),
    ],
)
def test_circle_of_bases(tmp_path, files, circle):
    write(tmp_path, **files)
    name = next(iter(files)).replace('_', '.')
    with pytest.raises(ConfigError, match='the bases go round in a circle: ') as error:
        read_config(tmp_path / name)
    assert circle in str(error.value).replace(f'{tmp_path}/', '').replace('./', '')


def test_one_base_of_two_configs_is_no_circle(tmp_path):
    write(tmp_path, a_py="_base_ = ['b.py', 'c.py']\n", d_py='x = 1\n')
    write(tmp_path, b_py="_base_ = 'd.py'\ny = 1\n", c_yaml='z: 1\n')
    (tmp_path / 'c.py').write_text("_base_ = f'{1}'[1:] or 'c.yaml'\n")
    assert dict(read_config(tmp_path / 'a.py')) == dict(x=1, y=1, z=1)


@pytest.mark.parametrize(
    'text', ["_base_ = '{{ fileDirname }}/b.py'\n", "_base_ = ['{{$NO_SUCH_NAME:b.py}}']\n"]
)
def test_bases_that_are_filled_in(tmp_path, text):
    write(tmp_path, a_py=text, b_py='x = 1\n')
    assert dict(read_config(tmp_path / 'a.py')) == dict(x=1)


@pytest.mark.parametrize('base', ['{a: b}', '3', '', '[{a: 1}]', '[x.yaml, null]', '""', 'true'])
def test_odd_bases(tmp_path, base):
    write(tmp_path, a_yaml=f'_base_: {base}\nx: 1\n', x_yaml='y: 1\n')
    message = 'expected the name of a config, or a list of names, found'
    with pytest.raises(ConfigError, match=rf'_base_ of a\.yaml: {message}'):
        read_config(tmp_path / 'a.yaml')


def test_missing_base_names_both_files(tmp_path):
    write(tmp_path, a_py="_base_ = 'bb.py'\n", b_py='')
    with pytest.raises(
        FileNotFoundError, match=r'_base_ of .*a\.py: there is no .*bb\.py; .*b\.py'
    ):
        read_config(tmp_path / 'a.py')


@pytest.mark.parametrize('top', ['a.py', 'd.py'])
def test_bases_that_set_the_same_key(tmp_path, top):
    write(tmp_path, a_py="_base_ = ['b.py', 'c.yaml']\n", d_py="_base_ = 'a.py'\nw = 1\n")
    write(tmp_path, b_py='x = dict(p=1)\ny = 1\n', c_yaml='x: {q: 2}\nz: 1\n')
    with pytest.raises(ConfigError) as error:
        read_config(tmp_path / top)
    message = str(error.value).replace(f'{tmp_path}/', '')
    assert message == (
        f'{top} cannot be read as a config: b.py and c.yaml, both in _base_ of a.py, both set x. '
        'Bases of one config may share no key: leave one of the two out and set what you need of '
        'it in a.py itself, or make c.yaml the _base_ of b.py instead'
    )


def test_base_that_is_a_base_of_another(tmp_path):
    write(tmp_path, a_py="_base_ = ['b.py', 'd.py']\n", b_py='x, y, z, u, v, w, t = range(7)\n')
    write(tmp_path, c_py="_base_ = 'b.py'\n", d_py="_base_ = 'c.py'\n")
    message = r'both set t, u, v, w, x and 2 more keys\. b\.py is a base of d\.py already'
    with pytest.raises(ConfigError, match=message):
        read_config(tmp_path / 'a.py')


def test_advice_for_bases_that_set_the_same_key(tmp_path):
    write(tmp_path, a_py="_base_ = ['b.py']\n", c_yaml='x: {q: 2}\nz: 1\n')
    write(tmp_path, b_py="_base_ = 'c.yaml'\nx = dict(p=1)\ny = 1\n")
    assert dict(read_config(tmp_path / 'a.py')) == dict(x=dict(p=1, q=2), y=1, z=1)


def test_base_in_the_scope_of_mmaction_is_of_this_package(tmp_path):
    pico = 'dualformer_pico_motion_digits.py'
    text = (
        f"_base_ = 'mmaction::recognition/dualformer/{pico}'\ntest_pipeline = _base_.val_pipeline\n"
    )
    write(tmp_path, a_py=text)
    cfg, named = read_config(tmp_path / 'a.py'), read_config(pico)
    named.test_pipeline = named.val_pipeline
    assert cfg.to_dict() == named.to_dict()
    write(tmp_path, a_py="_base_ = 'mmaction::recognition/dualformer/dualformer_pico.py'\n")
    with pytest.raises(
        FileNotFoundError,
        match=r'_base_ of .*a\.py: there is no config file .*dualformer_pico\.py; did you mean .*'
        'any other works from a copy',
    ):
        read_config(tmp_path / 'a.py')


@pytest.mark.parametrize(
    ('name', 'text', 'message'),
    [
        ('a.yaml', REFERENCES, 'it unfolds to more than 100000 values'),
        ('a.yaml', REFERENCES.replace('x', '[]'), 'it unfolds to more than 100000 values'),
        ('a.yaml', 'a: &a {b: *a}\n', 'it is nested without end, or too deeply'),
        ('a.json', '[' * 100_000, 'it is nested without end, or too deeply'),
        ('a.yaml', '1: 2\n', 'the key 1 is no text'),
        ('a.py', 'import sys\nsys.exit(0)\n', r'it ends the program \(sys.exit\)'),
    ],
)
def test_files_that_cannot_be_meant(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=rf'{name} cannot be read as a config: {message}'):
        read_config(tmp_path / name)


def test_large_file(tmp_path):
    with (tmp_path / 'a.yaml').open('wb') as file:
        file.truncate(1 << 30)
    with pytest.raises(ConfigError, match='it has 1073741824 bytes, far more than a config'):
        read_config(tmp_path / 'a.yaml')


def test_folder_and_pipe(tmp_path):
    (tmp_path / 'a.yaml').mkdir()
    with pytest.raises(FileNotFoundError, match=r'a\.yaml is a folder, expected a config file'):
        read_config(tmp_path / 'a.yaml')
    os.mkfifo(tmp_path / 'b.yaml')
    with pytest.raises(FileNotFoundError, match=r'b\.yaml is no regular file'):
        read_config(tmp_path / 'b.yaml')
