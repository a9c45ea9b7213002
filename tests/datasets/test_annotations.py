"""Annotation lists: what is read, and what is said of what cannot be read."""

import json

import pytest

from mmaction.datasets.annotations import ListFormat, read_list

VIDEO = ListFormat('filename')
FRAMES = ListFormat('frame_dir', {'total_frames': 1})
OFFSET = ListFormat('frame_dir', {'offset': 0, 'total_frames': 1})
MULTI = ListFormat('filename', multi_class=True, num_classes=50)


@pytest.fixture
def entries(tmp_path):
    def read(content, form=VIDEO, name='list.txt'):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_list(str(path), form)

    return read


def test_blank_lines_crlf_and_trailing_spaces_are_ignored(entries):
    found = entries('\ufeffa/b.mp4 3\r\n\r\n  \nc.mp4 0  \r\nd.mp4\t12\n')
    assert found == [
        dict(filename='a/b.mp4', label=3),
        dict(filename='c.mp4', label=0),
        dict(filename='d.mp4', label=12),
    ]


def test_label_follows_last_delimiter(entries):
    assert entries('my  clip 2.mp4 7\n')[0] == dict(filename='my  clip 2.mp4', label=7)
    by_comma = ListFormat('filename', delimiter=',')
    assert entries('a b, c.mp4,7\n', by_comma)[0] == dict(filename='a b, c.mp4', label=7)
    by_bars = ListFormat('filename', delimiter='||')
    assert entries('a 1.mp4||7\n', by_bars)[0] == dict(filename='a 1.mp4', label=7)


def test_non_utf8_file_name_is_kept(entries):
    (found,) = entries(b'caf\xe9.mp4 1\n')
    assert found['filename'].encode('utf-8', 'surrogateescape') == b'caf\xe9.mp4'


def test_lists_without_labels(entries):
    assert entries('a.mp4\nb.mp4\n') == [
        dict(filename='a.mp4', label=-1),
        dict(filename='b.mp4', label=-1),
    ]
    assert entries('my dir 40\n', FRAMES) == [
        dict(frame_dir='my dir', total_frames=40, label=-1),
    ]
    assert entries('a.mp4 -1\n') == [dict(filename='a.mp4', label=-1)]
    assert entries('a.mp4 -1\n', MULTI) == [dict(filename='a.mp4', label=[])]


def test_frames(entries):
    assert entries('40321 155 12\n', FRAMES)[0] == dict(
        frame_dir='40321', total_frames=155, label=12
    )
    assert entries('a b 40 155 3\n', OFFSET)[0] == dict(
        frame_dir='a b', offset=40, total_frames=155, label=3
    )
    multi = ListFormat('frame_dir', {'total_frames': 1}, multi_class=True)
    assert entries('cls/vid 155 3 17\n', multi)[0] == dict(
        frame_dir='cls/vid', total_frames=155, label=[3, 17]
    )


def test_several_labels(entries):
    assert entries('my clip.mp4 3 17 40\nb.mp4\n', MULTI) == [
        dict(filename='my clip.mp4', label=[3, 17, 40]),
        dict(filename='b.mp4', label=[]),
    ]


def test_csv_with_spaces_or_commas(entries):
    found = entries('a_000010.mp4 57\nb c.mp4,3\n"d, e.mp4", 4\nf,g.mp4 5\n', name='train.csv')
    assert [(item['filename'], item['label']) for item in found] == [
        ('a_000010.mp4', 57),
        ('b c.mp4', 3),
        ('d, e.mp4', 4),
        ('f,g.mp4', 5),
    ]


def test_json(entries):
    content = [dict(filename='a b.mp4', label=[1]), dict(filename='c.mp4', label=0)]
    assert entries(json.dumps(content), name='list.json') == [
        dict(filename='a b.mp4', label=1),
        dict(filename='c.mp4', label=0),
    ]
    several = [dict(filename='a.mp4', label=[1, 4])]
    assert entries(json.dumps(several), MULTI, 'list.json')[0]['label'] == [1, 4]
    unlabeled = [dict(filename='a.mp4', label=-1), dict(filename='b.mp4')]
    assert [entry['label'] for entry in entries(json.dumps(unlabeled), MULTI, 'l.json')] == [[], []]
    frames = [dict(frame_dir='a', total_frames=61, label=[1])]
    assert entries(json.dumps(frames), FRAMES, 'list.json')[0] == dict(
        frame_dir='a', total_frames=61, label=1
    )


@pytest.mark.parametrize(
    ('content', 'form', 'name', 'message'),
    [
        ('', VIDEO, 'l.txt', r"l.txt' is empty: it needs at least one clip"),
        ('a.mp4 1\nb.mp4 x\n', VIDEO, 'l.txt', r"l.txt:2: expected 'path label'.*found 'b.mp4 x'"),
        ('a.mp4 1.5\n', VIDEO, 'l.txt', r"l.txt:1: .*found 'a.mp4 1.5'"),
        ('a.mp4 -2\n', VIDEO, 'l.txt', r'l.txt:1: labels count from 0, found -2'),
        ('a.mp4 1\nb.mp4 -1\n', VIDEO, 'l.txt', r'l.txt:2: no label, while other lines have one'),
        ('a.mp4 3 -1\n', MULTI, 'l.txt', r'l.txt:1: labels count from 0, found -1'),
        ('a.mp4 1\n\nb.mp4\n', VIDEO, 'l.txt', r'l.txt:3: no label, while other lines have one'),
        ('a.mp4 1 7\n', MULTI, 'l.json', r'l.json:1: not valid JSON'),
        ('a.mp4 3 50\n', MULTI, 'l.txt', r'l.txt:1: label 50 is outside the 50 classes \(0 to 49'),
        ('d cat\n', FRAMES, 'l.txt', r"l.txt:1: expected 'path total_frames label'.*'d cat'"),
        ('d 0 3\n', FRAMES, 'l.txt', r'l.txt:1: total_frames must be at least 1, found 0'),
        ('d -1 9 3\n', OFFSET, 'l.txt', r'l.txt:1: offset must be at least 0, found -1'),
        ('path,label\na.mp4,3\n', VIDEO, 'l.csv', r'l.csv:1: no label, while other lines'),
        ('{"a": 1}', VIDEO, 'l.json', r'l.json: expected a JSON array of clips, found dict'),
        ('[{"label": 1}]', VIDEO, 'l.json', r"l.json: entry 0: .*\['filename', 'label'\]"),
        ('[{"filename": "a", "label": {}}]', VIDEO, 'l.json', r'entry 0: label must be an integer'),
        ('[{"filename": "a", "label": [1, 2]}]', VIDEO, 'l.json', r'set `multi_class=True`'),
        ('[{"frame_dir": "a", "label": 1}]', FRAMES, 'l.json', r"'total_frames' must be an int"),
        ('[{"filename": "a", "label": -3}]', VIDEO, 'l.json', r'labels count from 0, found -3'),
    ],
)
def test_what_is_wrong_is_named(entries, content, form, name, message):
    with pytest.raises(ValueError, match=message):
        entries(content, form, name)


def test_empty_delimiter_is_named():
    with pytest.raises(ValueError, match='`delimiter` is empty: leave it out for blanks'):
        ListFormat('filename', delimiter='')


def test_missing_list_names_config_key():
    with pytest.raises(FileNotFoundError, match=r"'no/such.txt' does not exist: set `ann_file`"):
        read_list('no/such.txt', VIDEO)
    with pytest.raises(ValueError, match='`ann_file` is empty'):
        read_list('', VIDEO)
