"""Non-local blocks of TSM: where they are, and errors of their flags; frames that are halved.

Names, shapes and scores: tests/models/zoo.
"""

import pytest
import torch

from mmaction.models.backbones.resnet_tsm import NonLocalWrapper, ResNetTSM
from mmaction.registry import MODELS

CFG = dict(mode='gaussian')


def non_local_blocks(**options):
    model = ResNetTSM(18, num_segments=2, non_local_cfg=CFG, **options)
    return [name for name, part in model.named_modules() if isinstance(part, NonLocalWrapper)]


def test_flags_of_stages_or_of_blocks():
    assert non_local_blocks(non_local=(0, 1, (1, 0), 0)) == ['layer2.0', 'layer2.1', 'layer3.0']
    assert non_local_blocks() == []


def test_flags_beyond_the_last_stage_do_not_count():
    options = dict(num_stages=2, strides=(1, 2), dilations=(1, 1), out_indices=(1,))
    assert non_local_blocks(non_local=(0, (0, 1), 1, 1), **options) == ['layer2.1']
    model = ResNetTSM(18, num_segments=2, non_local=(0, 1, 1, 1), non_local_cfg=CFG, **options)
    assert model(torch.rand(2, 3, 32, 32)).shape == (2, 128, 4, 4)


@pytest.mark.parametrize('flags', [(0, 1), (0, (1, 0, 1), 0, 0)])
def test_flags_that_do_not_fit_are_named(flags):
    with pytest.raises(ValueError, match=r'non_local=.* does not go with stages of \(2, 2, 2, 2\)'):
        non_local_blocks(non_local=flags)


@pytest.mark.parametrize('options', [dict(shift_place='block'), dict(temporal_pool=True)])
def test_shift_before_blocks_and_halved_time_go_with_non_local_blocks(options):
    torch.manual_seed(0)
    model = ResNetTSM(18, num_segments=4, non_local=(0, 0, 1, 0), non_local_cfg=CFG, **options)
    for part in model.modules():
        if isinstance(part, NonLocalWrapper):  # which starts as the identity
            torch.nn.init.normal_(part.non_local_block.conv_out.conv.weight)
    model.eval()
    first, second = torch.rand(2, 4, 3, 32, 32)
    with torch.no_grad():
        both = model(torch.cat([first, second]))
        alone = torch.cat([model(first), model(second)])
    torch.testing.assert_close(both, alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('is_shift', [True, False])
def test_halved_frames_of_a_clip_are_averaged_with_no_other_clip(is_shift):
    segments = dict(num_segments=4, is_shift=is_shift, temporal_pool=True)
    model = MODELS.build(
        dict(
            type='Recognizer2D',
            backbone=dict(type='ResNetTSM', depth=18, **segments),
            cls_head=dict(type='TSMHead', num_classes=3, in_channels=512, **segments),
        )
    ).eval()
    clips = torch.rand(2, 4, 3, 32, 32)
    with torch.no_grad():
        both = model(clips, stage='head')
        alone = torch.cat([model(clip[None], stage='head') for clip in clips])
    assert both.shape == (2, 3)
    torch.testing.assert_close(both, alone, rtol=1e-4, atol=1e-4)
