from tests.data_preparation.preparing import dropped, images, lines, put, run, table, touch

STHV1 = {
    # No header, no quotes; names hold commas, and what looks like quotes is a part of them.
    'something-something-v1-labels.csv': 'Holding something\r\n'
    'Letting something roll up a slanted surface, so it rolls back down\r\n'
    'Pretending to be "tearing" something\r\n',
    'something-something-v1-train.csv': '40321;Pretending to be "tearing" something\r\n'
    '7;Letting something roll up a slanted surface, so it rolls back down\r\n',
    'something-something-v1-validation.csv': '108499;Holding something \n',
    'something-something-v1-test.csv': '12\n34567\n',
}


def test_something_v1(tmp_path, capsys):
    put(tmp_path / 'annotations', STHV1)
    images(tmp_path / 'videos' / '20bn', '40321', '7', '108499', '12', template='{:05}.jpg')
    images(tmp_path / 'videos' / '20bn', '7', template='{:05}.jpg', count=30)
    out = run(tmp_path, 'sthv1', '--frames')
    assert lines(out / 'classes.txt') == lines(
        tmp_path / 'annotations' / 'something-something-v1-labels.csv'
    )
    assert lines(out / 'train_rawframes.txt') == ['20bn/40321 3 2', '20bn/7 30 1']
    assert lines(out / 'val_rawframes.txt') == ['20bn/108499 3 0']
    assert lines(out / 'test_rawframes.txt') == ['20bn/12 3']
    assert dropped(out / 'dropped_rawframes.tsv') == [
        ('test', 'missing', '34567', "no '34567' among the clips")
    ]
    printed = capsys.readouterr().out
    assert 'in the order of mmaction2: that of the file of labels' in printed
    assert "filename_tmpl='{:05}.jpg', start_index=1" in printed
    assert table(out / 'summary_rawframes.txt')['val'] == [
        *('11522', '1', '-11521', '1', '0', '0', '0'),
    ]


def test_something_v1_in_the_order_of_tsm(tmp_path):
    labels = 'Turning b\nHolding c\nA first\n'
    put(
        tmp_path / 'annotations',
        {
            **STHV1,
            'something-something-v1-labels.csv': labels,
            'something-something-v1-train.csv': '1;Turning b\n2;A first\n',
            'something-something-v1-validation.csv': '3;Holding c\n',
        },
    )
    touch(tmp_path / 'videos', '1.mp4', '2.mp4', '3.mp4')
    out = run(tmp_path, 'sthv1', '--class-order', 'alphabetical')
    assert lines(out / 'classes.txt') == ['A first', 'Holding c', 'Turning b']
    assert lines(out / 'train.txt') == ['1.mp4 2', '2.mp4 0']
    assert lines(out / 'val.txt') == ['3.mp4 1']
