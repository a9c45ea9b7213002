import pytest

from mmaction.utils.suggest import close_names, did_you_mean

KEYS = ['max_epochs', 'val_begin', 'val_interval']


@pytest.mark.parametrize(
    ('name', 'options', 'hint'),
    [
        ('max_epoch', {}, '; did you mean "max_epochs"?'),
        ('val', dict(count=2, cutoff=0.4), '; did you mean "val_begin" or "val_interval"?'),
        ('e', {}, ''),
        ('e', dict(list_known=True), '; known are max_epochs, val_begin, val_interval'),
        ('max_epoch', dict(cutoff=0.99), ''),
    ],
)
def test_hint_for_a_misspelt_name(name, options, hint):
    assert did_you_mean(name, reversed(KEYS), **options) == hint


def test_three_names_are_listed_nearest_first():
    known = ['resnet18', 'resnet101', 'resnet19x']
    assert close_names('resnet19', known, count=3) == ['resnet19x', 'resnet18', 'resnet101']
    assert did_you_mean('resnet19', known, count=3) == (
        '; did you mean "resnet19x", "resnet18" or "resnet101"?'
    )


def test_nothing_is_known():
    assert did_you_mean('x', [], list_known=True) == ''
