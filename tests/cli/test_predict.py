"""`mmaction predict`: which videos and weights are taken, and what is written of them."""

import csv
import json
import os

import pytest
import torch

from mmaction.apis import inference_recognizer, init_recognizer
from mmaction.cli import predict
from mmaction.utils.prediction_parts import parts_there, read_parts
from tests.apis.conftest import tiny_config
from tests.video_factory import write_video

NAMES = [f'class {number}' for number in range(6)]


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    """A config, weights, and a folder of three videos and a damaged one."""
    folder = tmp_path_factory.mktemp('predict')
    tiny_config().dump(folder / 'config.py')
    torch.manual_seed(3)
    model = init_recognizer(tiny_config(), device='cpu')
    meta = dict(dataset_meta=dict(classes=NAMES))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), folder / 'x.pth')
    (folder / 'clips').mkdir()
    for number in range(3):
        write_video(folder / 'clips' / f'{number}.mp4', 12 + number, 48, 32)
    (folder / 'clips' / '3.mp4').write_bytes(b'broken')
    (folder / 'list.txt').write_text(''.join(f'{number}.mp4 {number}\n' for number in range(4)))
    return folder


def run(root, *words):
    model = ('--config', root / 'config.py', '--checkpoint', root / 'x.pth', '--device', 'cpu')
    return predict.main([str(word) for word in (*words, *model)])


def test_tables_hold_the_best_classes_and_errors(root, tmp_path, capsys):
    table, file = tmp_path / 'out.csv', tmp_path / 'out.json'
    assert run(root, root / 'clips', '--out', table) == 1
    assert run(root, root / 'clips' / '0.mp4', root / 'clips' / '2.mp4', '--top', 2, '--out',
               file) == 0  # fmt: skip
    model = init_recognizer(tiny_config(), root / 'x.pth', 'cpu')
    expected = [inference_recognizer(model, str(root / 'clips' / f'{i}.mp4')) for i in range(3)]
    rows = list(csv.DictReader(table.open()))
    assert [row['video'] for row in rows] == [str(root / 'clips' / f'{i}.mp4') for i in range(4)]
    for row, sample in zip(rows, expected, strict=False):
        assert row['class'] == NAMES[int(sample.pred_label)]
        assert float(row['score']) == pytest.approx(float(sample.pred_score.max()))
        assert row['error'] == ''
    assert (rows[3]['class'], rows[3]['score']) == ('', '')
    assert rows[3]['error']
    assert '3.mp4: not read: ' in capsys.readouterr().err
    for row, sample in zip(json.loads(file.read_text()), expected[::2], strict=True):
        best = sample.pred_score.topk(2)
        assert [name for name, _ in row['classes']] == [NAMES[i] for i in best.indices]
        assert [score for _, score in row['classes']] == pytest.approx(best.values.tolist())


@pytest.mark.parametrize(
    ('name', 'content', 'expected'),
    [
        ('l.txt', 'a.mp4 3\n\nb 7.mp4 12\n', ['a.mp4', 'b 7.mp4']),
        ('l.txt', 'a.mp4\nclip 3\nclip 3 5\n', ['a.mp4', 'clip 3', 'clip 3']),
        ('l.csv', 'path,label\na.mp4,run\nb 7.mp4,sit\n', ['a.mp4', 'b 7.mp4']),
        ('l.tsv', 'video\tlabel\na.mp4\trun\n', ['a.mp4']),
    ],
)
def test_lists_name_videos(tmp_path, name, content, expected):
    for video in ('a.mp4', 'b 7.mp4', 'clip 3'):
        (tmp_path / video).touch()
    (tmp_path / name).write_text(content)
    assert predict.videos_of(str(tmp_path / name)) == [str(tmp_path / video) for video in expected]


def test_videos_of_a_list_that_are_not_there_are_named(tmp_path):
    (tmp_path / 'l.txt').write_text('\nno.mp4 3\n')
    with pytest.raises(FileNotFoundError, match=r'l\.txt:2: there is no video .*no\.mp4'):
        predict.videos_of(str(tmp_path / 'l.txt'))


def test_weights_of_a_run_are_the_best_or_else_the_last(tmp_path):
    def touched(name, seconds):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
        os.utime(path, (seconds, seconds))
        return str(path)

    config = touched('run/config.py', 1)
    with pytest.raises(FileNotFoundError, match='there is no checkpoint'):
        predict.model_of_run(tmp_path, None)
    for name, seconds in (
        ('epoch_2.pth', 5),
        ('epoch_10.pth', 9),
        ('run/best_top1_acc_epoch_9.pth', 6),
        ('best_top1_acc_epoch_10.pth', 7),
        ('model.pth', 3),
    ):
        newest = touched(name, seconds)
        assert predict.model_of_run(tmp_path, None) == (config, newest)
    assert predict.model_of_run(tmp_path, 'given.pth') == (config, 'given.pth')


def test_options_reach_bulk_prediction(root, tmp_path, monkeypatch):
    monkeypatch.setenv('RANK', '1')
    monkeypatch.setenv('WORLD_SIZE', '2')
    words = (root / 'list.txt', '--data-prefix', root / 'clips', '--workers', 0)
    out = tmp_path / 'out'
    assert run(root, *words, '--part-size', 1, '--embeddings', '--out', out) == 1
    assert parts_there(str(out)) == {1, 3}
    (first, _) = read_parts(out)
    assert first['filename'] == str(root / 'clips' / '1.mp4')
    settings = json.loads((out / 'predict.json').read_text())
    assert (settings['embeddings'], settings['part_size'], settings['clips']) == (True, 1, 4)
    monkeypatch.delenv('RANK')
    monkeypatch.delenv('WORLD_SIZE')
    assert run(root, *words, '--windows', 0.5, '--shard', '0/2', '--out', tmp_path / 'w') == 1
    assert json.loads((tmp_path / 'w' / 'predict.json').read_text())['stride'] == 0.5


def test_jobs_of_an_array_may_predict_videos_of_their_own(monkeypatch, capsys):
    for name, value in dict(ID='5', MIN='5', MAX='8', COUNT='4').items():
        monkeypatch.setenv(f'SLURM_ARRAY_TASK_{name}', value)
    assert predict.parse_args(['5.mp4', '--run', 'run', '--out', '5.csv']).shard is None
    with pytest.raises(SystemExit):
        predict.parse_args(['list.txt', '--run', 'run', '--out', 'folder'])
    assert 'of --array=1-16 --shard $((SLURM_ARRAY_TASK_ID - 1))/16' in capsys.readouterr().err
