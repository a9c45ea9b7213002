"""Errors that users mend: what else they count as, and what they say."""

import pickle

import pytest

from mmaction import errors


@pytest.mark.parametrize(
    ('name', 'base'),
    [
        ('ConfigError', ValueError),
        ('TrainingError', RuntimeError),
        ('DivergedError', errors.TrainingError),
        ('CheckpointError', RuntimeError),
        ('MissingCheckpointError', FileNotFoundError),
        ('FileWriteError', OSError),
        ('UnreadableVideoError', RuntimeError),
    ],
)
def test_errors_are_of_pythons_own_types(name, base):
    assert name in errors.__all__
    assert issubclass(getattr(errors, name), base)


def test_an_unreadable_video_names_file_and_reason_after_pickling():
    """Workers of a loader send it to the main process."""
    error = pickle.loads(pickle.dumps(errors.UnreadableVideoError('a b.mp4', 'cut off')))
    assert (error.filename, error.reason) == ('a b.mp4', 'cut off')
    assert str(error) == "'a b.mp4' cannot be read: cut off"
    assert str(errors.UnreadableVideoError('a.mp4')) == 'a.mp4'


def test_a_failed_write_says_its_sentence_alone():
    assert str(errors.FileWriteError(28, 'x.pth cannot be written: the disk is full')) == (
        'x.pth cannot be written: the disk is full'
    )
