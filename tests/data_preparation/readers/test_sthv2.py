import pytest

from tests.data_preparation.preparing import dropped, fails, lines, put, run, touch


@pytest.mark.parametrize('prefix', ['something-something-v2-', ''])
def test_something_v2_of_both_releases(tmp_path, prefix):
    put(
        tmp_path / 'annotations',
        {
            f'{prefix}labels.json': {
                'Approaching something with your camera': '0',
                'Holding something next to something': '1',
                'Putting number of something onto something': '2',
                "Trying but failing to attach something to something because it doesn't stick": '3',
            },
            f'{prefix}train.json': [
                {
                    'id': '78001',
                    'label': 'holding mug next to pen',
                    'template': 'Holding [something] next to [something]',
                    'placeholders': ['mug', 'pen'],
                },
                {'id': '78002', 'template': 'Putting [number of] [something] onto [something]'},
                {
                    'id': '78003',
                    'template': 'Trying but failing to attach [something] to [something] because '
                    "it doesn't stick",
                },
            ],
            f'{prefix}validation.json': [
                {'id': '5', 'template': 'Approaching [something] with your camera'}
            ],
            f'{prefix}test.json': [{'id': '90210'}, {'id': '90211'}],
        },
    )
    touch(tmp_path / 'videos', *(f'{i}.webm' for i in (78001, 78002, 78003, 5, 90210)))
    touch(tmp_path / 'videos', '90211.mp4')
    out = run(tmp_path, 'sthv2')
    assert lines(out / 'train.txt') == ['78001.webm 1', '78002.webm 2', '78003.webm 3']
    assert lines(out / 'val.txt') == ['5.webm 0']
    assert lines(out / 'test.txt') == ['90210.webm', '90211.mp4']
    if not prefix:
        answers = '90210;Approaching something with your camera\n90211;Putting number of something '
        put(tmp_path / 'annotations', {'test-answers.csv': answers + 'onto something\n'})
        run(tmp_path, 'sthv2')
        assert lines(out / 'test.txt') == ['90210.webm 0', '90211.mp4 2']
        put(tmp_path / 'annotations', {'test-answers.csv': answers.partition('\n')[0]})
        run(tmp_path, 'sthv2')
        assert lines(out / 'test.txt') == ['90210.webm 0']
        assert dropped(out / 'dropped.tsv') == [('test', 'left out', '90211', 'it has no label')]


@pytest.mark.parametrize(
    ('name', 'content', 'message'),
    [
        ('labels.json', {'A': '0', 'B': '2'}, 'labels.json: expected the numbers 0 to 1, once'),
        ('labels.json', ['A'], 'labels.json: expected an object, found list'),
        ('train.json', [{'id': '1'}], "train.json: entry 0: expected 'id' and 'template'"),
        ('train.json', [{'id': '1', 'template': '[C]'}], "has no class 'C'"),
        ('train.json', '[{"id": "1"', 'train.json:1: not valid JSON'),
        ('test-answers.csv', '1,A\n', "answers.csv:1: expected 'id;Class name', found '1,A'"),
    ],
)
def test_something_v2_malformed(tmp_path, capsys, name, content, message):
    good = {'labels.json': {'A': '0'}, 'train.json': [], 'validation.json': []}
    put(tmp_path / 'annotations', {**good, name: content})
    touch(tmp_path / 'videos', '1.webm')
    assert message in fails(capsys, tmp_path, 'sthv2')
