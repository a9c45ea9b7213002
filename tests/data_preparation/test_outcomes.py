from mmaction.data_preparation.outcomes import (
    KEPT,
    LEFT_OUT,
    MISSING,
    RowOutcome,
    left_out_reasons,
    summary_table,
    write_dropped,
)
from mmaction.data_preparation.schema import Row


def rows(*statuses):
    return [
        RowOutcome(
            Row(f'a.csv:{i}', (f'clip\t{i}',), 0), status, reason='why' if status != KEPT else ''
        )
        for i, status in enumerate(statuses, start=2)
    ]


def test_table_counts_rows_against_the_published_number():
    table = summary_table(
        dict(train=rows(KEPT, KEPT, MISSING), val=rows(LEFT_OUT), test=rows(KEPT)),
        dict(train=5, val=1),
    )
    assert [line.split() for line in table[1:]] == [
        ['train', '5', '3', '-2', '2', '1', '0', '0'],
        ['val', '1', '1', '0', '0', '0', '1'],
        ['test', '-', '1', '1', '0', '0', '0'],
    ]


def test_dropped_rows_are_listed_and_an_old_list_goes(tmp_path):
    path = tmp_path / 'dropped.tsv'
    assert write_dropped(path, dict(train=rows(KEPT, MISSING))) == 1
    assert path.read_text().splitlines()[1:] == ['train\tmissing\tclip 3\ta.csv:3\twhy']
    assert write_dropped(path, dict(train=rows(KEPT))) == 0
    assert not path.exists()


def test_commonest_reasons_come_first():
    found = rows(*[LEFT_OUT] * 6)
    for outcome, reason in zip(found, 'abbccc', strict=True):
        outcome.reason = reason
    assert left_out_reasons(dict(val=found)) == [
        'val: 3 left out: c',
        'val: 2 left out: b',
        'val: and 1 other reasons for leaving rows out',
    ]
