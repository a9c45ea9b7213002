"""Lists from folders and CSV files: labels, splits by group, and what is refused."""

from collections import Counter

import pytest

from mmaction.data_preparation.file_lists import Clip, split_by_group
from mmaction.datasets.annotations import ListFormat, read_list
from mmaction.utils.class_names import class_names_beside
from tools.data import build_file_list


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def entries(file, **counts):
    return [tuple(entry.values()) for entry in read_list(str(file), ListFormat('path', counts))]


def run(*args):
    build_file_list.main([str(arg) for arg in args])


def fails(capsys, *args):
    with pytest.raises(SystemExit) as caught:
        run(*args)
    assert caught.value.code
    return capsys.readouterr().err


def test_folder_names_become_classes(tmp_path, capsys, odd_names):
    classes = ["-it's (a)", 'run; & #', 'walk fast']
    touch(tmp_path, *(f'{label}/{name}' for label in classes for name in odd_names))
    touch(tmp_path, 'walk fast/notes.doc', 'walk fast/._clip.mp4')
    run(tmp_path)
    assert class_names_beside(str(tmp_path / 'train.txt')) == classes
    lists = {split: entries(tmp_path / f'{split}.txt') for split in ('train', 'val')}
    for path, label in lists['train'] + lists['val']:
        assert path.startswith(f'{classes[label]}/')
        assert (tmp_path / path).exists()
    assert len({path for path, _ in lists['train'] + lists['val']}) == 15
    assert Counter(label for _, label in lists['val']) == {0: 1, 1: 1, 2: 1}
    out, err = capsys.readouterr()
    assert '3 classes; 12 train, 3 val' in out
    assert 'other files were left out: 1 .doc' in err
    assert 'warning' not in err


def test_folders_without_clips_are_named(tmp_path, capsys):
    touch(tmp_path, *(f'{label}/{n}.mp4' for label in 'ab' for n in range(10)), 'c/one.gif')
    (tmp_path / 'd').mkdir()
    run(tmp_path)
    out, err = capsys.readouterr()
    assert '2 classes' in out
    assert "warning: without clips, so no class: 'c', 'd'\n" in err


def test_second_run_is_identical_and_foreign_lists_are_kept(tmp_path, capsys):
    touch(tmp_path, *(f'{label}/{n}.mp4' for label in 'ab' for n in range(10)))
    run(tmp_path)
    first = (tmp_path / 'val.txt').read_text()
    run(tmp_path)
    assert (tmp_path / 'val.txt').read_text() == first
    assert 'lists other clips or labels: add --overwrite' in fails(capsys, tmp_path, '--seed', 1)
    assert (tmp_path / 'val.txt').read_text() == first
    run(tmp_path, '--seed', 1, '--overwrite')
    assert (tmp_path / 'val.txt').read_text() != first


def test_groups_are_not_split():
    clips = [
        Clip(f'{label}{group}{n}', label, f'{group}') for label in 'abc' for group in range(25)
        for n in range(4 + group % 3)
    ]  # fmt: skip
    for seed in range(5):
        split = split_by_group(clips, 0.2, seed)
        assert not {c.group for c in split['train']} & {c.group for c in split['val']}
        total = Counter(clip.label for clip in clips)
        for label, count in Counter(clip.label for clip in split['val']).items():
            assert abs(count - 0.2 * total[label]) <= 3
        assert len(split['train']) + len(split['val']) == len(clips)
        shuffled = split_by_group(clips[::-1], 0.2, seed)
        assert {c.path for c in shuffled['val']} == {c.path for c in split['val']}
    assert split_by_group(clips, 0.2, 0)['val'] != split_by_group(clips, 0.2, 1)['val']
    assert split_by_group(clips, 0.0, 0)['val'] == []


def test_small_classes_are_in_train_and_val():
    clips = [Clip(f'a{n}', 'a', f'a{n // 10}') for n in range(20)]
    clips += [Clip('b0', 'b', 'b0'), Clip('b1', 'b', 'b1'), Clip('c', 'c', 'c')]
    split = split_by_group(clips, 0.1, 0)
    assert Counter(clip.label for clip in split['val']) == {'a': 10, 'b': 1}
    assert Counter(clip.label for clip in split['train']) == {'a': 10, 'b': 1, 'c': 1}


@pytest.mark.parametrize(('clips', 'part', 'in_val'), [(8, 0.2, 2), (7, 0.2, 1), (12, 0.3, 4)])
def test_size_of_the_validation_split_is_rounded(clips, part, in_val):
    """1.6 clips are 2, 1.4 are 1, 3.6 are 4."""
    split = split_by_group([Clip(f'a{n}', 'a', f'a{n}') for n in range(clips)], part, 0)
    assert (len(split['val']), len(split['train'])) == (in_val, clips - in_val)


def test_validation_never_takes_a_whole_class():
    clips = [Clip('a0', 'a', 'a0'), Clip('a1', 'a', 'a1')]
    assert {side: len(part) for side, part in split_by_group(clips, 0.9, 0).items()} == {
        'train': 1,
        'val': 1,
    }


def test_group_by_regular_expression(tmp_path, capsys):
    names = [
        f'{label}/v_{label}_g{g:02}_c{c}.avi' for label in 'ab' for g in range(5) for c in 'xy'
    ]
    touch(tmp_path, *names)
    run(tmp_path, '--group', r'_g(\d+)_', '--val', 0.2)
    groups = {
        split: {path[6:9] for path, _ in entries(tmp_path / f'{split}.txt')}
        for split in ('train', 'val')
    }
    assert (len(groups['train']), len(groups['val'])) == (4, 1)
    assert not groups['train'] & groups['val']
    error = fails(capsys, tmp_path, '--group', r'_h(\d+)_', '--overwrite')
    assert "finds nothing in 'a/v_a_g00_cx.avi'" in error
    assert 'is no regular expression' in fails(capsys, tmp_path, '--group', '(')


def test_csv_with_groups_and_numbers_as_labels(tmp_path, capsys, odd_names):
    touch(tmp_path, *odd_names)
    quoted = ['"' + name.replace('"', '""') + '"' for name in odd_names]
    lines = ['path,label,group', *(f'{q},{(10, 9)[i % 2]},' for i, q in enumerate(quoted))]
    file = tmp_path / 'labels.csv'
    file.write_bytes('\r\n'.join(lines).encode('utf-8', 'surrogateescape'))
    run(tmp_path, '--csv', file, '--out', tmp_path / 'lists')
    assert (tmp_path / 'lists' / 'classes.txt').read_text() == '9\n10\n'
    found = entries(tmp_path / 'lists' / 'train.txt') + entries(tmp_path / 'lists' / 'val.txt')
    assert dict(found) == {name: (1, 0)[i % 2] for i, name in enumerate(odd_names)}


def test_groups_of_a_csv_stay_together(tmp_path):
    rows = [(f'{label}{group}{n}.mp4', label, group) for label in 'ab' for group in range(9)
            for n in range(2)]  # fmt: skip
    touch(tmp_path, *(path for path, *_ in rows))
    lines = [f'{path},{label},person {g}{" " * (path[2] == "1")}' for path, label, g in rows]
    (tmp_path / 'labels.csv').write_text('\n'.join(['path,label,group', *lines]))
    for seed in range(5):
        run(tmp_path, '--csv', tmp_path / 'labels.csv', '--seed', seed, '--overwrite')
        train, val = (
            {path[1] for path, _ in entries(tmp_path / f'{split}.txt')}
            for split in ('train', 'val')
        )
        assert len(train) + len(val) == len(train | val) == 9


def test_csv_with_splits_and_class_order(tmp_path, capsys):
    touch(tmp_path, 'a.mp4', 'b.mp4', 'c.mp4')
    file = tmp_path / 'labels.tsv'
    file.write_text('label\tpath\tsplit\nrun\ta.mp4\ttrain\nwalk\tb.mp4\tval\nrun\tc.mp4\ttest\n')
    (tmp_path / 'names').write_text('walk\nrun\nsit\n')
    run(tmp_path, '--csv', file, '--classes', tmp_path / 'names')
    lists = {s: entries(tmp_path / f'{s}.txt') for s in ('train', 'val', 'test')}
    assert lists == {'train': [('a.mp4', 1)], 'val': [('b.mp4', 0)], 'test': [('c.mp4', 1)]}
    assert (tmp_path / 'classes.txt').read_text() == 'walk\nrun\nsit\n'
    assert 'no clip in train of: walk, sit' in capsys.readouterr().err
    (tmp_path / 'names').write_text('walk\n')
    error = fails(capsys, tmp_path, '--csv', file, '--classes', tmp_path / 'names')
    assert 'labels.tsv:2: ' in error
    assert "has no class 'run'" in error


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('a.mp4,run\n', 'labels.csv:1: expected a header with the columns path,label'),
        ('a.mp4,run\n', 'found \'a.mp4,run\', which is a clip: add the line "path,label" above it'),
        ('file,class\na.mp4,run\n', "found 'file,class': rename these columns"),
        (f'{"x" * 300},run\n', "x,run': rename these columns"),
        (
            'path;label\na.mp4;run\n',
            "with commas between them (.csv); found 'path;label', with semicolons",
        ),
        ('path\tlabel\na.mp4\trun\n', 'with tabs between the columns'),
        ('Path,PATH,label\na.mp4,b,run\n', "found 'Path,PATH,label': rename"),
        ('', "with commas between them (.csv); found ''\n"),
        ('path,label\na.mp4,run\nb.mp4,run\n', 'labels.csv:3: there is no clip'),
        ('path,label\na.mp4,\n', "labels.csv:2: expected ['path', 'label'], found ['a.mp4', '']"),
        ('path,label\na.mp4,x,y\n', "labels.csv:2: expected ['path', 'label']"),
        ('path,label\na.mp4,x\na.mp4,x\n', 'was named in'),
        ('path,label,split\na.mp4,x,dev\n', 'split must be train, val or test'),
        ('path,label\n', 'there are no videos'),
    ],
)
def test_a_malformed_csv_is_named(tmp_path, capsys, text, message):
    touch(tmp_path, 'a.mp4')
    (tmp_path / 'labels.csv').write_text(text)
    assert message in fails(capsys, tmp_path, '--csv', tmp_path / 'labels.csv')


@pytest.mark.parametrize('header', ['Path, LABEL ,Split,x', 'path,label,split,Path'])
def test_capitals_in_the_header_of_a_csv(tmp_path, header):
    touch(tmp_path, 'a.mp4', 'b.mp4')
    file = tmp_path / 'labels.csv'
    file.write_text(f'{header}\na.mp4,run,train,c.mp4\nb.mp4,run,val,c.mp4\n')
    run(tmp_path, '--csv', file)
    assert entries(tmp_path / 'train.txt') == [('a.mp4', 0)]


def test_share_of_a_class_is_rounded(tmp_path):
    """Of 8 clips, 0.2 are 1.6: two."""
    touch(tmp_path, *(f'{c}/{n}.mp4' for c in 'ab' for n in range(8)))
    run(tmp_path, '--val', 0.2)
    labels = [label for _, label in entries(tmp_path / 'val.txt')]
    assert sorted(labels) == [0, 0, 1, 1]


def test_split_folders(tmp_path, capsys):
    touch(tmp_path, 'train/a/1.mp4', 'train/b/deep/2.mp4', 'val/b/3.mp4')
    assert 'add --split-folders' in fails(capsys, tmp_path)
    run(tmp_path, '--split-folders')
    assert 'without clips' not in capsys.readouterr().err
    assert entries(tmp_path / 'train.txt') == [('train/a/1.mp4', 0), ('train/b/deep/2.mp4', 1)]
    assert entries(tmp_path / 'val.txt') == [('val/b/3.mp4', 1)]
    touch(tmp_path, 'dev/a/4.mp4')
    assert 'expected folders train, val' in fails(capsys, tmp_path, '--split-folders')


def test_folders_of_images(tmp_path):
    touch(tmp_path, *(f'{c}/clip {n}/img_{i:05}.jpg' for c in 'ab' for n in (0, 1) for i in (1, 2)))
    # What file managers and optical flow leave beside the frames is not counted.
    beside = ('._img_00001.jpg', 'Thumbs.db', '.DS_Store', 'flow_x_00001.jpg', 'flow_y_00001.jpg')
    touch(tmp_path, *(f'a/clip 0/{name}' for name in beside))
    run(tmp_path, '--rawframes', '--val', 0.5)
    found = entries(tmp_path / 'train.txt', total_frames=1)
    found += entries(tmp_path / 'val.txt', total_frames=1)
    expected = [(f'{c}/clip {n}', 2, label) for label, c in enumerate('ab') for n in (0, 1)]
    assert sorted(found) == expected


@pytest.mark.parametrize(
    ('name', 'message'),
    [('img_00004.jpg', 'frames are missing'), ('cover 1.jpg', '1 images have other names')],
)
def test_faulty_folder_of_images_is_an_error(tmp_path, capsys, name, message):
    touch(tmp_path, *(f'{c}/clip/img_{i:05}.jpg' for c in 'ab' for i in (1, 2)), f'a/clip/{name}')
    assert message in fails(capsys, tmp_path, '--rawframes')


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('loose.mp4', 'lies in no folder of a class'),
        ('a/ \n1.mp4', 'cannot stand in a list'),
        (' a/1.mp4', 'does not fit on a line'),
        ('a/new\nline.mp4', 'cannot stand in a list'),
        ('a  b/1.mp4', 'does not fit on a line'),
        ('a/1.doc', 'there are no videos'),
    ],
)
def test_unlistable_files_are_errors(tmp_path, capsys, name, message):
    touch(tmp_path, name)
    assert message in fails(capsys, tmp_path)
    assert not (tmp_path / 'train.txt').exists()


def test_ambiguous_path_is_error(tmp_path, capsys):
    # A byte order mark at the start of a list belongs to no name.
    touch(tmp_path, '\ufeffb.mp4')
    (tmp_path / 'labels.tsv').write_text('path\tlabel\n\ufeffb.mp4\tx\n')
    error = fails(capsys, tmp_path, '--csv', tmp_path / 'labels.tsv')
    assert "where it reads as 'b.mp4': rename it" in error


def test_options_out_of_range(tmp_path, capsys):
    assert 'must be at least 0 and below 1' in fails(capsys, tmp_path, '--val', 1)
    assert 'there is no folder' in fails(capsys, tmp_path / 'nowhere')
