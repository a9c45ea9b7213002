from functools import partial

import pytest

from mmaction.data_preparation.parsing import (
    ClassIndex,
    csv_rows,
    load_json,
    text_rows,
    try_annotation,
)
from tests.data_preparation.preparing import error_of, kinetics, put, touch


def test_duplicate_file_is_reported(tmp_path, capsys):
    kinetics(tmp_path, ['x,a,0,1'])
    put(tmp_path / 'annotations', {'one/test.csv': '', 'two/test.csv': ''})
    touch(tmp_path / 'videos', 'a_000000_000001.mp4')
    error = error_of(capsys, tmp_path)
    assert "one/test.csv' and '" in error
    assert 'could both be meant' in error


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_nearest_file_of_the_preferred_name_is_taken(tmp_path):
    for name in (
        'a/val.csv',
        'a/b/train.csv',
        'a/b/c/test.csv',
        '.hidden/train.csv',
        '._train.csv',
    ):
        write(tmp_path / name, b'')
    find = partial(try_annotation, tmp_path)
    assert find('train*.csv', 'val*.csv') == tmp_path / 'a/b/train.csv'
    assert find('none.csv', 'val*.csv') == tmp_path / 'a/val.csv'
    write(tmp_path / 'a/Train_2.CSV', b'')
    assert find('train*.csv') == tmp_path / 'a/Train_2.CSV'
    # Clips may lie below, millions of them: it does not look there.
    assert find('test.csv') is None
    write(tmp_path / 'a/train_3.csv', b'')
    with pytest.raises(ValueError, match='could both be meant: leave one of them'):
        find('train*.csv')


def test_rows_of_text_with_byte_order_mark_and_blank_lines(tmp_path):
    path = write(tmp_path / 'a.txt', b'\xef\xbb\xbfone 1\r\n\n  two 2 \n')
    assert list(text_rows(path)) == [(f'{path}:1', 'one 1'), (f'{path}:3', 'two 2')]
    path = write(tmp_path / 'a.json', b'\xef\xbb\xbf[1]')
    assert load_json(path, list) == [1]
    with pytest.raises(ValueError, match='expected an object, found list'):
        load_json(path, dict)


@pytest.mark.parametrize('mark', [',', '\t'])
def test_rows_of_csv_name_their_line(tmp_path, mark):
    lines = ['b,a,c', '"x,1",y,z', '', ' u , v,w']
    text = '\n'.join(lines) if mark == ',' else 'b\ta\tc\nx,1\ty\tz\n\n u \t v\tw'
    path = write(tmp_path / 'a.csv', text.encode())
    assert list(csv_rows(path, ['a', 'b'], optional=['d'])) == [
        (f'{path}:2', dict(a='y', b='x,1', d='')),
        (f'{path}:4', dict(a='v', b='u', d='')),
    ]
    with pytest.raises(ValueError, match=r"a.csv:1: expected a header with e, found 'b,a,c'"):
        list(csv_rows(path, ['e']))


def test_labels_outside_the_classes(tmp_path):
    index = ClassIndex(['ab', 'c d'], tmp_path / 'classes.txt')
    assert (index.label('c d', 'p'), index.check('1', 'p')) == (1, 1)
    for text in ('2', '-1'):
        with pytest.raises(ValueError, match=f'p: label {text} is outside the 2 classes'):
            index.check(text, 'p')
    with pytest.raises(ValueError, match="no class 'C  D'; 'c d' is one"):
        index.label('C  D', 'p')
    with pytest.raises(ValueError, match="class 'a' is there twice"):
        ClassIndex(['a', 'b', 'a'], tmp_path)
