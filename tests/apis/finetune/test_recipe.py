"""The model, weights and config that `mmaction finetune` chooses."""

import ast

import pytest
import torch

from mmaction.apis.finetune.recipe import (
    MODEL_NAMES,
    Recipe,
    Weights,
    check_choices,
    choose_config,
    choose_recipe,
    config_text,
    find_weights,
    frames_needed,
    learning_rate,
)
from mmaction.apis.finetune.summary import few_clips, short_videos
from mmaction.config.load import load_config
from mmaction.data_preparation.file_lists import Clip
from mmaction.registry import TRANSFORMS
from mmaction.utils.packaged_configs import packaged_configs

SCRATCH = Weights(None, None, 'random weights')
needs_cpu = pytest.mark.skipif(torch.cuda.is_available(), reason='what a CPU gets')


def test_every_short_name_is_a_config():
    assert set(MODEL_NAMES.values()) <= set(packaged_configs())


@needs_cpu
@pytest.mark.parametrize(
    ('model', 'side', 'base'),
    [
        (None, 80, 'pico_small_finetune'),
        (None, 256, 'pico_finetune'),
        ('pico', 112, 'pico_small_finetune'),
        ('tiny', 80, 'tiny_finetune'),
        ('s3d_motion_digits', 80, 's3d_motion_digits'),
    ],
)
def test_model_suits_the_machine_and_the_clips(model, side, base):
    assert choose_config(model, side) == base


def test_unknown_model_suggests_the_nearest():
    with pytest.raises(FileNotFoundError, match='--model: there is no resnet8; did you mean'):
        choose_config('resnet8', 80)
    with pytest.raises(FileNotFoundError, match=r'no slowfast; did you mean slowfast_r50_.*\?$'):
        choose_config('slowfast', 80)
    with pytest.raises(FileNotFoundError, match='no yolo; there are pico, resnet18, s3d, tiny'):
        choose_config('yolo', 80)


@needs_cpu
@pytest.mark.parametrize(
    ('clips', 'batch', 'epochs'), [(8, 4, 100), (40, 8, 100), (700, 16, 30), (50_000, 16, 30)]
)
def test_batch_and_epochs_suit_the_number_of_clips(clips, batch, epochs):
    recipe = choose_recipe('pico_small_finetune', clips, weights='none')
    assert (recipe.batch, recipe.epochs) == (batch, epochs)


def test_what_is_asked_for_is_taken():
    recipe = choose_recipe(
        'pico_small_finetune', 100, weights='none', batch=3, epochs=7, workers=5, freeze=-1
    )
    assert (recipe.batch, recipe.epochs, recipe.workers, recipe.frozen_stages) == (3, 7, 5, 2)


def test_freezing_what_cannot_be_frozen_is_an_error():
    with pytest.raises(ValueError, match=r'--freeze: timm\.resnet18 has no frozen_stages'):
        choose_recipe('resnet18_motion_digits', 100, weights='none', freeze=1)


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (('resnet81', None, None), 'there is no resnet81; did you mean'),
        (('nothing', None, None), r'"mmaction info --configs" lists them'),
        ((None, 'no.pth', None), '--weights: there is no file no.pth'),
        (('dualformer_small_patch244_window877_ucf101', None, None), 'trains on RawframeDataset'),
        (('dualformer_small_patch244_window877_mmit', None, None), 'clips with several labels'),
        (('s3d', None, -1), r'torchvision\.s3d has no frozen_stages'),
        (('pico', None, -1), '--freeze would keep random weights'),
    ],
)
def test_what_cannot_be_trained_is_refused_before_the_videos_are_prepared(words, message):
    with pytest.raises((FileNotFoundError, ValueError), match=message):
        check_choices(*words)


def test_models_of_the_package_and_frozen_weights_of_a_file_are_not_refused(tmp_path):
    for model in (*MODEL_NAMES, 'slowonly_r50_8xb16-8x8x1-256e_kinetics400-rgb'):
        check_choices(model, None, None)
    (tmp_path / 'w.pth').write_bytes(b'')
    check_choices('pico', str(tmp_path / 'w.pth'), 1)
    check_choices('pico', 'none', 1)


@pytest.mark.parametrize('base', ['tiny_finetune', 'pico_finetune', 'slowonly_motion_digits'])
def test_flips_swap_directional_classes_whatever_the_model(base, tmp_path):
    """A mirrored clip of "turn left" must not teach it as one."""
    recipe = choose_recipe(base, 100, weights='none')
    (tmp_path / 'lists').mkdir()
    (tmp_path / 'videos').mkdir()
    (tmp_path / 'config.py').write_text(
        config_text(
            recipe, title='x', classes=2, lists='lists', videos='videos', splits=['train', 'test']
        )
    )
    pipeline = load_config(tmp_path / 'config.py').train_dataloader.dataset.pipeline
    given = load_config(base).train_dataloader.dataset.pipeline
    assert [step.type for step in pipeline] == [step.type for step in given]
    flips = [step for step in pipeline if step.type == 'Flip']
    assert flips
    assert all(step.flip_label_map == 'names' for step in flips)


def test_learning_rate_follows_the_batch():
    cfg = load_config('pico_small_finetune')
    assert learning_rate(cfg, 16) is None
    assert learning_rate(cfg, 64) == pytest.approx(1.4e-3)
    assert learning_rate(cfg, 2) is None  # not scaled down
    cfg.auto_scale_lr = dict(base_batch_size=64)
    assert learning_rate(cfg, 16) is None
    assert learning_rate(cfg, 256) == pytest.approx(1.4e-3)
    cfg.optim_wrapper.optimizer.type = 'SGD'
    assert learning_rate(cfg, 16) == pytest.approx(1.75e-4, rel=0.05)


def test_weights_of_a_file_are_taken_and_missing_ones_are_said(tmp_path):
    cfg = load_config('tiny_finetune')
    cfg.imagenet_weights = None
    file = tmp_path / 'w.pth'
    cfg.load_from = str(file)
    found = find_weights('x', cfg, None)
    assert not found.found
    assert found.text == f'random weights (there is no file {file})'
    file.write_bytes(b'')
    assert find_weights('x', cfg, None).load_from == str(file)
    assert find_weights('x', cfg, 'none').load_from is None
    with pytest.raises(FileNotFoundError, match='--weights: there is no file'):
        find_weights('x', cfg, 'no.pth')


def test_weights_of_an_address_are_fetched_or_the_reason_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'cache'))
    cfg = load_config('tiny_finetune')
    cfg.imagenet_weights = None
    (tmp_path / 'there.pth').write_bytes(b'x')
    cfg.load_from = f'file://{tmp_path}/there.pth'
    assert find_weights('x', cfg, None).load_from.endswith('there.pth')
    cfg.load_from = f'file://{tmp_path}/gone.pth'
    found = find_weights('x', cfg, None)
    assert not found.found
    assert 'could not be fetched' in found.text


def test_search_for_weights_of_a_library_is_said_before_it_takes_long(tmp_path, capsys):
    cfg = load_config('pico_finetune')
    cfg.load_from = None
    cfg.imagenet_weights = f'file://{tmp_path}/gone.pth'
    assert 'gone.pth' in find_weights('x', cfg, None).text
    assert capsys.readouterr().out.startswith(
        f'looking for pretrained weights of DualFormer ({cfg.imagenet_weights}) in the cache'
    )
    cfg.imagenet_weights = f'{tmp_path}/gone.pth'  # is there or not: nothing to wait for
    assert not find_weights('x', cfg, None).found
    assert capsys.readouterr().out == ''


@pytest.mark.parametrize(
    ('config', 'frames'),
    [
        ('pico_finetune', 8),  # eight of any video
        ('tiny_finetune', 63),  # the first and the last of 32, two apart
        ('dualformer_small_patch244_window877_diving48', 125),
        ('tsn_imagenet-pretrained-r50_8xb32-1x1x8-100e_kinetics400-rgb', 8),
    ],
)
def test_frames_that_a_clip_spans(config, frames):
    cfg = load_config(config)
    assert frames_needed(cfg) == frames
    sampler = next(step for step in cfg.train_dataloader.dataset.pipeline if 'clip_len' in step)
    if sampler['type'] == 'SampleFrames' and sampler['clip_len'] > 1:
        taken = [
            TRANSFORMS.build(sampler)(dict(total_frames=total, start_index=0))['frame_inds']
            for total in (frames, frames - 1)
        ]
        assert [len(set(each.tolist())) for each in taken] == [32, 31]
    cfg.train_dataloader.dataset = dict(type='RepeatDataset', times=2, dataset={})
    assert frames_needed(cfg) == 0


def test_few_clips_to_test_on_are_counted_over_all_folds():
    fold = dict(train=[Clip('a.mp4', 'a', '')] * 10, test=[Clip('b.mp4', 'a', '')] * 10)
    (warning,) = few_clips([fold])
    assert warning.startswith('only 10 clips to test on')
    assert warning.endswith('--folds tests on all')
    (warning,) = few_clips([fold, fold])
    assert warning.startswith('only 20 clips to test on')
    assert '--folds' not in warning
    assert few_clips([fold] * 3) == []


def test_short_videos_are_counted():
    assert short_videos([8, 9], 8, 2) is None
    assert short_videos([7, 9, 3], 8, 3).startswith('2 of 3 videos have fewer than the 8 frames')
    assert '1 of 2 videos that were looked at have' in short_videos([7, 9], 8, 4)


@pytest.mark.parametrize('splits', [('train', 'val', 'test'), ('train', 'test')])
def test_config_is_short_and_loads(tmp_path, splits):
    recipe = Recipe('pico_small_finetune', SCRATCH, 8, 40, 5e-4, 1, 1, 2)
    for name in ('lists', 'videos'):
        (tmp_path / name).mkdir()
    text = config_text(
        recipe, title='My clips', classes=3, lists='lists', videos='videos', splits=splits
    )
    ast.parse(text)
    assert len(text.splitlines()) < 36
    assert max(map(len, text.splitlines())) <= 100
    file = tmp_path / 'config.py'
    file.write_text(text)
    cfg = load_config(file)
    assert cfg.train_dataloader.dataset.data_root == str(tmp_path)
    assert cfg.train_dataloader.dataset.ann_file == 'lists/train.txt'
    assert cfg.train_dataloader.dataset.data_prefix.video == 'videos'
    assert cfg.train_dataloader.batch_size == 8
    assert cfg.model.cls_head.num_classes == 3
    assert cfg.model.backbone.frozen_stages == 2
    assert cfg.optim_wrapper.optimizer.lr == 5e-4
    assert cfg.train_cfg.max_epochs == 40
    assert '\ncompile = False' in text  # of the config itself: the base may be another
    assert (cfg.val_dataloader is None) == ('val' not in splits)


def test_pico_is_not_compiled():
    """Which would take longer than its training."""
    pico = load_config('dualformer_pico_motion_digits')
    assert pico.compile is False
