"""From official files over prepare.py to samples of the config of the dataset."""

import shutil

import numpy as np
import pytest
import torch

from mmaction.config.load import load_config
from mmaction.datasets.decoders import PyAVReader
from mmaction.registry import DATASETS
from tests.data_preparation.preparing import put, run
from tests.video_factory import write_video

CONFIG = 'configs/recognition/dualformer/dualformer_{}.py'
HEAD = 'label,youtube_id,time_start,time_end,split\n'
CSV = {
    'train.csv': HEAD + 'abseiling,-a,0,10,train\nyoga,b,0,10,train\n',
    'validate.csv': HEAD + 'yoga,c,0,10,val\n',
}
CLIPS = ['abseiling/-a_000000_000010', 'b_000000_000010', 'yoga/c_000000_000010']


def numbered(prefix):
    """The format of Jester and Something-Something V1."""
    texts = {'labels': 'Doing x\nNot, y\n', 'train': '1;Doing x\n2;Not, y\n'}
    texts['validation'] = '3;Not, y\n'
    return {f'{prefix}-{name}.csv': text for name, text in texts.items()}


# Of each dataset: name of the config, clips, official files, options.
CASES = {
    'hmdb51': (
        'small_patch244_window877_hmdb51',
        ['clap/a', 'wave/b', 'wave/c'],
        {
            f'{name}_test_split{split}.txt': text
            for split in (1, 2, 3)
            for name, text in (('clap', 'a.avi 1 \n'), ('wave', 'b.avi 1 \nc.avi 2 \n'))
        },
        ['--frames'],
    ),
    'ucf101': (
        'small_patch244_window877_ucf101',
        ['Biking/a', 'Yo/b', 'Yo/c'],
        {
            'classInd.txt': '1 Biking\n2 Yo\n',
            **{f'trainlist0{i}.txt': 'Biking/a.avi 1\nYo/b.avi 2\n' for i in (1, 2, 3)},
            **{f'testlist0{i}.txt': 'Yo/c.avi\n' for i in (1, 2, 3)},
        },
        ['--frames'],
    ),
    'activitynet': (
        'small_patch244_window877_activitynet',
        ['v_a', 'v_b', 'v_c'],
        {
            'activity_net.v1-3.min.json': {
                'database': {
                    name: {
                        'duration': 1.6,
                        'subset': subset,
                        'annotations': [{'segment': [0.4, 1.2], 'label': label}],
                    }
                    for name, subset, label in (
                        ('a', 'training', 'x'),
                        ('b', 'training', 'y'),
                        ('c', 'validation', 'y'),
                    )
                }
            },
            'action_name.csv': 'action\nx\ny\n',
        },
        ['--trim'],
    ),
    'kinetics400': ('tiny_patch244_window877_kinetics400_1k', CLIPS, CSV, []),
    'kinetics600': ('small_patch244_window877_kinetics600_1k', CLIPS, CSV, []),
    'kinetics700': ('small_patch244_window877_kinetics700_1k', CLIPS, CSV, []),
    'sthv1': (
        'small_patch244_window877_sthv1',
        ['1', '2', '3'],
        numbered('something-something-v1'),
        ['--frames'],
    ),
    'sthv2': (
        'small_patch244_window877_sthv2',
        ['1', '2', '3'],
        {
            'labels.json': {'Doing x': '0', 'Not y': '1'},
            'train.json': [
                {'id': '1', 'template': 'Doing [x]'},
                {'id': '2', 'template': 'Not [y]'},
            ],
            'validation.json': [{'id': '3', 'template': 'Not [y]'}],
        },
        [],
    ),
    'diving48': (
        'small_patch244_window877_diving48',
        ['a_00001', 'b_00002', 'c_00003'],
        {
            'Diving48_vocab.json': [['Back', 'x'], ['Front', 'y']],
            'Diving48_V2_train.json': [
                {'vid_name': 'a_00001', 'label': 0},
                {'vid_name': 'b_00002', 'label': 1},
            ],
            'Diving48_V2_test.json': [{'vid_name': 'c_00003', 'label': 1}],
        },
        ['--frames'],
    ),
    'jester': (
        'small_patch244_window877_jester',
        ['1', '2', '3'],
        numbered('jester-v1'),
        ['--frames'],
    ),
    'mit': (
        'small_patch244_window877_mit',
        ['training/x/a', 'training/y+z/b', 'validation/y+z/c'],
        {
            'moments_categories.txt': 'x,0\ny+z,1\n',
            'trainingSet.csv': 'x/a.mp4,x,3,0\ny+z/b.mp4,y+z,3,0\n',
            'validationSet.csv': 'y+z/c.mp4,y+z,3,0\n',
        },
        [],
    ),
    'mmit': (
        'small_patch244_window877_mmit',
        ['x/a', 'y/b', 'y/c'],
        {
            'moments_categories.txt': 'x,0\ny,1\n',
            'trainingSet.csv': 'x/a.mp4,0\ny/b.mp4,0,1\n',
            'validationSet.csv': 'y/c.mp4,1\n',
        },
        [],
    ),
    'hvu': (
        'small_patch244_window877_hvu',
        ['a_000000_000100', 'b_000000_000100', 'c_000005_000025'],
        {
            'HVU_Tags_Categories_V1.0.csv': 'x,action\ny,scene\nz,scene\n',
            'HVU_Train_V1.0.csv': 'Tags,youtube_id,time_start,time_end\nx,a,0.0,10.0\n'
            'x|z,b,0.0,10.0\n',
            'HVU_Val_V1.0.csv': 'Tags,youtube_id,time_start,time_end\ny,c,0.5,2.5\n',
        },
        [],
    ),
    'omnisource': (
        'small_patch244_window877_omnisource_1k',
        [
            'kinetics_200_train/a',
            'kinetics_200_train/b',
            'kinetics_200_val/c',
            'insvideo_200/0/d',
            'kinetics_raw_200_train/prefa/a/part_1',
        ],
        {
            'k200_actions.txt': 'x\ny\n',
            'k200_train.txt': 'a.mp4 0\nb.mp4 1\n',
            'k200_val.txt': 'c.mp4 1\n',
            'tsn_8seg_webimage_200_wodup.txt': 'insimage_200/0/d.jpg 0\n',
            'slowonly_8x8_insvideo_200_wodup.txt': '0/d.mp4 1\n',
            'slowonly_8x8_kinetics_raw_200.json': [
                dict(video_dir='prefa/a', label=0, num_clips=2, positive_clip_inds=[1])
            ],
        },
        [],
    ),
}


@pytest.fixture(scope='module')
def media(tmp_path_factory):
    """A clip as a video and as frames, and an image."""
    import cv2

    folder = tmp_path_factory.mktemp('media')
    video = write_video(folder / 'a.mp4', num_frames=40)
    reader = PyAVReader(str(video))
    images = reader.get_batch(range(len(reader)))
    reader.close()
    frames = folder / 'frames'
    frames.mkdir()
    for number, image in enumerate(images, start=1):
        cv2.imwrite(str(frames / f'img_{number:05}.jpg'), image[..., ::-1])
    return folder


def shrink(steps):
    """Clips of 8 frames of 64 x 64 in the place of 32 of 224 x 224, in place."""
    for step in steps:
        for key, value in step.items():
            if key == 'clip_len':
                step[key] = 8
            elif key in ('crop_size', 'scale'):
                small = {224: 64, 256: 72}
                step[key] = (
                    tuple(small.get(v, v) for v in value) if key == 'scale' else small[value]
                )


def labels(sample):
    return torch.as_tensor(sample['data_samples'].gt_label).tolist()


@pytest.mark.parametrize('dataset', CASES)
def test_config_reads_prepared_lists(tmp_path, media, dataset):
    name, clips, files, options = CASES[dataset]
    put(tmp_path / 'annotations', files)
    numbers_only = dataset in ('sthv1', 'jester')
    for clip in clips:
        target = tmp_path / 'videos' / clip
        target.parent.mkdir(parents=True, exist_ok=True)
        if '--frames' not in options:
            shutil.copy(media / 'a.mp4', f'{target}.mp4')
            continue
        target.mkdir()
        for image in (media / 'frames').iterdir():
            shutil.copy(image, target / image.name.removeprefix('img_' if numbers_only else ''))
    if dataset == 'omnisource':
        image = tmp_path / 'videos' / 'insimage_200' / '0' / 'd.jpg'
        image.parent.mkdir(parents=True)
        shutil.copy(media / 'frames' / 'img_00001.jpg', image)
    run(tmp_path, dataset, *options)
    if '--frames' in options:
        (tmp_path / 'videos').rename(tmp_path / 'rawframes')
    (tmp_path / 'out').rename(tmp_path / 'lists')
    for path in (tmp_path / 'lists').iterdir():
        path.rename(tmp_path / path.name)

    cfg = load_config(CONFIG.format(name), [f'data_root={tmp_path}'])
    found = {}
    for split in ('train', 'test'):
        config = cfg[f'{split}_dataloader'].dataset
        if dataset == 'hvu':
            # As many as the made-up tags of each category.
            config.tag_category_nums = (1, 0, 0, 0, 0, 2)
        for step in config.get('pipeline', ()):
            step.pop('flip_label_map', None)  # of classes that the made-up lists do not have
        for part in config.get('datasets', [config]):
            shrink(part.pipeline)
        built = DATASETS.build(config)
        samples = [built[i] for i in range(len(built))]
        samples = [one for s in samples for one in (s if isinstance(s, list) else [s])]
        for sample in samples:
            assert sample['inputs'].dtype == torch.uint8
            assert sample['inputs'].shape[1:] == (3, 8, 64, 64)
            assert np.unique(sample['inputs']).size > 10
        found[split] = [labels(sample) for sample in samples]
    if dataset == 'hvu':
        ones = [[i for i, value in enumerate(label) if value] for label in found['train']]
        # Scenes come after actions, as in classes.txt.
        assert ones == [[0], [0, 2]]
    elif dataset == 'mmit':
        assert [label[:3] for label in found['train']] == [[1, 0, 0], [1, 1, 0]]
        assert found['test'][0][:3] == [0, 1, 0]
    else:
        assert [label for one in found['train'] for label in one][:2] == [0, 1]
        assert found['test'] == [[1]]
    if dataset == 'omnisource':
        assert found['train'] == [[0], [1], [0], [1], [0]]
