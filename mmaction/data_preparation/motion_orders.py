"""Make Motion Orders: digits whose label is the order of three motions.

In every clip a handwritten digit slides (left or right), rises (or sinks) and zooms (in or out),
one after another, each for a third of the clip; the label is the order, one of six. Which way each
motion goes is drawn before the label is looked at. So

- all labels hold the same changes from frame to frame, at other times: a model that recognizes
  each motion and forgets when it happened, as an average over short clips does, stays at chance,
  1 in 6;
- the first and the last frame are the same pictures for all six labels. Within a motion, a place or
  a size halfway is likelier than elsewhere: the true pose of one frame gives at most 0.30;
- a clip of at most a third of the video shows one motion or one change of two. Known to be the
  first third, it leaves two labels of six: 50 %.

Only the whole of the video tells the order. Pictures, splits and files are those of
`motion_digits`.
"""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np

from .motion_digits import INK, SIDE, MotionSet

__all__ = ['CLASSES', 'ORDERS']

_COLUMNS = dict(slide=0, rise=1, zoom=2)  # of the poses
CLASSES = tuple(' - '.join(order) for order in permutations(_COLUMNS))

_STEPS = (8, 11)  # frames of a motion, all of a clip alike: each motion is a third of it
_SIZES = (17.0, 36.0)  # side of the digit's box, when half grown, in pixels
_WAYS = (20.0, 27.0)  # of a slide and a rise, in pixels
_GROWTHS = (1.6, 2.0)  # ratio of the larger size to the smaller


def trajectory(rng: np.random.Generator, label: int) -> np.ndarray:
    """Where the digit is in each frame: see `motion_digits.trajectory`."""
    frames = 3 * int(rng.integers(_STEPS[0], _STEPS[1] + 1)) + 1
    size = math.exp(rng.uniform(*np.log(_SIZES)))
    ways = dict(
        slide=rng.uniform(*_WAYS), rise=rng.uniform(*_WAYS), zoom=rng.uniform(*np.log(_GROWTHS))
    )
    moved = np.array([ways['slide'], ways['rise']])
    reach = (SIDE - moved) / 2 - INK * size * math.exp(ways['zoom'] / 2)
    x, y = SIDE / 2 + rng.uniform(-reach, reach)
    poses = np.tile([x, y, math.log(size), rng.uniform(0, 360)], (frames, 1))
    signs = rng.choice([-1, 1], size=3)

    thirds = np.linspace(0, 3, frames)
    for place, motion in enumerate(CLASSES[label].split(' - ')):
        done = np.clip(thirds - place, 0, 1) - 0.5
        sign = signs[list(_COLUMNS).index(motion)]
        poses[:, _COLUMNS[motion]] += sign * ways[motion] * done
    poses[:, 2] = np.exp(poses[:, 2])
    return poses


ORDERS = MotionSet('Motion Orders', 2, CLASSES, trajectory)
