"""The metadata of an export are those of the config's test pipeline."""

import copy
import json

import pytest

from mmaction.apis import init_recognizer
from mmaction.apis.export import Classifier
from mmaction.apis.export_metadata import describe_model
from mmaction.models.recognizers import Recognizer2D, Recognizer3D

CONFIG = 'configs/recognition/dualformer/dualformer_pico_motion_digits.py'


@pytest.fixture(scope='module')
def model():
    return init_recognizer(CONFIG, None, device='cpu')


@pytest.mark.parametrize(
    ('step', 'resize'),
    [
        (dict(scale=(60, 50), keep_ratio=False), [60, 50]),
        (dict(scale=(60, 50)), dict(largest=[60, 50])),
        (dict(scale=(-1, 50)), dict(short_side=50)),
        (dict(scale=0.5), 0.5),
        (None, None),
    ],
)
def test_resize_is_described(model, step, resize):
    pipeline = [
        dict(type='SampleFrames', clip_len=4, frame_interval=3, num_clips=5, test_mode=True),
        *([] if step is None else [dict(type='Resize', **step)]),
        dict(type='ThreeCrop', crop_size=40),
    ]
    before = model.cfg.get('test_pipeline')
    model.cfg.test_pipeline = pipeline
    about = json.loads(json.dumps(describe_model(model, (4, 40, 40))))
    model.cfg.test_pipeline = before
    assert about['resize'] == resize
    assert about['crop'] == dict(type='ThreeCrop', size=40)
    assert (about['clip_len'], about['frame_interval'], about['num_clips']) == (4, 3, 5)
    assert (about['input_shape'], about['precision']) == ([4, 40, 40], 'fp32')
    assert [each['type'] for each in about['pipeline']] == [each['type'] for each in pipeline]


def test_frames_spread_over_the_video_have_no_interval(model, monkeypatch):
    pipeline = [dict(type='UniformSample', clip_len=4, test_mode=True)]
    monkeypatch.setitem(model.cfg._cfg_dict, 'test_pipeline', pipeline)
    about = describe_model(model, (4, 40, 40))
    assert (about['clip_len'], about['frame_interval']) == (4, None)


@pytest.mark.parametrize(
    ('kind', 'by_frame', 'order'),
    [
        (Recognizer2D, True, 'batch, time, channel (RGB), height, width'),
        (Recognizer3D, False, 'batch, channel (RGB), time, height, width'),
    ],
)
def test_recognizer_of_a_users_own_class_has_the_inputs_of_its_base(model, kind, by_frame, order):
    own = copy.copy(model)
    own.__class__ = type('OwnRecognizer', (kind,), {})
    assert describe_model(own, (4, 40, 40))['input_order'] == order
    assert Classifier(own).by_frame is by_frame
