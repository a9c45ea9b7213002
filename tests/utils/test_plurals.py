"""Numbers of things in messages."""

from mmaction.utils.plurals import how_many


def test_one_is_singular_and_others_are_plural():
    assert [how_many(n, 'epoch') for n in (0, 1, 2)] == ['0 epochs', '1 epoch', '2 epochs']
    assert how_many(1, 'class', 'classes') == '1 class'
    assert how_many(20, 'class', 'classes') == '20 classes'
