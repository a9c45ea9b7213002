import pytest
import torch

from mmaction.datasets.transforms.pipeline import Pipeline
from mmaction.engine.runner.data_check import SplitFacts, check_splits, missing_paths, splits_of
from mmaction.errors import ConfigError
from mmaction.registry import DATASETS
from tests.engine.toy import build_runner, toy_config


@DATASETS.register_module(force=True)
class ListedClips:
    """What a dataset says of its clips, nothing else."""

    def __init__(self, infos, ann_file='list.txt'):
        self.infos = infos
        self.ann_file = ann_file

    def __len__(self):
        return len(self.infos)

    def get_data_info(self, index):
        return self.infos[index]


def prepared(tmp_path, infos):
    cfg = toy_config(tmp_path)
    runner = build_runner(cfg)
    runner._train_dataloader['dataset'] = dict(type='ListedClips', infos=infos)
    runner.prepare('train')
    return runner


def test_facts_of_the_splits(tmp_path):
    runner = build_runner(toy_config(tmp_path))
    runner.prepare('train')
    assert runner.split_facts == {
        'train': SplitFacts(14, 4, 0, 3),
        'val': SplitFacts(7, 4, 0, 3),
    }
    runner.prepare('test')
    assert splits_of(runner)['test'] == SplitFacts(7, 4, 0, 3)
    dataset = runner.test_dataloader.dataset
    assert check_splits({'test': dataset}, None) == {'test': SplitFacts(7, 4, 0, 3)}


def test_a_label_outside_the_head(tmp_path):
    cfg = toy_config(tmp_path, **{'val_dataloader.dataset.first_label': 1})
    message = r'val list ToyClips: clip None has label 4, but the head has num_classes=4, so '
    with pytest.raises(ConfigError, match=message + 'labels are 0 to 3'):
        build_runner(cfg).prepare('train')


def test_a_negative_label(tmp_path):
    with pytest.raises(ConfigError, match=r'clip a\.mp4 has label -2'):
        prepared(tmp_path, [dict(label=-2, filename='a.mp4')])


@pytest.mark.parametrize(
    ('numbers', 'start', 'more', 'told'),
    [
        (range(1, 6), 1, {}, None),
        (range(5), 0, {}, None),
        (range(1, 6), 0, {}, r'1\.jpg to f/5\.jpg: set start_index=1 of the dataset, found 0'),
        (range(5), 1, {}, r'0\.jpg to f/4\.jpg: set start_index=0 of the dataset, found 1'),
        # of what a damaged clip lacks, the run tells
        (range(1, 5), 1, {}, None),
        (range(2, 6), 1, {}, None),
        ([], 1, {}, None),
        # a list may leave out frames before or after
        (range(1, 6), 0, dict(offset=1), None),
        (range(9), 1, {}, None),
        (range(5), 1, dict(transforms=[]), None),
    ],
)
def test_a_start_index_that_is_one_off(tmp_path, numbers, start, more, told):
    (tmp_path / 'f').mkdir()
    for number in numbers:
        (tmp_path / 'f' / f'{number}.jpg').touch()
    steps = more.pop('transforms', [dict(type='RawFrameDecode')])
    info = dict(label=0, frame_dir=str(tmp_path), total_frames=5, filename_tmpl='f/{}.jpg')
    info.update(start_index=start, modality='RGB', **more)
    dataset = ListedClips([info])
    dataset.pipeline = Pipeline(steps)
    if told is None:
        check_splits({'train': dataset}, 4)
        return
    with pytest.raises(ConfigError, match=f'train list list.txt: the frames of the .*f/{told}'):
        check_splits({'train': dataset}, 4)


def test_label_types(tmp_path):
    infos = [
        dict(label=0),
        dict(label=[1, 3]),
        dict(label=torch.tensor([2])),
        dict(label=torch.tensor([0.0, 1.0, 0.0, 0.0])),
        dict(label=-1),
        dict(),
    ]
    runner = build_runner(toy_config(tmp_path))
    runner._test_dataloader['dataset'] = dict(type='ListedClips', infos=infos)
    runner._test_loop = runner.build_test_loop(runner._test_loop)
    assert splits_of(runner)['test'] == SplitFacts(6, 4, 0, 3)


@pytest.mark.parametrize('label', [-1, None, [-1]])
def test_train_and_validation_need_a_label_of_each_clip(tmp_path, label):
    infos = [dict(label=0, filename='a.mp4'), dict(label=label, filename='b.mp4')]
    with pytest.raises(ConfigError, match=r'train list list\.txt: clip b\.mp4 has no label, which'):
        prepared(tmp_path, infos)
    runner = build_runner(toy_config(tmp_path / 'val'))
    runner._val_dataloader['dataset'] = dict(type='ListedClips', infos=infos)
    with pytest.raises(ConfigError, match=r'val list .* no label, which validation needs'):
        runner.prepare('train')


@pytest.mark.parametrize(('kind', 'line', 'form'), [
    ('VideoDataset', 'a.mp4', 'path label'),
    ('RawframeDataset', 'a 3', 'path total_frames label'),
])  # fmt: skip
def test_lists_without_labels(tmp_path, kind, line, form):
    (tmp_path / 'a.mp4').touch()
    (tmp_path / 'list.txt').write_text(line + '\n')
    runner = build_runner(toy_config(tmp_path))
    runner._train_dataloader['dataset'] = dict(
        type=kind, ann_file=str(tmp_path / 'list.txt'), pipeline=[]
    )
    with pytest.raises(ConfigError, match=f'no label, which training needs; a line is "{form}"'):
        runner.prepare('train')


def test_empty_split_is_error(tmp_path):
    cfg = toy_config(tmp_path, **{'val_dataloader.dataset.size': 0})
    with pytest.raises(ConfigError, match='val list ToyClips holds no clips'):
        build_runner(cfg).prepare('train')


def test_missing_clips_are_counted_and_named(tmp_path):
    (tmp_path / 'there.mp4').touch()
    names = ['there.mp4', 'gone.mp4', 'nowhere/x.mp4']
    infos = [dict(label=0, filename=str(tmp_path / name)) for name in names]
    with pytest.raises(ConfigError, match=r'list\.txt: 2 of 3 clips do not exist: .*gone\.mp4'):
        prepared(tmp_path, infos)


def test_missing_paths(tmp_path):
    (tmp_path / 'frames').mkdir()
    (tmp_path / 'a.mp4').touch()
    there = [f'{tmp_path}/a.mp4', f'{tmp_path}/a', f'{tmp_path}/frames/', 's3://bucket/b.mp4']
    assert missing_paths(there) == []
    gone = [f'{tmp_path}/b.mp4', f'{tmp_path}/b', f'{tmp_path}/frames/c', f'{tmp_path}/a.mp4/d']
    assert missing_paths(gone + there) == gone
