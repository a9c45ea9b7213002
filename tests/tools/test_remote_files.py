"""Tools and demos whose clips, checkpoints and results are in a store."""

import sys

import pytest
import torch
from mmengine.config import Config

from demo import demo, demo_gradcam, demo_token_label, long_video_demo
from mmaction.apis import init_recognizer
from mmaction.cli.main import main as mmaction
from mmaction.utils.io import write_bytes
from mmaction.utils.remote import exists, list_folder, read_bytes
from tests.apis.conftest import CLASSES, tiny_config
from tests.tools.running import run_tool
from tests.video_factory import write_video

pytest.importorskip('fsspec')
STORE = 'memory://lab'


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    """A local config; weights, four clips, their list and classes are in the store."""
    folder = tmp_path_factory.mktemp('files')
    torch.manual_seed(3)
    cfg = tiny_config()
    state = init_recognizer(cfg, device='cpu').state_dict()
    torch.save(dict(state_dict=state), folder / 'model.pth')
    for number in range(4):
        write_video(folder / f'{number}.mp4', 16 + number, 64, 48)
    (folder / 'list.txt').write_text(''.join(f'{n}.mp4 {n}\n' for n in range(4)))
    (folder / 'classes.txt').write_text(''.join(f'class {n}\n' for n in range(CLASSES)))
    for path in folder.iterdir():
        write_bytes(f'{STORE}/{path.name}', path.read_bytes())
        path.unlink()
    dataset = dict(
        type='VideoDataset', data_root=STORE, ann_file='list.txt', pipeline=cfg.test_pipeline
    )
    sampler = dict(type='EpochSampler', shuffle=False)
    loader = dict(batch_size=2, num_workers=0, dataset=dataset, sampler=sampler)
    parts = dict(test_dataloader=loader, test_cfg=dict())
    cfg.merge_from_dict(dict(parts, test_evaluator=dict(type='AccMetric')))
    path = folder / 'config.py'
    Config(cfg.to_dict()).dump(path)
    return str(path)


def run_demo(module, monkeypatch, *arguments):
    monkeypatch.setattr(sys, 'argv', [module.__file__, *map(str, arguments), '--device', 'cpu'])
    module.main()


MODEL, CLIP, CLASS_LIST = (f'{STORE}/{name}' for name in ('model.pth', '1.mp4', 'classes.txt'))


def test_demos(config, monkeypatch, capsys):
    out = [
        f'{STORE}/out/{name}' for name in ('labeled.mp4', 'cam.gif', 'timeline.mp4', 'tokens.png')
    ]
    run_demo(demo, monkeypatch, config, MODEL, CLIP, CLASS_LIST, '--out-filename', out[0])
    assert 'class ' in capsys.readouterr().out
    run_demo(demo_gradcam, monkeypatch, config, MODEL, CLIP, '--out-filename', out[1])
    run_demo(long_video_demo, monkeypatch, config, MODEL, CLIP, CLASS_LIST, out[2])
    run_demo(demo_token_label, monkeypatch, config, MODEL, CLIP, '--out', out[3])
    assert all(read_bytes(path) for path in out)


def test_predict_merge_and_report(config, capsys):
    given = ['--config', config, '--checkpoint', MODEL, '--device', 'cpu']
    assert mmaction(['predict', CLIP, *given, '--out', f'{STORE}/one.csv']) in (0, None)
    assert read_bytes(f'{STORE}/one.csv').count(b'\n') >= 2
    pytest.importorskip('pyarrow')
    out = f'{STORE}/predictions'
    mmaction(['predict', f'{STORE}/list.txt', *given, '--out', out, '--workers', '0'])
    mmaction(['merge', out])
    assert 'predict: 4 clips, each once, 0 of them not read' in capsys.readouterr().out
    mmaction(['report', config, out, '--out', f'{STORE}/report.html'])
    assert b'<html' in read_bytes(f'{STORE}/report.html')


def test_test_and_what_reads_its_results(config, tmp_path):
    results = f'{STORE}/results.json'
    run_tool('test.py', config, MODEL, '--dump', results, '--work-dir', tmp_path)
    assert exists(results)
    assert 'top1' in run_tool('analysis_tools/eval_metric.py', config, results).stdout
    matrix, browsed = f'{STORE}/matrix.png', f'{STORE}/clips.png'
    run_tool('analysis_tools/confusion_matrix.py', config, results, '--out', matrix)
    run_tool('analysis_tools/browse_dataset.py', config, '--out', browsed, '--phase', 'test')
    for path in (matrix, browsed):
        assert read_bytes(path).startswith(b'\x89PNG')


def test_features_packing_and_publishing(config, tmp_path):
    mmaction(['features', config, MODEL, '--out', f'{STORE}/features', '--device', 'cpu'])
    assert f'{STORE}/features/index.json' in list_folder(f'{STORE}/features')
    with pytest.raises(SystemExit, match='0'):
        mmaction(['pack', f'{STORE}/list.txt', f'{STORE}/packed'])
    assert f'{STORE}/packed/index.npz' in list_folder(f'{STORE}/packed')
    done = run_tool('deployment/publish_model.py', MODEL, f'{STORE}/published/model')
    assert done.stdout.startswith(f'{STORE}/published/model-')
    assert any(path.endswith('.safetensors') for path in list_folder(f'{STORE}/published'))
    # One writer for all formats; ONNX takes the longest.
    mmaction(['export', config, MODEL, f'{STORE}/model.pt2', '--video', CLIP])
    assert exists(f'{STORE}/model.pt2')


def test_lists_are_checked(config, tmp_path):
    done = run_tool('data/check_videos.py', f'{STORE}/list.txt', '--out', tmp_path, '--quick')
    assert '4 videos can be read, 0 cannot' in done.stdout
    # Nothing is read twice.
    again = run_tool('data/check_videos.py', f'{STORE}/list.txt', '--out', tmp_path, '--quick')
    assert again.stdout == done.stdout
    assert (tmp_path / 'list.clean.txt').read_text().splitlines()[1] == '1.mp4 1'
    done = run_tool('data/check_videos.py', f'{STORE}/list.txt', status=1)
    assert done.stderr.startswith('error: --out DIR')
