"""Clip length, frame size and normalization of models of transformers, filled in or compared."""

import numpy as np
import pytest
import torch

transformers = pytest.importorskip('transformers')

from mmaction.config.load import load_config  # noqa: E402
from mmaction.errors import ConfigError  # noqa: E402
from mmaction.registry import MODELS  # noqa: E402
from tests.tiny_transformers import PROCESSORS, VIDEO, save  # noqa: E402

CONFIG = """
steps = [
    dict(type='DecordInit'),
    dict(type='SampleFrames', frame_interval=2{frames}),
    dict(type='DecordDecode'),
    dict(type='Resize'{resize}),
    dict(type='CenterCrop'{crop}),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='PackActionInputs'),
]
model = dict(
    type='Recognizer3D',
    backbone=dict(type='transformers.{folder}'{backbone}),
    cls_head=dict(type='I3DHead', num_classes=3),
    {preprocessor}
)
test_pipeline = steps
train_pipeline = [
    *steps[:3], dict(type='RandomResizedCrop'), dict(type='Resize'), *steps[5:]
]
test_dataloader = dict(dataset=dict(type='VideoDataset', ann_file='x.txt', pipeline=steps))
"""


def load(folder, **parts):
    keys = ('frames', 'resize', 'crop', 'backbone', 'preprocessor')
    text = CONFIG.format(folder=folder, **{key: parts.get(key, '') for key in keys})
    path = folder / 'x.py'
    path.write_text(text)
    return load_config(path)


@pytest.mark.parametrize('kind', VIDEO)
def test_what_is_left_out_is_the_models_own(kind, tmp_path):
    save(kind, tmp_path)
    cfg = load(tmp_path)
    assert cfg.model.cls_head.in_channels == 24
    for steps in (cfg.test_pipeline, cfg.test_dataloader.dataset.pipeline):
        short = dict(vjepa2=36, vivit=256).get(kind, 224)
        assert steps[1]['clip_len'] == 4
        assert steps[3] == dict(type='Resize', scale=(-1, short), keep_ratio=True)
        assert steps[4]['crop_size'] == 32
    assert cfg.train_pipeline[4] == dict(type='Resize', scale=(32, 32), keep_ratio=False)
    # normalized as by the model's own processor
    processor = getattr(transformers, PROCESSORS[kind]).from_pretrained(tmp_path)
    frames = np.random.default_rng(0).integers(0, 256, (4, 3, 32, 32), np.uint8)
    found = processor(torch.from_numpy(frames), do_resize=False, return_tensors='pt')
    (expected,) = found.values()
    batch = MODELS.build(cfg.model.data_preprocessor)(
        dict(inputs=torch.from_numpy(frames).transpose(0, 1)[None, None], data_samples=None)
    )
    normalized = batch['inputs'][0, 0].transpose(0, 1)
    torch.testing.assert_close(normalized, expected[0], rtol=0, atol=1e-5)


def test_a_config_that_says_the_same_is_taken(tmp_path):
    save('videomae', tmp_path)
    mean, std = [127.5] * 3, [127.5] * 3
    mine = f"data_preprocessor=dict(type='ActionDataPreprocessor', mean={mean}, std={std}),"
    cfg = load(tmp_path, frames=', clip_len=4', crop=', crop_size=(32, 32)', preprocessor=mine)
    assert cfg.model.data_preprocessor.format_shape == 'NCTHW'


@pytest.mark.parametrize(
    ('parts', 'message'),
    [
        (dict(frames=', clip_len=8'), r'\.1\.clip_len: 8, but .* takes 4: .*num_frames=8'),
        (dict(crop=', crop_size=48'), r'\.4\.crop_size: 48, but .* takes 32: .*img_size=48'),
        (
            dict(preprocessor="data_preprocessor=dict(type='ActionDataPreprocessor', "
                 'mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]),'),
            r'data_preprocessor\.mean: .* takes \[127\.5',
        ),
    ],
)  # fmt: skip
def test_a_mismatch_is_one_sentence(parts, message, tmp_path):
    save('videomae', tmp_path)
    with pytest.raises(ConfigError, match=message) as found:
        load(tmp_path, **parts)
    assert '\n' not in str(found.value)


def test_sizes_of_the_backbone_count_before_the_models_own(tmp_path):
    save('videomae', tmp_path)
    cfg = load(tmp_path, backbone=', num_frames=8, img_size=48')
    assert cfg.test_pipeline[1]['clip_len'] == 8
    assert cfg.test_pipeline[4]['crop_size'] == 48
    with pytest.raises(ConfigError, match=r'clip_len: 4, but .* takes 8'):
        load(tmp_path, frames=', clip_len=4', backbone=', num_frames=8')


def test_missing_folder_and_damaged_processor(tmp_path):
    save('videomae', tmp_path)
    (tmp_path / 'video_preprocessor_config.json').unlink(missing_ok=True)
    for name in ('preprocessor_config.json', 'processor_config.json'):
        (tmp_path / name).write_text('{ damaged')
    with pytest.raises(ConfigError, match=r'the processor of .* cannot be read'):
        load(tmp_path)
    with pytest.raises(ConfigError, match=r'no folder of a model'):
        load_config(_renamed(tmp_path))


def _renamed(folder):
    path = folder / 'y.py'
    path.write_text((folder / 'x.py').read_text().replace(str(folder), str(folder / 'none')))
    return path
