"""The command lines of demo/, from their arguments to their files."""

import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from demo import demo, demo_gradcam
from mmaction.apis import inference_recognizer, init_recognizer
from tests.apis.conftest import CLASSES, tiny_config
from tests.demo.conftest import NAMES, write_model
from tests.video_factory import write_video

ROOT = Path(__file__).parents[2]


@pytest.fixture
def files(tmp_path):
    """Config, checkpoint and video."""
    write_model(tmp_path)
    write_video(tmp_path / 'clip.mp4', 20, 64, 48, fps=25)
    return [str(tmp_path / name) for name in ('config.py', 'model.pth', 'clip.mp4')]


def run(module, monkeypatch, *arguments):
    monkeypatch.setattr(sys, 'argv', [module.__file__, *map(str, arguments), '--device', 'cpu'])
    module.main()


def fails(module, monkeypatch, capsys, *arguments):
    with pytest.raises(SystemExit):
        run(module, monkeypatch, *arguments)
    message = capsys.readouterr().err
    assert message.startswith('error: ')
    return message


def frames_of(path):
    with av.open(str(path)) as container:
        return np.stack([f.to_ndarray(format='rgb24') for f in container.decode(video=0)])


def test_demo_prints_top_classes(files, monkeypatch, capsys, tmp_path):
    model = init_recognizer(*files[:2], device='cpu')
    scores = inference_recognizer(model, files[2]).pred_score
    run(demo, monkeypatch, *files)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5
    best = int(scores.argmax())
    assert lines[0].startswith(f'1  {NAMES[best]}  ')
    assert f'{100 * scores[best]:.1f} %' in lines[0]

    labels = tmp_path / 'labels.txt'
    labels.write_text('\n'.join(f'other {i}' for i in range(CLASSES)))
    run(demo, monkeypatch, *files, labels)
    assert f'1  other {best}  ' in capsys.readouterr().out


@pytest.mark.parametrize('name', ['out.mp4', 'out.gif'])
def test_labeled_video(files, monkeypatch, tmp_path, name):
    out = tmp_path / name
    run(demo, monkeypatch, *files, '--out-filename', out, '--target-resolution', 160, -1)
    labeled, plain = frames_of(out), frames_of(files[2])
    assert labeled.shape == (20, 120, 160, 3)
    # the panel covers the lower left corner; the upper right one is as it was
    assert labeled[:, 100:118, 2:20].mean() < 0.75 * plain[:, 40:47, 1:8].mean()
    corner = labeled[:, :30, -40:].mean((1, 2, 3)) - plain[:, :12, -16:].mean((1, 2, 3))
    assert np.abs(corner).max() < 6


def test_demo_errors(files, monkeypatch, capsys, tmp_path):
    config, checkpoint, video = files
    assert 'there is no video file' in fails(demo, monkeypatch, capsys, config, checkpoint, 'x.mp4')
    assert "no input of format 'rawframes'" in fails(
        demo, monkeypatch, capsys, *files, '--use-frames'
    )
    assert 'end in .mp4, .gif' in fails(demo, monkeypatch, capsys, *files, '--out-filename', 'a.b')
    assert 'no checkpoint nowhere.pth' in fails(
        demo, monkeypatch, capsys, config, 'nowhere.pth', video
    )
    labels = tmp_path / 'labels.txt'
    labels.write_text('one\ntwo')
    assert 'names 2 classes' in fails(demo, monkeypatch, capsys, *files, labels)


@pytest.mark.parametrize('name', ['out.gif', 'out.mp4'])
def test_gradcam_clip(files, monkeypatch, capsys, tmp_path, name):
    out = tmp_path / name
    run(
        demo_gradcam, monkeypatch, *files, '--target-layer-name', 'backbone/blocks/-1/-1',
        '--out-filename', out, '--fps', 4, '--target-resolution', 64, 64,
    )  # fmt: skip
    text = capsys.readouterr().out
    assert 'grad-cam of backbone/blocks/1/1 (time x height x width: 2 x 4 x 4)' in text
    assert '\nclass ' in text
    found = frames_of(out)
    assert found.shape == (4, 64, 64, 3)
    # without opacity the clip itself is left, with it the colors of the map come in
    run(demo_gradcam, monkeypatch, *files, '--out-filename', out, '--alpha', 0,
        '--target-resolution', 64, 64)  # fmt: skip
    plain = frames_of(out)
    assert np.abs(found.astype(int) - plain).mean() > 15


def test_gradcam_contact_sheet_of_a_class_and_folder(files, monkeypatch, capsys, tmp_path):
    folder = tmp_path / 'frames'
    folder.mkdir()
    for i, frame in enumerate(frames_of(files[2])):
        Image.fromarray(frame).save(folder / f'img_{i + 1:05d}.png')
    sheet = tmp_path / 'sheet.png'
    run(demo_gradcam, monkeypatch, *files[:2], folder, '--use-frames', '--class', 'class c',
        '--method', 'grad-cam++', '--out-filename', sheet)  # fmt: skip
    assert '\nclass c (' in capsys.readouterr().out
    assert Image.open(sheet).size[0] > 800
    run(demo_gradcam, monkeypatch, *files[:2], folder, '--class', 2)
    assert '\nclass c (' in capsys.readouterr().out


def test_attention_of_windows_and_pyramid(files, monkeypatch, capsys, tmp_path):
    sheet, film, one = (tmp_path / name for name in ('sheet.png', 'film.gif', 'one.gif'))
    how = ('--method', 'attention')
    run(demo_gradcam, monkeypatch, *files, *how, '--out-filename', sheet)
    text = capsys.readouterr().out
    assert 'local windows of backbone/blocks/1/0 (time x height x width: 2 x 4 x 4)' in text
    assert 'global pyramid of backbone/blocks/1/1 (' in text
    run(demo_gradcam, monkeypatch, *files, '--out-filename', tmp_path / 'cam.png')
    # one row more than clip and Grad-CAM
    assert Image.open(sheet).height > 1.3 * Image.open(tmp_path / 'cam.png').height
    run(demo_gradcam, monkeypatch, *files, *how, '--out-filename', film)
    run(demo_gradcam, monkeypatch, *files, *how, '--out-filename', one,
        '--target-layer-name', 'backbone/blocks/0/1', '--query', 1, 2, 3)  # fmt: skip
    pair, alone = frames_of(film), frames_of(one)
    assert alone.shape == (4, 224, 224, 3)
    assert pair.shape[2] > 2 * 224
    assert pair.shape[1] > 224
    assert np.abs(pair[:, -224:, :224].astype(int) - pair[:, -224:, -224:]).mean() > 1


@pytest.mark.parametrize(
    ('options', 'text'),
    [
        (['--target-layer-name', 'backbone/blocks/7/1'], 'there are: backbone/blocks/0, '),
        (['--class', 'class z'], 'no class has this name; did you mean "class '),
        (['--class', '17'], 'class 17 is outside the 6 classes'),
        (['--out-filename', 'a.txt'], 'has to end in .gif, .mp4, .png'),
        (['--colormap', 'mud'], "colormap 'mud'"),
        (['--alpha', '2'], 'alpha=2.0 must be from 0 to 1'),
        (['--query', '0', '0', '0'], '--query goes with --method attention'),
        (['--method', 'attention', '--class', '1'], 'attention is the same for every class'),
        (['--method', 'attention', '--query', '0', '4', '0'], 'whose grid is (2, 4, 4)'),
    ],
)
def test_gradcam_errors(files, monkeypatch, capsys, options, text):
    assert text in fails(demo_gradcam, monkeypatch, capsys, *files, *options)


@pytest.mark.parametrize('name', ['demo', 'demo_gradcam'])
def test_help_imports_nothing_heavy(name):
    code = (
        f'import sys; sys.argv = ["x", "--help"]\nfrom demo import {name}\n'
        f'try: {name}.main()\nexcept SystemExit: pass\n'
        'assert not {"torch", "numpy", "mmengine"} & set(sys.modules)'
    )
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert '--target-resolution WIDTH HEIGHT' in done.stdout


def test_kinetics_checkpoint_shows_names_without_options(files, monkeypatch, capsys, tmp_path):
    """Published checkpoints hold weights and a config as text, but no names."""
    from mmaction.apis import ActionRecogInferencer
    from mmaction.utils.class_names import known_class_names

    names = known_class_names('k400')
    cfg = tiny_config(**{'model.cls_head.num_classes': 400})
    cfg.dump(tmp_path / 'config.py')
    model = init_recognizer(cfg, device='cpu')
    assert model.dataset_meta['classes'] is None
    text = "data = dict(test=dict(type='VideoDataset', ann_file='data/kinetics400/val.txt'))\n"
    torch.save(dict(state_dict=model.state_dict(), meta=dict(config=text)), tmp_path / 'model.pth')
    model = init_recognizer(*files[:2], device='cpu')
    best = names[int(inference_recognizer(model, files[2]).pred_label)]
    run(demo, monkeypatch, *files)
    assert capsys.readouterr().out.startswith(f'1  {best}  ')
    run(demo_gradcam, monkeypatch, *files)
    assert any(line.rpartition(' (')[0] in names for line in capsys.readouterr().out.splitlines())
    (prediction,) = ActionRecogInferencer(model)(files[2])['predictions']
    assert set(prediction['pred_names']) <= set(names)


def test_block_past_the_end_of_a_stage_is_its_last_block(files, monkeypatch, capsys, logged):
    """As the paper's README names a layer that only Tiny has."""
    run(demo_gradcam, monkeypatch, *files, '--target-layer-name', 'model.backbone.blocks.1.3')
    (line,) = [line for line in logged if 'blocks' in line]
    assert line.endswith('its last: backbone/blocks/1/1')
    assert 'grad-cam of backbone/blocks/1/1 ' in capsys.readouterr().out
