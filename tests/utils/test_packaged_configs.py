"""Configs of the package, found by name on the command line, in Python and as a base."""

import pytest

from mmaction.config.load import load_config
from mmaction.errors import ConfigError
from mmaction.utils.packaged_configs import (
    config_folder,
    find_config,
    packaged_configs,
    published_model,
)

TINY = 'dualformer_tiny_patch244_window877_kinetics400_1k'


def test_names_are_unique_and_of_recognition_configs_only():
    files = list((config_folder() / 'recognition').rglob('*.py'))
    assert len(packaged_configs()) == len(files)
    assert 'default_runtime' not in packaged_configs()


NAMES = [TINY, f'{TINY}.py']
NAMES += [f'{top}recognition/dualformer/{TINY}.py' for top in ('', 'configs/')]


@pytest.mark.parametrize('name', NAMES)
def test_a_config_is_found_by_name_and_by_path_from_configs_on(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    expected = config_folder() / 'recognition' / 'dualformer' / f'{TINY}.py'
    assert find_config(name) == expected
    assert load_config(name).filename == str(expected)


def test_a_file_comes_before_a_config_of_the_package(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mine = tmp_path / f'{TINY}.py'
    mine.write_text('model = dict()')
    assert find_config(f'{TINY}.py').resolve() == mine


def test_another_kind_of_file_is_not_meant(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'dualformer.egg-info').mkdir()
    with pytest.raises(FileNotFoundError, match='did you mean dualformer_pico_motion_digits or '):
        find_config('dualformer_pico_motion_digit')
    (tmp_path / 'my_dualformer.py').touch()
    with pytest.raises(FileNotFoundError, match=r'did you mean my_dualformer\.py'):
        find_config('my_dualforme.py')


def test_a_base_may_be_a_name(tmp_path):
    config = tmp_path / 'mine.py'
    config.write_text(f"_base_ = '{TINY}'\nmodel = dict(cls_head=dict(num_classes=3))\n")
    cfg = load_config(config)
    assert cfg.model.cls_head.num_classes == 3
    assert cfg.model.backbone == load_config(TINY).model.backbone


def test_an_unknown_base_is_an_error_that_names_it(tmp_path):
    config = tmp_path / 'mine.py'
    config.write_text("_base_ = 'no_such_config'\n")
    with pytest.raises((ConfigError, FileNotFoundError), match='no_such_config'):
        load_config(config)


def test_published_models_by_name_and_family():
    path, weights = published_model('TSN')
    assert path.is_file()
    assert path.stem.startswith('tsn_imagenet-pretrained-r50')
    assert weights.startswith('https://')
    assert f'/{path.stem}/' in weights
    assert published_model(path.stem) == (path, weights)
    # Theirs are on a page, from which nothing can be fetched.
    assert published_model(TINY) is None
    assert published_model('') is published_model('no_such_family') is None


@pytest.mark.parametrize(
    ('name', 'meant'),
    [
        ('tsnn', '; did you mean tsn_imagenet-pretrained-r50_8xb32-1x1x8-100e_kinetics400-rgb'),
        ('SlowFast', '; did you mean slowfast_r50_8xb8-8x8x1-256e_kinetics400-rgb'),
        ('yolo', r' \("mmaction info --configs" lists'),
    ],
)
def test_a_family_means_its_configs(name, meant):
    with pytest.raises(FileNotFoundError, match=f'{name}{meant}'):
        find_config(name)
