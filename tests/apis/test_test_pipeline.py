"""The test pipeline of a config, for videos, folders of frames and arrays."""

import pytest
from mmengine.config import Config

from mmaction.apis.test_pipeline import pipeline_steps, steps_for

STEPS = [
    dict(type='DecordInit'),
    dict(type='SampleFrames', clip_len=4, num_clips=10, twice_sample=True),
    dict(type='DecordDecode'),
    dict(type='ThreeCrop', crop_size=32),
    dict(type='PackActionInputs'),
]


def names(steps):
    return [step['type'] for step in steps]


def test_pipeline_of_a_config():
    loader = dict(dataset=dict(pipeline=STEPS[:2]))
    assert pipeline_steps(Config(dict(test_pipeline=STEPS, test_dataloader=loader))) == STEPS
    assert pipeline_steps(Config(dict(test_dataloader=loader))) == STEPS[:2]
    with pytest.raises(ValueError, match=r'neither test_pipeline nor test_dataloader\.dataset'):
        pipeline_steps(Config(dict(test_dataloader=None)))


def test_decoding_fits_the_input():
    assert steps_for(STEPS, 'video') == STEPS
    for kind, decoder in (('rawframes', 'RawFrameDecode'), ('array', 'ArrayDecode')):
        changed = steps_for(STEPS, kind)
        assert names(changed) == ['SampleFrames', decoder, 'ThreeCrop', 'PackActionInputs']
        assert names(steps_for(changed, 'video')) == names([STEPS[0], *STEPS[1:]])[:1] + names(
            STEPS[1:]
        )
    with pytest.raises(ValueError, match='no decoding step; its steps are SampleFrames, ThreeCrop'):
        steps_for([STEPS[1], STEPS[3]], 'video')


def test_one_view_is_the_middle_clip_and_crop():
    one = steps_for(STEPS, 'video', one_view=True)
    assert one[1] == dict(type='SampleFrames', clip_len=4, num_clips=1)
    assert one[3] == dict(type='CenterCrop', crop_size=32)
    assert STEPS[1]['num_clips'] == 10  # what is given stays


def test_segments_of_a_2d_model_are_no_views():
    steps = [dict(STEPS[1], clip_len=1, num_clips=8), STEPS[2]]
    assert steps_for(steps, 'video', one_view=True)[0]['num_clips'] == 8
