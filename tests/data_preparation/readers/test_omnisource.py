import pytest

from tests.data_preparation.preparing import dropped, lines, put, run, touch


def test_omnisource(tmp_path, capsys):
    put(
        tmp_path / 'annotations',
        {
            'kinetics_200/k200_train.txt': '-bCdEfGhIjK.mp4 1\nAbCdEfGhIjK.mp4 0\n',
            'kinetics_200/k200_val.txt': 'valvalvalva.mp4 1\n',
            'k200_actions.txt': 'abseiling\nair drumming\n',
            'webimage_200/tsn_8seg_webimage_200_wodup.txt': 'googleimage_200/000/00/000001.jpg 0\n'
            'insimage_200/001/air drumming/x.jpg 1\ngoogleimage_200/000/01/000001.jpg 0\n',
            'webimage_200/tsn_8seg_webimage_200.txt': 'googleimage_200/000/00/000009.jpg 0\n',
            'insvideo_200/slowonly_8x8_insvideo_200_wodup.txt': '001/air drumming/x.mp4 1\n',
            'kinetics_raw_200/slowonly_8x8_kinetics_raw_200.json': [
                {
                    'video_dir': 'pref-/-bCdEfGhIjK',
                    'label': 1,
                    'num_clips': 4,
                    'positive_clip_inds': [0, 2],
                }
            ],
        },
    )
    touch(
        tmp_path / 'videos',
        'kinetics_200_train/-bCdEfGhIjK.mp4',
        'kinetics_200_train/AbCdEfGhIjK.mp4',
        'kinetics_200_val/valvalvalva.mp4',
        'googleimage_200/000/00/000001.jpg',
        'insimage_200/001/air drumming/x.jpg',
        'insvideo_200/001/air drumming/x.mp4',
        'kinetics_raw_200_train/pref-/-bCdEfGhIjK/part_0.mp4',
        'kinetics_raw_200_train/pref-/-bCdEfGhIjK/part_1.mp4',
    )
    out = run(tmp_path, 'omnisource')
    assert lines(out / 'train.txt') == [
        'kinetics_200_train/-bCdEfGhIjK.mp4 1',
        'kinetics_200_train/AbCdEfGhIjK.mp4 0',
    ]
    assert lines(out / 'val.txt') == ['kinetics_200_val/valvalvalva.mp4 1']
    assert lines(out / 'web_image.txt') == [
        'googleimage_200/000/00/000001.jpg 0',
        'insimage_200/001/air drumming/x.jpg 1',
    ]
    assert lines(out / 'web_video.txt') == ['insvideo_200/001/air drumming/x.mp4 1']
    assert lines(out / 'kinetics_raw.txt') == [
        'kinetics_raw_200_train/pref-/-bCdEfGhIjK/part_0.mp4 1'
    ]
    assert [row[:3] for row in dropped(out / 'dropped.tsv')] == [
        ('web_image', 'missing', 'googleimage_200/000/01/000001'),
        ('kinetics_raw', 'missing', 'pref-/-bCdEfGhIjK/part_2'),
    ]
    # What is not there, and what is not the best, is said.
    webs = tmp_path / 'annotations' / 'webimage_200'
    (webs / 'tsn_8seg_webimage_200_wodup.txt').unlink()
    (tmp_path / 'annotations/insvideo_200/slowonly_8x8_insvideo_200_wodup.txt').unlink()
    capsys.readouterr()
    run(tmp_path, 'omnisource', '--out', tmp_path / 'less')
    printed = capsys.readouterr().out
    assert 'tsn_8seg_webimage_200.txt may hold near-duplicates of val' in printed
    assert 'no web_video: there is no *insvideo_200_wodup.txt' in printed
    put(tmp_path / 'annotations', {'kinetics_200/k200_val.txt': 'valvalvalva.mp4 200\n'})
    with pytest.raises(SystemExit):
        run(tmp_path, 'omnisource')
    assert 'k200_val.txt:1: label 200 is outside the 2 classes' in capsys.readouterr().err
