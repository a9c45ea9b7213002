"""Own clips: what a folder or a table means, and splits without leaks."""

import random
import shlex
from pathlib import Path

import pytest

from mmaction.data_preparation.file_lists import Clip
from mmaction.data_preparation.own_clips import (
    divide,
    find_own_clips,
    join_copies,
    prepare_clips,
    split_folds,
)
from tests.video_factory import write_video


def clips_of(sizes, per_group=1):
    """Clips of classes of these sizes, with groups of so many clips."""
    return [
        Clip(f'{label}/{i}.mp4', label, f'{label} {i // per_group}')
        for label, size in sizes.items()
        for i in range(size)
    ]


def random_clips(seed):
    """Clips of odd classes, whose groups are large, small and shared by classes."""
    rng = random.Random(seed)
    labels = [f'class {i}' for i in range(rng.randint(2, 5))]
    clips = []
    for label in labels:
        for i in range(rng.randint(6, 40)):
            shared = rng.random() < 0.1
            group = f'shared {rng.randint(0, 3)}' if shared else f'{label} {rng.randint(0, 9)}'
            clips.append(Clip(f'{label}/{i}.mp4', label, group))
    return clips


def check_no_leak(splits, clips):
    paths = [clip.path for members in splits.values() for clip in members]
    assert sorted(paths) == sorted(clip.path for clip in clips)
    owners = {}
    for name, members in splits.items():
        for clip in members:
            assert owners.setdefault(clip.group, name) == name


@pytest.mark.parametrize('seed', range(30))
def test_no_group_is_in_two_splits_and_no_clip_is_lost(seed):
    clips = random_clips(seed)
    check_no_leak(divide(clips, val=0.1, test=0.2, seed=seed), clips)


@pytest.mark.parametrize('seed', range(5))
def test_splits_are_stratified(seed):
    splits = divide(clips_of(dict(a=100, b=20, c=10)), val=0.1, test=0.2, seed=seed)
    for label, size in dict(a=100, b=20, c=10).items():
        counts = {k: sum(c.label == label for c in v) for k, v in splits.items()}
        assert counts == dict(train=0.7 * size, val=0.1 * size, test=0.2 * size)


def test_split_depends_on_the_seed_and_not_on_the_order():
    clips = clips_of(dict(a=30, b=30))
    tested = [
        {clip.path for clip in divide(order, val=0.1, test=0.2, seed=seed)['test']}
        for order, seed in ((clips, 0), (clips[::-1], 0), (clips, 1))
    ]
    assert tested[0] == tested[1] != tested[2]


@pytest.mark.parametrize(('size', 'counts'), [(2, [1, 0, 1]), (3, [2, 0, 1]), (4, [2, 1, 1])])
def test_class_of_few_clips_is_tested_and_not_validated(size, counts):
    splits = divide(clips_of(dict(a=size, b=30)), val=0.1, test=0.2, seed=0)
    assert [sum(clip.label == 'a' for clip in splits[name]) for name in splits] == counts


@pytest.mark.parametrize('seed', range(20))
def test_group_of_a_small_and_a_large_class_is_in_one_split(seed):
    clips = clips_of(dict(a=20))
    clips += [Clip(f'b/{i}.mp4', 'b', group) for i, group in enumerate(('a 0', 'a 1', 'b'))]
    check_no_leak(divide(clips, val=0.3, test=0.2, seed=seed), clips)


def test_given_splits_stay_and_val_is_tested_on_where_there_is_no_test():
    clips = [Clip(f'{s}{i}', x, f'{s}{i}', s) for s in ('train', 'val') for i, x in enumerate('ab')]
    splits = divide(clips, val=0.1, test=0.2, seed=0)
    assert {name: [c.path for c in members] for name, members in splits.items()} == dict(
        train=['train0', 'train1'], test=['val0', 'val1']
    )


@pytest.mark.parametrize(('sizes', 'message'), [
    (dict(a=1, b=10), "class 'a' has no clip to train on|too few"),
    (dict(a=10), "there is one class, 'a'"),
])  # fmt: skip
def test_too_little_to_train_on_is_an_error(sizes, message):
    clips = clips_of(sizes)
    if 'b' in sizes:
        clips[0] = Clip('a/0.mp4', 'a', 'a 0', 'test')
        clips[1:] = [Clip(c.path, c.label, c.group, 'train') for c in clips[1:]]
    with pytest.raises(ValueError, match=message):
        divide(clips, val=0.1, test=0.2, seed=0)


@pytest.mark.parametrize('seed', range(10))
def test_every_clip_is_tested_in_one_fold(seed):
    clips = clips_of(dict(a=21, b=9, c=33), per_group=3)
    folds = split_folds(clips, 3, val=0.1, seed=seed)
    tested = [clip.path for fold in folds for clip in fold['test']]
    assert sorted(tested) == sorted(clip.path for clip in clips)
    for fold in folds:
        check_no_leak(fold, clips)
        assert {clip.label for clip in fold['test']} == {'a', 'b', 'c'}
        assert {clip.label for clip in fold['train']} == {'a', 'b', 'c'}
        assert len(fold['test']) == pytest.approx(21, abs=6)


def test_more_folds_than_clips_of_a_class_is_an_error():
    with pytest.raises(ValueError, match=r"--folds 4: class 'a' has only 3 groups of clips"):
        split_folds(clips_of(dict(a=9, b=30), per_group=3), 4, val=0.1, seed=0)


# ---------------------------------------------------------------- folders and tables


@pytest.fixture(scope='module')
def videos(tmp_path_factory):
    """Two classes of three videos, one of them a copy, one broken."""
    folder = tmp_path_factory.mktemp('own') / 'clips'
    for label in ('run', 'jump'):
        (folder / label).mkdir(parents=True)
        for i in range(3):
            write_video(folder / label / f'{i}.mp4', num_frames=4 + i)
    (folder / 'run' / 'copy of 0.mp4').write_bytes((folder / 'run' / '0.mp4').read_bytes())
    (folder / 'jump' / 'broken.avi').write_bytes(b'no video')
    (folder / 'notes.txt').write_text('x')
    return folder


def test_folders_are_classes(videos):
    clips, folder = find_own_clips(videos)
    assert folder == videos
    assert sorted({clip.label for clip in clips}) == ['jump', 'run']
    assert len(clips) == 8


def test_split_folders_are_recognized(videos, tmp_path):
    (tmp_path / 'train').symlink_to(videos)
    (tmp_path / 'test').symlink_to(videos)
    (tmp_path / 'test').unlink()
    (tmp_path / 'val' / 'run').mkdir(parents=True)
    (tmp_path / 'val' / 'run' / 'x.mp4').write_bytes((videos / 'run' / '0.mp4').read_bytes())
    clips, _ = find_own_clips(tmp_path)
    assert {(clip.split, clip.label) for clip in clips} == {
        ('train', 'run'), ('train', 'jump'), ('val', 'run'),
    }  # fmt: skip


TABLES = {
    'clips.csv': 'path,label\nrun/0.mp4,run\njump/1.mp4,jump\n',
    'clips.tsv': 'path\tlabel\nrun/0.mp4\trun\njump/1.mp4\tjump\n',
    'clips.txt': 'run/0.mp4 run\n\njump/1.mp4 jump\n',
}


@pytest.mark.parametrize('name', TABLES)
def test_tables_name_clips_and_classes(videos, name):
    table = videos / name
    table.write_text(TABLES[name])
    clips, folder = find_own_clips(table)
    table.unlink()
    assert folder == videos
    assert [(c.path, c.label) for c in clips] == [('run/0.mp4', 'run'), ('jump/1.mp4', 'jump')]


def test_numbers_of_a_list_are_named_by_classes_txt(videos):
    table, names = videos / 'list.txt', videos / 'classes.txt'
    names.write_text('run\njump\n')
    table.write_text('run/copy of 0.mp4 0\njump/1.mp4 1\n')
    clips, _ = find_own_clips(table)
    table.write_text('run/0.mp4 2\n')
    with pytest.raises(ValueError, match=r'list\.txt:1: label 2, but classes\.txt names 2'):
        find_own_clips(table)
    table.unlink()
    names.unlink()
    assert [clip.label for clip in clips] == ['run', 'jump']


@pytest.mark.parametrize(
    ('text', 'error', 'message'),
    [
        ('run/9.mp4 run', FileNotFoundError, r'l\.txt:1: there is no clip'),
        ('path label\n', FileNotFoundError, r"clip '.*path'; if this line is a heading, remove it"),
        ('word', ValueError, r'l\.txt:1: expected "path label", found .word.'),
        ('', ValueError, 'names no clips'),
    ],
)
def test_faults_of_a_list_name_the_line(videos, text, error, message):
    table = videos / 'l.txt'
    table.write_text(text)
    with pytest.raises(error, match=message):
        find_own_clips(table)
    table.unlink()


def test_folder_without_videos_says_what_is_expected(tmp_path):
    (tmp_path / 'notes.doc').write_text('x')
    with pytest.raises(ValueError, match=r'no videos in .*found: \.doc.*FOLDER/CLASS/clip\.mp4$'):
        find_own_clips(tmp_path)


def test_folder_of_frames_says_how_frames_are_trained_on(tmp_path):
    folder = tmp_path / 'my clips'
    for name in ('run/0', 'jump/1'):
        (folder / name).mkdir(parents=True)
        (folder / name / 'img_00001.jpg').touch()
    with pytest.raises(ValueError, match=r'found: \.jpg') as caught:
        find_own_clips(folder)
    command = shlex.split(str(caught.value).split('"')[1])
    assert command[1:] == ['tools/data/build_file_list.py', str(folder), '--rawframes']
    assert Path(__file__).parents[2].joinpath(command[1]).is_file()


def test_a_folder_of_one_class_is_told_from_a_stray_video(videos, tmp_path):
    with pytest.raises(ValueError, match='no folder of a class') as caught:
        find_own_clips(videos / 'run')
    message = str(caught.value)
    assert "'0.mp4', '1.mp4', '2.mp4' and 1 more lie in no folder of a class" in message
    assert "If 'run' is one class, give the folder above it, which holds the folders" in message
    assert repr(str(videos)) in message
    for label in ('run', 'jump'):
        (tmp_path / label).symlink_to(videos / label)
    (tmp_path / 'stray.mp4').symlink_to(videos / 'run' / '0.mp4')
    with pytest.raises(ValueError, match='no folder of a class') as caught:
        find_own_clips(tmp_path)
    message = str(caught.value)
    assert message.startswith(f"{str(tmp_path)!r}: 'stray.mp4' lies in no folder of a class")
    assert f'Move it there or out of {str(tmp_path)!r}, or give a table' in message


def test_copies_are_one_group_and_other_labels_are_doubted(videos):
    clips, folder = find_own_clips(videos)
    joined, doubts = join_copies(clips, folder)
    groups = {clip.path: clip.group for clip in joined}
    assert groups['run/copy of 0.mp4'] == groups['run/0.mp4'] != groups['run/1.mp4']
    # 0.mp4 of both classes has the same content
    assert groups['jump/0.mp4'] == groups['run/0.mp4']
    assert doubts[0].startswith('one video is there as jump and as run, 3 times: ')
    for path in ('jump/0.mp4', 'run/0.mp4', 'run/copy of 0.mp4'):
        assert repr(path) in doubts[0]


def test_groups_that_share_copies_by_way_of_another_are_one(tmp_path):
    clips = []
    for number, (content, group) in enumerate([('1', 'p'), ('1', 'q'), ('2', 'r'), ('2', 'q')]):
        (tmp_path / f'{number}.mp4').write_text(content)
        clips.append(Clip(f'{number}.mp4', 'a', group))
    joined, _ = join_copies(clips, tmp_path)
    assert len({clip.group for clip in joined}) == 1


def test_copies_name_a_clip_of_each_class(tmp_path):
    clips = [Clip(f'a/{i}.mp4', 'a', f'a {i}') for i in range(9)] + [Clip('b/9.mp4', 'b', 'b')]
    for clip in clips:
        (tmp_path / clip.path).parent.mkdir(exist_ok=True)
        (tmp_path / clip.path).write_text('the same')
    _, (doubt,) = join_copies(clips, tmp_path)
    assert doubt.endswith(
        "10 times: 'a/0.mp4', 'b/9.mp4', 'a/1.mp4', 'a/2.mp4', 'a/3.mp4' and 5 more"
    )


def test_a_link_to_nothing_is_left_to_the_reader(tmp_path):
    for name in ('a/1.mp4', 'b/2.mp4'):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(name)
    (tmp_path / 'a/link.mp4').symlink_to(tmp_path / 'nothing.mp4')
    clips, folder = find_own_clips(tmp_path)
    joined, doubts = join_copies(clips, folder)
    assert ({clip.path for clip in joined}, doubts) == ({'a/1.mp4', 'a/link.mp4', 'b/2.mp4'}, [])


@pytest.mark.parametrize('as_is', [False, True])
def test_broken_videos_are_left_out_and_listed(videos, tmp_path, capsys, as_is):
    clips, folder = find_own_clips(videos)
    settings = dict(as_is=as_is, workers=2, timeout=60)
    kept, bad = prepare_clips(clips, folder, tmp_path / 'out', **settings)
    assert list(bad) == ['jump/broken.avi']
    assert len(kept) == 7
    root = folder if as_is else tmp_path / 'out' / 'videos'
    assert all((root / clip.path).is_file() for clip in kept)
    listed = (tmp_path / 'out' / 'left_out.txt').read_text()
    assert listed.startswith('jump/broken.avi\t')
    made = {p: p.stat().st_mtime_ns for p in (tmp_path / 'out').rglob('*.mp4')}
    assert prepare_clips(clips, folder, tmp_path / 'out', **settings)[0] == kept
    assert made == {p: p.stat().st_mtime_ns for p in (tmp_path / 'out').rglob('*.mp4')}


def test_files_that_differ_in_their_extension_do_not_overwrite_each_other(videos, tmp_path):
    for name in ('a.mp4', 'a.mov'):
        (tmp_path / name).write_bytes((videos / 'run' / '0.mp4').read_bytes())
    clips = [Clip(name, 'x', name) for name in ('a.mp4', 'a.mov')]
    kept, _ = prepare_clips(clips, tmp_path, tmp_path / 'out', as_is=False, workers=1, timeout=60)
    assert len({clip.path for clip in kept}) == 2
