"""Class names: the shipped lists, and which of them a checkpoint or config is about."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmaction.utils import class_names
from mmaction.utils.class_names import (
    class_names_beside,
    class_names_of,
    find_class_names,
    find_data_set,
    known_class_names,
    read_class_names,
)

ROOT = Path(__file__).parents[2]
SIZES = dict(
    activitynet=200,
    diving48=48,
    hmdb51=51,
    jester=27,
    k400=400,
    k600=600,
    k700=700,
    k710=710,
    mit=339,
    mmit=313,
    motion_digits=8,
    sthv1=174,
    sthv2=174,
    ucf101=101,
)


def test_every_list_is_shipped_whole():
    folder = Path(class_names.__file__).with_name('class_lists')
    assert {path.stem for path in folder.glob('*.txt')} == set(SIZES) == set(class_names._SPELLINGS)
    for name, size in SIZES.items():
        names = known_class_names(name)
        assert len(names) == len(set(names)) == size, name


def test_kinetics400_equals_torchvision():
    from torchvision.models.video import Swin3D_T_Weights

    assert known_class_names('k400') == Swin3D_T_Weights.DEFAULT.meta['categories']


def test_motion_digits_equals_its_generator():
    from mmaction.data_preparation.motion_digits import CLASSES

    assert known_class_names('motion_digits') == list(CLASSES)


@pytest.mark.parametrize(
    ('path', 'name'),
    [
        *((f'kinetics/label_map_k{n}.txt', f'k{n}') for n in (400, 600, 700, 710)),
        *(
            (f'{name}/label_map.txt', name)
            for name in SIZES
            if name != 'motion_digits' and not name.startswith('k')
        ),
    ],
)
def test_label_maps_are_where_mmaction2_has_them(path, name):
    assert read_class_names(ROOT / 'tools' / 'data' / path) == known_class_names(name)


@pytest.mark.parametrize(
    ('text', 'name'),
    [
        ('data/kinetics400/kinetics400_val_list_videos.txt', 'k400'),
        ('dualformer_small_patch244_window877_kinetics400_1k', 'k400'),
        ('dualformer_base_patch244_window877_kinetics600_22k', 'k600'),
        ('/data/Kinetics-700-2020/val', 'k700'),
        ('swin-base_k400-pre_8xb32-amp-32x2x1-30e_kinetics710-rgb', 'k710'),
        ('tsn_k400-pretrained_hmdb51', 'hmdb51'),
        ('data/kinetics400_pretrain/ucf101/val.txt', 'ucf101'),
        ('/datasets/UCF-101/videos', 'ucf101'),
        ('tsm_r50_1x1x8-50e_sthv2-rgb', 'sthv2'),
        ('data/something-something-v1/train', 'sthv1'),
        ('data/ssv2/val.txt', 'sthv2'),
        ('data/mit/mit_val_list_videos.txt', 'mit'),
        ('data/mmit/mmit_val_list_videos.txt', 'mmit'),
        ('ActivityNetDataset', 'activitynet'),
        ('data/Diving48/RGBs', 'diving48'),
        ('20bn-jester-v1', 'jester'),
        ('data/motion_digits', 'motion_digits'),
        ('data/kinetics4000/list.txt', None),
        ('data/commit/summit/list.txt', None),
        ('VideoDataset', None),
    ],
)
def test_data_set_of_a_path_or_config_name(text, name):
    assert find_data_set(text) == name


@pytest.mark.parametrize(
    'path', sorted((ROOT / 'configs' / 'recognition').rglob('*.py')), ids=lambda path: path.stem
)
def test_every_config_names_its_classes_by_its_data_set(path):
    cfg = Config.fromfile(path)
    count = cfg.model.cls_head.num_classes
    data_set = find_data_set(path.stem)
    found = find_class_names(cfg, count)
    # HVU and OmniSource have no list; those of Moments and Multi-Moments are of another release.
    if data_set in (None, 'mit', 'mmit'):
        assert found is None
    else:
        assert found == known_class_names(data_set)


def test_equally_many_classes_are_told_apart():
    """Something-Something V1 and V2 both have 174 classes, with other names."""
    for name in ('sthv1', 'sthv2'):
        dataset = dict(ann_file=f'/lists/{name}/val.txt')
        cfg = Config(dict(test_dataloader=dict(dataset=dataset)))
        assert find_class_names(cfg, 174) == known_class_names(name)
    assert find_class_names(Config(dict(model=dict())), 174) is None


def test_wrapped_datasets():
    inner = dict(type='VideoDataset', data_prefix=dict(video='data/hmdb51/videos'))
    for dataset in (
        dict(type='RepeatDataset', times=2, dataset=inner),
        dict(type='ConcatDataset', datasets=[inner, inner]),
    ):
        cfg = Config(dict(train_dataloader=dict(dataset=dataset)))
        assert find_class_names(cfg, 51) == known_class_names('hmdb51')


HMDB_1X = """
ann_file_test = 'data/hmdb51/hmdb51_val_split_1_videos.txt'
load_from = 'checkpoints/tsn_kinetics400.pth'
test_dataloader = dict(
    batch_size=1,
    dataset=dict(
        ann_file='data/hmdb51/hmdb51_val_split_1_videos.txt',
        data_prefix=dict(video='data/hmdb51/videos'),
        test_mode=True,
        type='VideoDataset'))
"""
HMDB_0X = """
data_root_val = 'data/hmdb51/rawframes'
load_from = 'k400.pth'
data = dict(
    videos_per_gpu=8,
    test=dict(type='RawframeDataset', ann_file='lists/val.txt', data_prefix=data_root_val))
"""


@pytest.mark.parametrize(
    'meta',
    [
        dict(dataset_meta=dict(classes=tuple(known_class_names('hmdb51')))),
        dict(dataset_meta=dict(CLASSES=known_class_names('hmdb51'))),
        dict(CLASSES=known_class_names('hmdb51')),
        dict(cfg=HMDB_1X, dataset_meta={}),
        dict(cfg=HMDB_1X, dataset_meta=None),
        dict(config=HMDB_0X, mmaction_version='0.20.0'),
        dict(cfg=Config.fromstring(HMDB_1X, '.py')),
    ],
)
def test_names_of_the_checkpoint_come_before_those_of_the_config(meta):
    dataset = dict(metainfo=dict(classes=[f'mine {i}' for i in range(51)]))
    cfg = Config(dict(test_dataloader=dict(dataset=dataset)))
    assert find_class_names(cfg, 51, meta) == known_class_names('hmdb51')


def test_config_of_a_checkpoint_is_never_run(tmp_path):
    witness = tmp_path / 'ran'
    text = f'open({str(witness)!r}, "w").close()\n' + HMDB_1X + f'x = open({str(witness)!r}, "w")\n'
    assert find_class_names({}, 51, dict(cfg=text)) == known_class_names('hmdb51')
    assert not witness.exists()
    assert find_class_names({}, 51, dict(cfg='not python at all (')) is None


def test_data_set_of_the_test_list_comes_first():
    lists = dict(train='data/k710/train.txt', test='data/k400/val.txt')
    cfg = Config({f'{k}_dataloader': dict(dataset=dict(ann_file=v)) for k, v in lists.items()})
    assert find_class_names(cfg, 400) == known_class_names('k400')


def test_names_with_wrong_class_count_are_skipped_with_a_warning(logged):
    cfg = Config(dict(test_dataloader=dict(dataset=dict(ann_file='data/mmit/val.txt'))))
    assert find_class_names(cfg, 292) is None
    assert len(logged) == 1
    assert 'data set mmit) has names of 313 classes, but the model has 292' in logged.pop()
    # where another source fits, nothing is said
    meta = dict(dataset_meta=dict(classes=['a', 'b']))
    cfg = Config(dict(test_dataloader=dict(dataset=dict(ann_file='data/k400/val.txt'))))
    assert find_class_names(cfg, 400, meta) == known_class_names('k400')
    assert not logged


def test_classes_txt_beside_the_list_comes_before_the_shipped_list(tmp_path):
    folder = tmp_path / 'ucf101'
    folder.mkdir()
    cfg = Config(
        dict(test_dataloader=dict(dataset=dict(data_root=str(folder), ann_file='val.txt')))
    )
    assert find_class_names(cfg, 101) == known_class_names('ucf101')
    mine = [f'mine {i}' for i in range(101)]
    (folder / 'classes.txt').write_text('\n'.join(mine) + '\n')
    assert find_class_names(cfg, 101) == mine


def test_class_names_beside_a_list(tmp_path):
    ann_file = str(tmp_path / 'list.txt')
    assert class_names_beside(ann_file) is None
    (tmp_path / 'classes.txt').write_bytes(b'run\r\nsit still \r\n\r\n')
    assert class_names_beside(ann_file) == ['run', 'sit still']
    (tmp_path / 'classes.txt').write_text('run\n\njump\n')
    with pytest.raises(ValueError, match=r'classes.txt:2: expected a class name'):
        class_names_beside(ann_file)


def test_label_file(tmp_path):
    path = tmp_path / 'names.txt'
    path.write_text('\ufeffrun\njump \n', encoding='utf-8')
    assert read_class_names(path, 2) == ['run', 'jump']
    with pytest.raises(ValueError, match='names 2 classes, but the model has 3'):
        read_class_names(path, 3)
    with pytest.raises(FileNotFoundError, match='there is no label file'):
        read_class_names(tmp_path / 'none.txt')


def test_label_file_comes_first_and_numbers_last(tmp_path):
    path = tmp_path / 'names.txt'
    path.write_text('run\njump\n')
    cfg = Config(dict(test_dataloader=dict(dataset=dict(metainfo=dict(classes=['a', 'b'])))))
    assert class_names_of(cfg, path, 2) == ['run', 'jump']
    assert class_names_of(cfg, None, 2) == ['a', 'b']
    assert class_names_of(Config(dict()), None, 3) == ['0', '1', '2']
    model = torch.nn.Module()
    model.cls_head, model.dataset_meta = torch.nn.Module(), dict(classes=['x', 'y'])
    model.cls_head.num_classes = 2
    assert class_names_of(model) == ['x', 'y']
    assert class_names_of(model, path) == ['run', 'jump']
    model.dataset_meta = dict(classes=None)
    assert class_names_of(model) == ['0', '1']
    with pytest.raises(ValueError, match=r'a Linear has no cls_head\.num_classes'):
        class_names_of(torch.nn.Linear(1, 1))
