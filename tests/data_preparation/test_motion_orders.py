"""Motion Orders: only the order of the motions tells the class."""

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from mmaction.data_preparation import motion_digits as md
from mmaction.data_preparation.motion_orders import CLASSES, ORDERS, trajectory


def poses_of(label, seed=5):
    return trajectory(np.random.default_rng(seed), label)


def motion_of_each_third(poses):
    """Which of the columns x, y, size and angle changes from frame to frame, in each third."""
    moves = np.abs(np.diff(poses, axis=0)) > 1e-9
    thirds = np.array_split(moves, 3)
    return [int(part[1:-1].all(0).argmax()) for part in thirds]


def test_each_class_is_another_order_of_the_same_motions():
    orders = [motion_of_each_third(poses_of(label)) for label in range(6)]
    assert len({*map(tuple, orders)}) == 6
    assert all(sorted(order) == [0, 1, 2] for order in orders)
    columns = dict(slide=0, rise=1, zoom=2)
    assert orders == [[columns[word] for word in name.split(' - ')] for name in CLASSES]


def test_first_and_last_frame_are_the_same_for_all_labels():
    clips = [
        md.render_clip(np.random.default_rng(9), md.digit_masks('val'), label, ORDERS)
        for label in range(6)
    ]
    for clip in clips[1:]:
        np.testing.assert_array_equal(clip[0], clips[0][0])
        np.testing.assert_array_equal(clip[-1], clips[0][-1])
        assert np.abs(clip[len(clip) // 2].astype(int) - clips[0][len(clip) // 2]).max() > 30


def test_motions_go_either_way():
    for column in (0, 1, 2):
        ways = {np.sign(poses_of(0, s)[-1, column] - poses_of(0, s)[0, column]) for s in range(20)}
        assert ways == {-1, 1}


def test_digit_stays_inside_the_frame():
    for seed in range(200):
        poses = poses_of(seed % 6, seed)
        half = 0.45 * poses[:, 2:3]
        assert (poses[:, :2] - half > 0).all()
        assert (poses[:, :2] + half < md.SIDE).all()


def moves(label, seed):
    """What changes from frame to frame: (3 n, 4)."""
    return np.diff(poses_of(label, seed), axis=0)


def test_labels_differ_by_the_times_of_the_same_changes():
    """So a model that forgets when they happen cannot tell them apart."""
    for seed in range(10):
        changes = [np.sort(moves(label, seed), axis=0) for label in range(6)]
        for other in changes[1:]:
            np.testing.assert_allclose(other, changes[0], atol=1e-9)


def test_order_is_told_by_the_whole_clip_and_half_told_by_its_first_third():
    def score(thirds):
        def features(i):
            found = np.abs(moves(i % 6, i)) / [1, 1, 0.5, 1]
            seen = found[: len(found) * thirds // 3]
            return np.stack([part.mean(0) for part in np.array_split(seen, 4 * thirds)]).ravel()

        x, y = np.stack([features(i) for i in range(600)]), np.arange(600) % 6
        return LogisticRegression(max_iter=2000).fit(x[:300], y[:300]).score(x[300:], y[300:])

    assert score(3) > 0.95
    assert score(1) == pytest.approx(0.5, abs=0.09)  # two of six labels are left


def test_single_frame_tells_little():
    """Boosted trees on the true pose; what is drawn beside it does not depend on the label."""
    poses = [poses_of(i % 6, i) for i in range(1500)]
    y = np.arange(1500) % 6
    for place, limit in ((0, 0.24), (1 / 6, 0.33), (1 / 2, 0.33), (1, 0.24)):
        x = np.stack([found[round(place * (len(found) - 1))] for found in poses])
        model = HistGradientBoostingClassifier(max_iter=30, max_depth=3).fit(x[:1000], y[:1000])
        assert model.score(x[1000:], y[1000:]) < limit


def test_build_writes_its_own_classes(tmp_path):
    manifest = md.build(tmp_path / 'set', 6, 6, workers=1, motions=ORDERS)
    assert manifest['dataset'] == 'Motion Orders'
    assert (tmp_path / 'set' / 'classes.txt').read_text().splitlines() == list(CLASSES)
    assert (tmp_path / 'set' / 'train.txt').read_text().split()[1::2] == list('012345')
    with pytest.raises(ValueError, match=r'no manifest\.json names Motion Digits'):
        md.build(tmp_path / 'set', 8, 8)
