from types import SimpleNamespace

from mmaction.engine.hooks import unreadable_clips
from mmaction.engine.hooks.unreadable_clips import UnreadableClipsHook
from mmaction.structures import ActionDataSample


def sample(**facts):
    return dict(data_samples=[ActionDataSample(metainfo=facts), ActionDataSample()])


def unreadable_runner(tmp_path, said):
    logger = SimpleNamespace(warning=said.append)
    return SimpleNamespace(work_dir=str(tmp_path), logger=logger, epoch=2, iter=30)


def test_unreadable_clips_are_logged_once_and_counted(tmp_path):
    said = []
    runner = unreadable_runner(tmp_path, said)
    hook = UnreadableClipsHook()
    hook.before_run(runner)
    bad = sample(replaced=[('a b.mp4', 'no frames'), ('c.mp4', 'took longer than 60 s')])
    for index in range(2):
        hook.after_train_iter(runner, index, bad)
    told = ['cannot be read: a b.mp4 (no frames)', 'cannot be read: c.mp4 (took longer than 60 s)']
    assert said == told
    hook.after_train_iter(runner, 2, sample(decoder_fallback=('odd.mp4', 'no seek')))
    hook.after_train_epoch(runner)
    assert said[2] == 'read by PyAV, because the decoder failed: odd.mp4 (no seek)'
    listed = tmp_path / 'unreadable.txt'
    assert listed.read_text() == 'a b.mp4\tno frames\nc.mp4\ttook longer than 60 s\n'
    assert said[3].startswith('epoch 3: 4 clips could not be read, replaced by others')
    assert str(listed) in said[3]
    assert said[4] == 'epoch 3: 1 clip read by PyAV, because the decoder failed'
    hook.after_train_epoch(runner)
    assert len(said) == 5


def test_resumed_run_extends_unreadable_list(tmp_path):
    said = []
    runner = unreadable_runner(tmp_path, said)
    (tmp_path / 'unreadable.txt').write_text('a.mp4\tno frames\n')
    hook = UnreadableClipsHook()
    hook.before_run(runner)
    hook.after_test_iter(runner, 0, sample(unreadable='no frames', filename='a.mp4'))
    hook.after_test_iter(runner, 1, sample(unreadable='cut off', filename='b.mp4'))
    hook.after_test_epoch(runner)
    assert said[0] == 'cannot be read: b.mp4 (cut off)'
    assert said[1].startswith('test: 2 clips could not be read, counted as wrong')
    assert (tmp_path / 'unreadable.txt').read_text() == 'a.mp4\tno frames\nb.mp4\tcut off\n'


def test_ranks_share_what_they_found_at_intervals_and_never_within_validation(
    tmp_path, monkeypatch
):
    """Ranks have equally many steps of training, but not of validation: waiting would hang."""
    monkeypatch.setattr(unreadable_clips, 'get_world_size', lambda: 2)
    said = []
    runner = unreadable_runner(tmp_path, said)
    hook = UnreadableClipsHook(interval=2)
    bad = sample(replaced=[('a.mp4', 'no frames')])
    hook.after_train_iter(runner, 0, bad)
    assert said == []
    hook.after_train_iter(runner, 1, bad)
    assert said == ['cannot be read: a.mp4 (no frames)']
    for index in range(4):
        hook.after_val_iter(runner, index, sample(unreadable='cut off', filename='b.mp4'))
    assert len(said) == 1
    hook.after_val_epoch(runner)
    assert said[1] == 'cannot be read: b.mp4 (cut off)'
