import pytest

from tests.data_preparation.preparing import fails, lines, put, run, table, touch

MOMENTS = {
    'moments_categories.txt': 'clapping,0\nadult+female+singing,1\nyawning,2\n',
    'trainingSet.csv': 'yawning/yt-AbC_12.mp4,yawning,3,0\r\n'
    'adult+female+singing/flickr-9-6-1-0-3_1.mp4,adult+female+singing,4,1\r\n',
    'validationSet.csv': 'clapping/same.mp4,clapping,3,0\nyawning/same.mp4,yawning,3,0\n',
}


def test_moments_in_time(tmp_path, capsys):
    put(tmp_path / 'annotations', MOMENTS)
    touch(
        tmp_path / 'videos',
        'training/yawning/yt-AbC_12.mp4',
        'training/adult+female+singing/flickr-9-6-1-0-3_1.mp4',
        # One name in two classes and in both splits.
        'training/clapping/same.mp4',
        'validation/clapping/same.mp4',
        'validation/yawning/same.mp4',
    )
    out = run(tmp_path, 'mit')
    assert lines(out / 'classes.txt') == ['clapping', 'adult+female+singing', 'yawning']
    assert lines(out / 'train.txt') == [
        'training/yawning/yt-AbC_12.mp4 2',
        'training/adult+female+singing/flickr-9-6-1-0-3_1.mp4 1',
    ]
    assert lines(out / 'val.txt') == [
        'validation/clapping/same.mp4 0',
        'validation/yawning/same.mp4 2',
    ]
    assert table(out / 'summary.txt')['train'] == ['-', '2', '2', '0', '0', '0']
    put(tmp_path / 'annotations', {'trainingSet.csv': 'yawning/yt-AbC_12.mp4,clapping,3,0\n'})
    run(tmp_path, 'mit')
    assert lines(out / 'train.txt') == ['training/yawning/yt-AbC_12.mp4 2']
    assert '1 row of another class than their folder' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('name', 'text', 'message'),
    [
        ('moments_categories.txt', 'clapping,1\n', "categories.txt:1: expected 'name,0'"),
        ('trainingSet.csv', 'a.mp4,clapping,3,0\n', "expected 'yawning/clip.mp4,yawning,3,0'"),
        ('validationSet.csv', 'sitting/a.mp4,sitting,1,0\n', "has no class 'sitting'"),
    ],
)
def test_moments_malformed(tmp_path, capsys, name, text, message):
    put(tmp_path / 'annotations', {**MOMENTS, name: text})
    touch(tmp_path / 'videos', 'clapping/a.mp4')
    assert message in fails(capsys, tmp_path, 'mit')
