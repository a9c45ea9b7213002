"""What the tests of the preparation of datasets share: made-up official files, and runs."""

import json
from pathlib import Path

import pytest

from mmaction.cli import prepare_dataset as prepare


def put(folder, files):
    """Write files given as text, bytes or what becomes JSON."""
    for name, content in files.items():
        path = Path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, (dict, list)):
            content = json.dumps(content)
        if isinstance(content, str):
            content = content.encode('utf-8', 'surrogateescape')
        path.write_bytes(content)


def touch(folder, *names):
    """Make empty files, as good as clips where nobody looks into them."""
    put(folder, dict.fromkeys(names, b''))


def kinetics(root, train, val=None):
    """Write the annotation of Kinetics, of rows `class,id,start,end`."""
    head = 'label,youtube_id,time_start,time_end'
    val = val or [train[0].partition(',')[0] + ',val0,0,10']
    put(
        root / 'annotations',
        {
            'train.csv': '\n'.join([head, *train]) + '\n',
            'validate.csv': '\n'.join([head, *val]) + '\n',
        },
    )


def images(folder, *names, count=3, template='img_{:05}.jpg', first=1):
    """Make folders of empty images."""
    for name in names:
        touch(Path(folder, name), *(template.format(first + i) for i in range(count)))


def run(root, dataset, *options):
    """Prepare ROOT/annotations and ROOT/videos into ROOT/out."""
    folders = ('--annotations', root / 'annotations', '--videos', root / 'videos')
    args = (dataset, *folders, '--out', root / 'out', '--workers', 2, *options)
    prepare.main([str(arg) for arg in args])
    return root / 'out'


def error_of(capsys, root, *options, dataset='kinetics400', status=1):
    """What a preparation prints that ends with an error."""
    with pytest.raises(SystemExit) as caught:
        run(root, dataset, *options)
    assert caught.value.code == status
    return capsys.readouterr().err


def fails(capsys, root, dataset, *options):
    """Fail as a preparation that writes no lists."""
    error = error_of(capsys, root, *options, dataset=dataset)
    assert not list(root.glob('out/*.txt'))
    return error


def lines(path):
    """The lines of a file."""
    return path.read_text(encoding='utf-8', errors='surrogateescape').splitlines()


def dropped(path):
    """List, status, clip and reason of the rows that are in no list."""
    head, *rows = (line.split('\t') for line in lines(path))
    assert head == ['list', 'status', 'clip', 'row', 'reason']
    return [(row[0], row[1], row[2], row[4]) for row in rows]


def table(path):
    """Of each list: official, annotation, differs, kept, missing, unreadable, left out."""
    found = {}
    for line in lines(path)[2:]:
        words = line.split()
        if len(words) < 7 or not all(w.lstrip('+-').isdigit() or w == '-' for w in words[1:]):
            break
        found[words[0]] = words[1:]
    return found
