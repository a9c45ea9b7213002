import pytest

from mmaction.datasets.annotations import ListFormat, read_list
from tests.data_preparation.preparing import images, lines, put, run, touch

MOMENTS = {
    'moments_categories.txt': 'clapping,0\nadult+female+singing,1\nyawning,2\n',
    'trainingSet.csv': 'yawning/yt-AbC_12.mp4,yawning,3,0\r\n'
    'adult+female+singing/flickr-9-6-1-0-3_1.mp4,adult+female+singing,4,1\r\n',
    'validationSet.csv': 'clapping/same.mp4,clapping,3,0\nyawning/same.mp4,yawning,3,0\n',
}


def test_multi_moments(tmp_path, capsys):
    put(
        tmp_path / 'annotations',
        {
            'moments_categories.txt': MOMENTS['moments_categories.txt'],
            'trainingSet.txt': 'yawning/a.mp4,2,0\nclapping/b.mp4,0\nclapping/c.mp4,1,1\n',
            'validationSet.csv': 'clapping/d.mp4,0,1,2\n',
        },
    )
    touch(tmp_path / 'videos', 'yawning/a.mp4', *(f'clapping/{name}.mp4' for name in 'bcd'))
    out = run(tmp_path, 'mmit')
    assert lines(out / 'train.txt') == ['yawning/a.mp4 0 2', 'clapping/b.mp4 0', 'clapping/c.mp4 1']
    assert lines(out / 'val.txt') == ['clapping/d.mp4 0 1 2']
    form = ListFormat('filename', multi_class=True, num_classes=3)
    labels = [entry['label'] for entry in read_list(str(out / 'train.txt'), form)]
    assert labels == [[0, 2], [0], [1]]
    run(tmp_path, 'mmit', '--class-order', 'alphabetical', '--overwrite')
    # adult..., clapping, yawning
    assert lines(out / 'train.txt') == ['yawning/a.mp4 1 2', 'clapping/b.mp4 1', 'clapping/c.mp4 0']
    images(tmp_path / 'frames', 'yawning/a', 'clapping/d', count=4)
    run(tmp_path, 'mmit', '--videos', tmp_path / 'frames', '--frames', '--overwrite')
    assert lines(out / 'train_rawframes.txt') == ['yawning/a 4 0 2']
    put(tmp_path / 'annotations', {'validationSet.csv': 'clapping/d.mp4,0,3\n'})
    with pytest.raises(SystemExit):
        run(tmp_path, 'mmit')
    assert 'label 3 is outside the 3 classes' in capsys.readouterr().err
