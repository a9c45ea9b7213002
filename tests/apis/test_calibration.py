"""Clips that int8 is calibrated on, and the check of its scores."""

import pytest
import torch

from mmaction.apis import init_recognizer
from mmaction.apis.calibration import (
    Calibration,
    check_agreement,
    listed_clips,
    split_clips,
)
from mmaction.errors import ConfigError
from tests.video_factory import write_video

CONFIG = 'configs/recognition/dualformer/dualformer_pico_motion_digits.py'


@pytest.fixture(scope='module')
def model():
    return init_recognizer(CONFIG, None, device='cpu')


@pytest.fixture(scope='module')
def listed(tmp_path_factory):
    """Nine videos of which the third is broken, with the labels 0 to 8."""
    folder = tmp_path_factory.mktemp('videos')
    for i in range(9):
        write_video(folder / f'{i}.mp4', num_frames=20 + 2 * i, width=96, height=64)
    (folder / '2.mp4').write_bytes(b'no video')
    path = folder / 'list.txt'
    path.write_text(''.join(f'{i}.mp4 {i}\n' for i in range(9)))
    return str(path)


def test_clips_are_spread_over_the_list_and_broken_ones_named(model, listed, capsys):
    found = list(listed_clips(model, Calibration(listed, count=5)))
    assert [int(label) for _, label in found] == [0, 4, 6, 8]
    assert {tuple(views.shape) for views, _ in found} == {(1, 3, 8, 40, 40)}
    assert '2.mp4' in capsys.readouterr().err


@pytest.mark.parametrize(('count', 'used', 'held'), [(64, 6, 2), (5, 5, 3), (4, 4, 4), (1, 1, 7)])
def test_clips_of_the_check_are_others(model, listed, count, used, held):
    clips, unseen = split_clips(model, Calibration(listed, count=count))
    assert (len(clips), len(unseen)) == (used, held)
    assert not any(torch.equal(a, b) for a in clips for b in unseen)


def test_a_single_clip_serves_for_both(model, listed, tmp_path):
    path = tmp_path / 'list.txt'
    path.write_text('1.mp4 0\n')
    clips, unseen = split_clips(model, Calibration(str(path), prefix=listed.rpartition('/')[0]))
    assert len(clips) == len(unseen) == 1


def test_a_list_of_which_nothing_can_be_read(model, tmp_path):
    path = tmp_path / 'list.txt'
    path.write_text('a.mp4 0\nb.mp4 1\n')
    with pytest.raises(ConfigError, match=r'list\.txt: none of the 2 clips tried can be read'):
        split_clips(model, Calibration(str(path)))


SCORES = torch.tensor([0.7, 0.2, 0.1])


def log(scores):
    return scores.log() - scores.log().mean(-1, keepdim=True)


def test_equal_scores_agree():
    agreement = check_agreement(lambda clip: (SCORES, SCORES), [None] * 3, log)
    assert (agreement.cosine, agreement.logit_cosine) == (pytest.approx(1), pytest.approx(1))
    assert (agreement.same, agreement.count) == (1, 3)


@pytest.mark.parametrize(
    'wrong',
    [
        SCORES.flip(0),
        SCORES * float('nan'),
        # nearly the same scores of classes that are nearly equal: only their logits tell
        torch.tensor([0.334, 0.333, 0.333]),
    ],
)
def test_scores_that_differ_are_refused(wrong):
    right = SCORES if wrong is not None and not 0.33 < wrong[0] < 0.34 else wrong.flip(0)
    with pytest.raises(ValueError, match=r'below 0\.99'):
        check_agreement(lambda clip: (wrong, right), [None], log)
    # one of two clips is enough
    both = iter([(right, right), (wrong, right)])
    with pytest.raises(ValueError, match='on 2 clips'):
        check_agreement(lambda clip: next(both), [None] * 2, log)
