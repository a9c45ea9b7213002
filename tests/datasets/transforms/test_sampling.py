"""Frame sampling against small computations of its own."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmaction.datasets.transforms import (
    DenseSampleFrames,
    SampleFrames,
    UniformSample,
    UntrimmedSampleFrames,
)


def sample(transform, total, start_index=0, **facts):
    results = transform(dict(total_frames=total, start_index=start_index, **facts))
    assert results['frame_inds'].dtype == np.int32
    assert results['frame_inds'].ndim == 1
    return results


def starts(transform, total, **facts):
    results = sample(transform, total, **facts)
    return results['frame_inds'].reshape(-1, results['clip_len'])[:, 0].tolist()


def test_spread_ends_at_the_last_possible_clip():
    assert starts(SampleFrames(32, 2, 4, test_mode=True), 100) == [0, 12, 25, 37]
    assert starts(SampleFrames(32, 2, 4, test_mode=True), 300) == [0, 79, 158, 237]
    assert starts(SampleFrames(32, 2, 1, test_mode=True), 300) == [118]


def test_segment_centers_match_published_test_frames():
    transform = SampleFrames(32, 2, 4, test_mode=True, test_sampling='segment_centers')
    assert starts(transform, 300) == [29, 88, 148, 207]
    assert starts(transform, 64) == [0, 0, 0, 0]
    assert starts(transform, 20) == [0, 0, 0, 0]


def test_frame_interval_and_start_index():
    results = sample(SampleFrames(4, 3, 2, test_mode=True), 40, start_index=1)
    assert results['frame_inds'].tolist() == [1, 4, 7, 10, 31, 34, 37, 40]
    assert (results['clip_len'], results['frame_interval'], results['num_clips']) == (4, 3, 2)


def test_single_frames_are_segment_centers():
    assert starts(SampleFrames(1, 1, 3, test_mode=True), 30) == [5, 15, 25]
    twice = SampleFrames(1, 1, 3, test_mode=True, twice_sample=True)
    assert starts(twice, 30) == [5, 15, 25, 0, 10, 20]


@pytest.mark.parametrize('num_clips', [1, 2, 3])
def test_twice_sample_with_longer_clips_stays_inside(num_clips):
    transform = SampleFrames(8, 2, num_clips, test_mode=True, twice_sample=True)
    expected = np.round(np.linspace(0, 100 - 15, 2 * num_clips)).tolist()
    assert starts(transform, 100) == expected
    frames = sample(transform, 100)['frame_inds'].reshape(-1, 8)
    assert (np.diff(frames, axis=1) == 2).all()
    centers = SampleFrames(
        8, 2, 2, test_mode=True, twice_sample=True, test_sampling='segment_centers'
    )
    assert starts(centers, 100) == [21, 63, 0, 42]


def test_short_videos_loop_or_repeat_last():
    loop = SampleFrames(8, 1, test_mode=True)
    assert sample(loop, 5)['frame_inds'].tolist() == [0, 1, 2, 3, 4, 0, 1, 2]
    still = SampleFrames(8, 1, out_of_bound_opt='repeat_last', test_mode=True)
    assert sample(still, 5)['frame_inds'].tolist() == [0, 1, 2, 3, 4, 4, 4, 4]
    by_two = SampleFrames(4, 2, out_of_bound_opt='repeat_last', test_mode=True)
    assert sample(by_two, 4)['frame_inds'].tolist() == [0, 2, 2, 2]


@settings(max_examples=150, deadline=None)
@given(
    total=st.integers(1, 300),
    clip_len=st.integers(1, 16),
    interval=st.integers(1, 4),
    num_clips=st.integers(1, 5),
    start_index=st.integers(0, 1),
    options=st.fixed_dictionaries(
        dict(
            test_mode=st.booleans(),
            keep_tail_frames=st.booleans(),
            temporal_jitter=st.booleans(),
            twice_sample=st.booleans(),
            out_of_bound_opt=st.sampled_from(['loop', 'repeat_last']),
            target_fps=st.sampled_from([None, 15, 30]),
            test_sampling=st.sampled_from(['spread', 'segment_centers']),
        )
    ),
)
def test_indices_stay_inside_the_video(total, clip_len, interval, num_clips, start_index, options):
    transform = SampleFrames(clip_len, interval, num_clips, **options)
    results = sample(transform, total, start_index, avg_fps=25.0)
    frames = results['frame_inds'] - start_index
    twice = options['test_mode'] and options['twice_sample']
    assert len(frames) == clip_len * num_clips * (2 if twice else 1)
    assert frames.min() >= 0
    assert frames.max() < total


def test_training_samples_one_clip_per_segment():
    transform = SampleFrames(4, 2, num_clips=3)
    seen = np.array([starts(transform, 50) for _ in range(400)])
    # 43 possible starts in three segments of 14; what is left over is never drawn.
    for segment in range(3):
        assert set(seen[:, segment]) == set(range(14 * segment, 14 * segment + 14))


def test_training_with_fewer_starts_than_clips():
    np.random.seed(3)
    transform = SampleFrames(4, 1, num_clips=8)
    # 7 possible starts for 8 clips: sorted draws.
    np.random.seed(0)
    expected = np.sort(np.random.randint(7, size=8)).tolist()
    np.random.seed(0)
    assert starts(transform, 10) == expected
    # More clips than frames: an even spread.
    assert starts(SampleFrames(4, 1, num_clips=8), 8) == [0, 1, 1, 2, 2, 3, 4, 4]
    assert starts(SampleFrames(4, 1, num_clips=8), 3) == [0] * 8


def test_keep_tail_frames_reaches_the_last_frame():
    with_tail = SampleFrames(1, num_clips=3, keep_tail_frames=True)
    without = SampleFrames(1, num_clips=3)
    last = [max(starts(t, 11)[-1] for _ in range(300)) for t in (with_tail, without)]
    assert last == [10, 8]


def test_jitter_shifts_each_frame_by_less_than_an_interval():
    transform = SampleFrames(64, 4, test_mode=True, temporal_jitter=True)
    frames = sample(transform, 300)['frame_inds']
    shifts = frames - (np.arange(64) * 4 + 23)
    assert set(shifts) == {0, 1, 2, 3}


def test_target_fps_spans_the_same_time():
    # 8 frames of 2 at 30 fps are 16/30 s; at 60 fps 32 frames.
    frames = sample(SampleFrames(8, 2, test_mode=True, target_fps=30), 100, avg_fps=60.0)
    offsets = (frames['frame_inds'] - frames['frame_inds'][0]).tolist()
    assert offsets == np.linspace(0, 31, 8).astype(int).tolist()
    assert frames['frame_inds'][0] == 34
    plain = sample(SampleFrames(8, 2, test_mode=True, target_fps=30), 100)
    assert np.ptp(plain['frame_inds']) == 15
    # A third of the 88 possible starts, in whole frames.
    several = SampleFrames(8, 2, 4, test_mode=True, target_fps=30)
    assert starts(several, 104, avg_fps=30.0) == [0, 29, 58, 87]


def test_dense_sampling_stays_in_sample_range():
    dense = DenseSampleFrames(4, 1, num_clips=2, sample_range=20, num_sample_positions=3)
    first, second = starts(dense, 100)
    assert second - first == 10
    # Of the stretches that begin at 0 to 3, the last one is never drawn, as in mmaction2.
    assert {starts(dense, 23)[0] for _ in range(200)} == {0, 1, 2}
    tested = DenseSampleFrames(4, 1, 2, 20, num_sample_positions=3, test_mode=True)
    assert starts(tested, 100) == [0, 10, 40, 50, 80, 90]
    assert sample(tested, 100)['num_clips'] == 2
    assert starts(tested, 15) == [0, 10, 0, 10, 0, 10]


def test_uniform_sample_one_frame_per_segment():
    results = sample(UniformSample(4), 41, start_index=1)
    low = np.array([1, 11, 21, 31])
    assert ((results['frame_inds'] >= low) & (results['frame_inds'] <= low + 10)).all()
    assert results['frame_interval'] is None
    one = sample(UniformSample(4, num_clips=1, test_mode=True), 41)
    assert one['frame_inds'].tolist() == [5, 15, 25, 35]
    two = sample(UniformSample(2, num_clips=3, test_mode=True), 41)
    assert two['frame_inds'].tolist() == [5, 25, 10, 30, 15, 35]


def test_untrimmed_sampling_steps_through_the_video():
    results = sample(UntrimmedSampleFrames(clip_len=3, clip_interval=8, frame_interval=4), 20)
    assert results['frame_inds'].tolist() == [0, 4, 8, 8, 12, 16]
    assert (results['num_clips'], results['clip_interval']) == (2, 8)
    ends = sample(UntrimmedSampleFrames(clip_len=3, clip_interval=4, frame_interval=3), 4, 1)
    assert ends['frame_inds'].tolist() == [1, 3, 4]
    with pytest.raises(ValueError, match='a video of 3 frames is too short for clip_interval=16'):
        sample(UntrimmedSampleFrames(), 3)


@pytest.mark.parametrize(
    ('make', 'message'),
    [
        (lambda: SampleFrames(0), 'clip_len must be positive, found 0'),
        (lambda: SampleFrames(4, -1), 'frame_interval must be positive'),
        (lambda: SampleFrames(4, out_of_bound_opt='pad'), "'loop' or 'repeat_last', found 'pad'"),
        (lambda: SampleFrames(4, test_sampling='uniform'), "'segment_centers', found 'uniform'"),
        (lambda: SampleFrames(4, target_fps=0), 'target_fps must be positive'),
        (lambda: DenseSampleFrames(4, sample_range=0), 'sample_range must be positive'),
        (lambda: UniformSample(4, num_clips=2), 'more than one clip needs test_mode=True'),
        (lambda: UntrimmedSampleFrames(clip_interval=0), 'clip_interval must be positive'),
        (
            lambda: SampleFrames(32, test_sampling='segment_centres'),
            "test_sampling='segment_centres' is now spelled 'segment_centers'",
        ),
    ],
)
def test_wrong_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_repr():
    assert repr(SampleFrames(32, 2)) == (
        'SampleFrames(clip_len=32, frame_interval=2, num_clips=1, temporal_jitter=False, '
        'twice_sample=False, out_of_bound_opt=loop, test_mode=False)'
    )
    assert repr(DenseSampleFrames(8)) == (
        'DenseSampleFrames(clip_len=8, frame_interval=1, num_clips=1, sample_range=64, '
        'num_sample_positions=10, temporal_jitter=False, out_of_bound_opt=loop, test_mode=False)'
    )
