"""Types of mmaction2 that are not here say why; slips of its configs are read as meant."""

import pytest
from mmengine.config import Config
from torch import nn

from mmaction.config.check import check_config
from mmaction.config.load import load_config
from mmaction.config.scope import mend_published, why_missing
from mmaction.errors import ConfigError
from mmaction.registry import MODELS


@pytest.mark.parametrize(
    ('kind', 'reason'),
    [
        ('ResNet3dLayer', 'for detection of actions in space'),
        ('mmaction.BMN', 'for localization in time'),
        ('STGCN', 'for skeletons'),
        ('MultiModalDataPreprocessor', 'for skeletons'),
        ('ImgAug', 'needs imgaug, which runs on no current NumPy'),
        ('mmcls.ResNeXt', 'needs mmcls, which is not installed'),
    ],
)
def test_reason_is_one_sentence(kind, reason):
    sentence = why_missing(kind)
    assert sentence.startswith(f'"{kind}" ')
    assert reason in sentence
    assert '\n' not in sentence


def test_names_that_are_merely_unknown_have_no_reason():
    assert why_missing('ResNet4d') is None


@pytest.mark.parametrize(
    ('values', 'key', 'subject'),
    [
        # without a model: proposals of BSN
        (dict(dataset_type='ActivityNetDataset'), 'dataset_type', 'localization in time'),
        # a comma too many makes the loader a tuple
        (
            dict(train_dataloader=(dict(dataset=dict(type='PoseDataset')),)),
            'train_dataloader.0.dataset.type',
            'skeletons',
        ),
        # a preprocessor comes before the model, and has arguments that are not known
        (
            dict(
                data_preprocessor=dict(type='MultiModalDataPreprocessor'),
                model=dict(type='MMRecognizer3D'),
            ),
            'model.type',
            'skeletons',
        ),
    ],
)
def test_config_of_another_task_is_told_before_its_slips(values, key, subject):
    with pytest.raises(ConfigError, match=f'key {key}: .*, for {subject}, which'):
        check_config(Config(values))


def test_class_of_a_user_under_such_a_name_is_theirs_to_use():
    MODELS.register_module(name='STGCN', module=nn.Identity)
    try:
        check_config(Config(dict(model=dict(type='STGCN'))))
    finally:
        MODELS.module_dict.pop('STGCN')


def test_keys_at_the_wrong_place_are_moved_and_named(capsys):
    decode = dict(type='DecordDecode', io_backend='disk')
    loader = dict(dataset=dict(type='VideoDataset'), pipeline=[decode], test_mode=True)
    cfg = Config(dict(test_dataloader=loader, val_dataloader=None))
    mend_published(cfg)
    dataset = cfg.test_dataloader.dataset.to_dict()
    assert dataset == dict(
        type='VideoDataset', pipeline=[dict(type='DecordDecode')], test_mode=True
    )
    assert list(cfg.test_dataloader) == ['dataset']
    notes = capsys.readouterr().err
    assert 'test_dataloader.pipeline is read as test_dataloader.dataset.pipeline' in notes
    assert 'test_dataloader.test_mode is read as' in notes
    assert 'io_backend of DecordDecode is dropped' in notes


def test_a_config_in_order_is_left_alone(capsys):
    init = dict(type='DecordInit', io_backend='disk')
    values = dict(test_dataloader=dict(dataset=dict(pipeline=[init])))
    cfg = Config(values)
    mend_published(cfg)
    assert cfg.to_dict() == values
    assert capsys.readouterr().err == ''


@pytest.mark.parametrize('classes', [400, 3])
def test_blendings_mix_the_classes_of_the_head_that_an_option_sets(classes, capsys):
    name = 'mvit-small-p244_32xb16-16x4x1-200e_kinetics400-rgb'
    cfg = load_config(name, {'model.cls_head.num_classes': classes})
    augments = cfg.model.data_preprocessor.blending.augments
    assert [each.num_classes for each in augments] == [classes, classes]
    assert ('MixupBlending.num_classes=400 is read as 3' in capsys.readouterr().err) == (
        classes == 3
    )


@pytest.mark.parametrize('name', ['RANK', 'SLURM_PROCID'])
def test_notes_are_printed_by_rank_0_only(name, monkeypatch, capsys):
    monkeypatch.setenv(name, '1')
    load_config(
        'mvit-small-p244_32xb16-16x4x1-200e_kinetics400-rgb', {'model.cls_head.num_classes': 3}
    )
    decode = dict(type='DecordDecode', io_backend='disk')
    mend_published(Config(dict(test_dataloader=dict(dataset=dict(pipeline=[decode])))))
    assert capsys.readouterr().err == ''
