"""What the page shows of a clip: scores, maps, tokens and frames."""

import numpy as np
import pytest
import torch
from PIL import Image

from mmaction.apis import init_recognizer
from mmaction.apis.web.explain import Explainer, sprite
from mmaction.datasets.video_source import VideoSource
from tests.apis.conftest import CLASSES, tiny_config


def test_explainer_returns_everything_on_the_page(tmp_path, clip):
    model = init_recognizer(tiny_config(), device='cpu')
    steps = []
    result = Explainer(model, None)(clip, tmp_path, lambda share, step: steps.append((share, step)))
    assert [share for share, _ in steps] == sorted(share for share, _ in steps)
    assert len(result['top']) == 5
    assert result['top'][0]['name'].startswith('class ')
    assert 0 < sum(entry['score'] for entry in result['top']) <= 1.001
    assert result['views'] == 6
    shown = result['clip']
    assert (shown['frames'], shown['seen'], shown['fps']) == (4, '32 x 32', 10)
    size = (shown['width'] * 4, shown['height'])
    files = ['clip.jpg', *(entry['file'] for entry in result['maps'])]
    assert [Image.open(tmp_path / name).size for name in files] == [size] * 5
    titles = ['Grad-CAM', 'HiResCAM', 'Local windows', 'Global pyramid']
    assert [entry['title'] for entry in result['maps']] == titles
    tokens = result['tokens']
    rows = tokens['steps'] * tokens['rows']
    assert Image.open(tmp_path / 'tokens.png').size == (tokens['columns'], rows)
    assert len(tokens['legend']) <= CLASSES
    # the frames are those whose numbers are told
    frames = VideoSource(clip).read(shown['numbers'])[:, :, 8:56]
    first = np.asarray(Image.open(tmp_path / 'clip.jpg'))[:, : shown['width']]
    assert abs(first.mean() - frames[0].mean()) < 12


VIT = dict(type='VisionTransformer', img_size=32, embed_dims=24, depth=2, num_heads=2, num_frames=4)
TSM = dict(
    type='ResNetTSM',
    depth=18,
    num_segments=4,
    num_stages=2,
    strides=(1, 2),
    dilations=(1, 1),
    out_indices=(1,),
)


@pytest.mark.parametrize('kind', ['timm', 'tsm', 'vit'])
def test_explainer_of_other_networks(tmp_path, clip, kind):
    """A 2-D network on a clip, TSM on segments of one frame, a transformer of tokens."""
    backbone, head, frames = dict(
        timm=(dict(type='timm.resnet18'), dict(type='TSNHead', in_channels=512), 4),
        tsm=(TSM, dict(type='TSMHead', in_channels=128, num_segments=4), 4),
        vit=(VIT, dict(type='TimeSformerHead', in_channels=24), 4),
    )[kind]
    cfg = tiny_config()
    cfg.model.type = 'Recognizer3D' if kind == 'vit' else 'Recognizer2D'
    cfg.model.backbone = backbone
    cfg.model.cls_head = dict(head, num_classes=CLASSES, average_clips='prob')
    if kind == 'tsm':
        cfg.test_pipeline[1].update(clip_len=1, num_clips=4)
        cfg.test_pipeline[-2].input_format = 'NCHW'
        cfg.model.data_preprocessor.format_shape = 'NCHW'
    model = init_recognizer(cfg, device='cpu')
    torch.nn.init.normal_(model.cls_head.fc_cls.weight)
    result = Explainer(model)(clip, tmp_path, lambda *_: None)
    assert len(result['top']) == 5
    assert result['tokens'] is None or kind == 'vit'
    assert result['clip']['frames'] == frames
    titles = [entry['title'] for entry in result['maps']]
    assert titles == ['Grad-CAM'], result.get('no_maps')
    sizes = {Image.open(tmp_path / name).size for name in ('clip.jpg', result['maps'][0]['file'])}
    assert len(sizes) == 1


def test_sprite():
    frames = np.arange(10, dtype=np.uint8).repeat(2 * 3 * 3).reshape(10, 2, 3, 3)
    grid = sprite(frames)
    assert grid.shape == (4, 24, 3)
    assert (grid[:2, 21:24] == 7).all()
    assert (grid[2:, 3:6] == 9).all()
    assert not grid[2:, 6:].any()
    assert sprite(frames[:2]).shape == (2, 6, 3)
