"""demo_token_label.py, on a video and a checkpoint of a student without its teacher."""

import pytest
import torch
from mmengine.config import Config
from PIL import Image

from demo import demo_token_label
from mmaction.registry import MODELS
from tests.video_factory import write_video

NAMES = ['one', 'two', 'three']


@pytest.fixture
def files(tmp_path):
    """A student's config, whose teacher does not exist, its checkpoint and a video."""
    size = dict(scale=(24, 16), keep_ratio=False)
    pipeline = [
        dict(type='DecordInit'),
        dict(type='SampleFrames', clip_len=4, num_clips=3, test_mode=True),
        dict(type='DecordDecode'),
        dict(type='Resize', **size),
        dict(type='FormatShape', input_format='NCTHW'),
        dict(type='PackActionInputs'),
    ]
    backbone = dict(
        type='DualFormer',
        arch=dict(
            embed_dims=[8],
            num_heads=[2],
            depths=[2],
            mlp_ratios=[1],
            local_sizes=[[2, 2, 2]],
            fine_pysizes=[[2, 2, 2]],
            coarse_pysizes=[None],
        ),
        video_size=[4, 16, 16],
    )
    config = dict(
        type='Recognizer3D_TL',
        backbone=backbone,
        cls_head=dict(type='I3DHead_TL', num_classes=3, in_channels=8),
        teacher=dict(config='nowhere.py', checkpoint='nowhere.pth'),
    )
    Config(dict(model=config, test_pipeline=pipeline)).dump(tmp_path / 'config.py')
    torch.save(dict(state_dict=MODELS.build(config).state_dict()), tmp_path / 'model.pth')
    (tmp_path / 'classes.txt').write_text('\n'.join(NAMES) + '\n')
    write_video(tmp_path / 'clip.mp4', num_frames=12)
    return tmp_path


def test_demo_writes_png_and_gif(files, capsys):
    paths = [str(files / name) for name in ('config.py', 'model.pth', 'clip.mp4')]
    out = ['--out', str(files / 'tokens.png'), '--gif', str(files / 'tokens.gif')]
    demo_token_label.main([*paths, *out, '--frames', '3', '--classes', str(files / 'classes.txt')])
    assert Image.open(files / 'tokens.gif').n_frames == 4
    assert Image.open(files / 'tokens.png').width > 500
    printed = capsys.readouterr().out
    assert 'clip.mp4: ' in printed
    assert any(f': {name} ' in printed for name in NAMES)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (['--out', 'a.jpg'], 'a.jpg: the name has to end in .png'),
        (['--gif', 'a.avi'], 'a.avi: the name has to end in .gif, .mp4'),
        (['--frames', '0'], '0 frames: there must be at least one'),
        (['--classes', 'none.txt'], 'there is no label file none.txt'),
    ],
)
def test_demo_errors_name_the_problem(files, capsys, change, message):
    paths = [str(files / name) for name in ('config.py', 'model.pth', 'clip.mp4')]
    with pytest.raises(SystemExit):
        demo_token_label.main([*paths, '--out', str(files / 'a.png'), *change])
    assert f'error: {message}' in capsys.readouterr().err
