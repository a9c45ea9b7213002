"""What mmaction2 has and this package leaves out says why."""

import pytest

from mmaction.config.scope import why_missing


@pytest.mark.parametrize(
    ('kind', 'reason'),
    [
        ('ResNet3dLayer', 'for detection of actions in space'),
        ('mmaction.BMN', 'for localization in time'),
        ('STGCN', 'for skeletons'),
        ('ImgAug', 'needs imgaug, which runs on no current NumPy'),
        ('mmcls.ResNeXt', 'needs mmcls, which is not installed'),
    ],
)
def test_reason_is_one_sentence(kind, reason):
    sentence = why_missing(kind)
    assert sentence.startswith(f'"{kind}" ')
    assert reason in sentence
    assert '\n' not in sentence


def test_names_that_are_merely_unknown_have_no_reason():
    assert why_missing('ResNet4d') is None
