"""The report of a test: its figures, its pictures, and what is escaped."""

import base64
import io
import pickle
import re

import numpy as np
import pytest
import torch
from PIL import Image

from mmaction.apis import report
from mmaction.cli.report import main
from tests.video_factory import write_video

NAMES = ['run', 'jump <b>', 'sit']
SCORES = [[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.1, 0.85, 0.05], [0.1, 0.7, 0.2], [0.3, 0.3, 0.4]]
LABELS = [0, 0, 1, 2, 2]


@pytest.fixture
def samples(tmp_path):
    write_video(tmp_path / 'a.mp4', num_frames=12)
    made = [
        dict(
            pred_score=torch.tensor(scores),
            gt_label=torch.tensor([label]),
            filename=str(tmp_path / ('a.mp4' if i != 3 else 'gone.mp4')),
        )
        for i, (scores, label) in enumerate(zip(SCORES, LABELS, strict=True))
    ]
    made.append(dict(made[0], filename='<broken>.mp4', unreadable='no video stream'))
    return made


def test_figures(samples):
    results = report.Results(samples)
    assert results.right.tolist() == [True, False, True, False, True, False]
    assert results.in_top(1) == pytest.approx(3 / 6)
    assert results.in_top(2) == pytest.approx(5 / 6)
    assert results.per_class() == [(0, 3, 1), (2, 2, 1), (1, 1, 1)]
    assert results.worst(9) == [1, 3]
    rows, error = results.calibration()
    assert sum(n for _, _, n in rows) == 5
    # Bins 0.4, 0.7 (two clips, both wrong) and 0.8 (two clips, both right).
    assert rows[1] == pytest.approx((0.7, 0.0, 2))
    assert error == pytest.approx((0.6 + 0.7 * 2 + (1 - 0.825) * 2) / 5)


def test_logits_become_probabilities():
    logits = [dict(pred_score=np.array([2.0, -1.0]), gt_label=0)]
    np.testing.assert_allclose(report.Results(logits).scores.sum(), 1)


def test_page(samples, tmp_path, capsys):
    (tmp_path / 'dump.pkl').write_bytes(pickle.dumps(samples))
    (tmp_path / 'names.txt').write_text('\n'.join(NAMES))
    (tmp_path / 'config.py').write_text("default_scope = 'mmaction'\n")
    out = tmp_path / 'new' / 'report.html'
    main(
        [
            str(tmp_path / 'config.py'),
            str(tmp_path / 'dump.pkl'),
            '--out',
            str(out),
            '--label-file',
            str(tmp_path / 'names.txt'),
        ]
    )
    assert f'written: {out}' in capsys.readouterr().out
    text = out.read_text()
    for part in ('<b>50.0 %</b>top-1', '<b>6</b>clips', '<b>1</b>unreadable', 'no video stream'):
        assert part in text
    assert 'jump &lt;b&gt;' in text
    assert 'jump <b>' not in text
    assert '&lt;broken&gt;.mp4' in text
    assert 'no thumbnail: there is no video file' in text
    assert 'http' not in text
    jpeg = re.findall(r'data:image/jpeg;base64,([^"]+)', text)
    assert len(jpeg) == 1
    assert base64.b64decode(jpeg[0])[:2] == b'\xff\xd8'
    assert text.count('data:image/png') == 2


def test_a_clip_that_is_quite_sure_counts_in_the_calibration():
    rows, error = report.Results([dict(pred_score=[0.0, 1.0], gt_label=0)]).calibration()
    assert (rows, error) == ([(1.0, 0.0, 1)], 1.0)


def test_confusions_name_the_class_before_what_it_is_taken_for():
    scores = [[0.2, 0.8], [0.2, 0.8], [0.9, 0.1], [0.1, 0.9]]
    samples = [
        dict(pred_score=score, gt_label=label, filename='gone.mp4')
        for score, label in zip(scores, (0, 0, 0, 1), strict=True)
    ]
    text = report.page(report.Results(samples), ['run', 'sit'], 'x', 0)
    assert '<td class=n>2</td><td class=n>3</td><td>run</td><td>sit</td>' in text
    assert '<td>sit</td><td>run</td>' not in text


def test_thumbnails_have_the_colors_of_the_frames(tmp_path):
    for number in range(1, 4):
        Image.new('RGB', (64, 48), (250, 20, 90)).save(tmp_path / f'img_{number:05}.png')
    code = re.search(r'base64,([^"]+)', report.thumbnails(str(tmp_path)))[1]
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(code))))
    np.testing.assert_allclose(image.mean((0, 1)), (250, 20, 90), atol=4)


def test_tests_of_several_folds_are_joined(samples):
    both = report.Results.joined([report.Results(samples), report.Results(samples[:2])])
    assert both.in_top(1) == pytest.approx(4 / 8)
    assert [bool(reason) for reason in both.unreadable] == [False] * 5 + [True] + [False] * 2
    assert both.names == [sample['filename'] for sample in (*samples, *samples[:2])]


def test_large_confusion_matrix_is_an_image():
    rows = [
        dict(pred_score=np.eye(80)[i], gt_label=[i], filename=f'{i}.mp4', unreadable='')
        for i in range(80)
    ]
    text = report.page(report.Results(rows), [f'class {i}' for i in range(80)], 'x', 0)
    after = text.partition('Which class is taken for which')[2]
    code = re.match(r'</h2><img alt="" src="data:image/png;base64,([^"]+)"', after)
    assert code is not None
    assert Image.open(io.BytesIO(base64.b64decode(code[1]))).size == (880, 770)


def test_all_right_and_all_unreadable(samples):
    right = report.page(report.Results(samples[:1]), NAMES, 'x', 5)
    assert 'There are none.' in right
    assert 'No class is taken for another' in right
    broken = report.page(report.Results(samples[-1:]), NAMES, 'x', 5)
    assert '<b>0.0 %</b>top-1' in broken
    assert 'Calibration' not in broken


def test_multi_label_results_are_refused():
    with pytest.raises(ValueError, match='clip 0 has several labels'):
        report.Results([dict(pred_score=np.array([0.5, 0.5]), gt_label=np.array([1, 1]))])
