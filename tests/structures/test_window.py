import numpy as np

from mmaction.structures.window import Window


def test_label_is_the_best_class():
    assert Window(0, 8, np.float32([0.2, 0.7, 0.1])).label == 1
