"""Exported models give what the recognizer predicts, whatever the size of the batch."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from mmaction.apis import inference_recognizer, init_recognizer
from mmaction.apis.test_pipeline import pipeline_steps, steps_for
from mmaction.config.load import load_config
from tests.video_factory import write_video
from tools.deployment import export

ROOT = Path(__file__).parents[2]
CONFIG = 'configs/recognition/dualformer/dualformer_pico_motion_digits.py'
VARIANTS = {
    'softmax': [],
    'multi_label': [
        'model.cls_head.multi_class=True',
        'model.cls_head.loss_cls=dict(type=BCELossWithLogits)',
    ],
    'to_rgb': ['model.data_preprocessor.to_rgb=True', 'model.data_preprocessor.mean=[90,120,10]'],
    'score': ['model.cls_head.average_clips=score'],
    'all_views': ['model.cls_head.average_clips=None'],
    'few_views_at_once': ['model.test_cfg.max_testing_views=2'],
    'dropout': ['model.cls_head.dropout_ratio=0.5', 'model.backbone.drop_path_rate=0.5'],
    'no_normalization': ['model.data_preprocessor=dict(type=ActionDataPreprocessor)'],
}


def variant(name):
    options = list(VARIANTS[name])
    cfg = load_config(CONFIG)
    if cfg.model.get('test_cfg') and 'average_clips' in cfg.model.test_cfg:
        options = [o.replace('cls_head.average_clips', 'test_cfg.average_clips') for o in options]
    return options


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    """Weights by which the classes differ much, unlike those at the start of training."""
    path = tmp_path_factory.mktemp('weights') / 'x.pth'
    torch.manual_seed(0)
    model = init_recognizer(CONFIG, None, device='cpu')
    model.cls_head.fc_cls.weight.data *= 200
    classes = [f'class {i}' for i in range(8)]
    torch.save({'state_dict': model.state_dict(), 'meta': dict(dataset_meta=dict(classes=classes))}, path)  # fmt: skip  # noqa: E501
    return path


def recognizer(checkpoint, name='softmax'):
    return init_recognizer(CONFIG, str(checkpoint), device='cpu', cfg_options=variant(name))


def run(*args):
    with pytest.raises(SystemExit) as end:
        export.main([str(arg) for arg in args])
    return end.value.code


@pytest.mark.parametrize('name', VARIANTS)
def test_onnx_gives_what_is_predicted_of_a_video(tmp_path, checkpoint, name, capsys):
    import onnxruntime

    out = tmp_path / 'new' / 'x.onnx'
    assert run(CONFIG, checkpoint, out, '--cfg-options', *(variant(name) or ['resume=False'])) == 0
    assert 'differs from the model by at most' in capsys.readouterr().out
    assert [path.name for path in out.parent.iterdir()] == ['x.onnx']
    video = write_video(tmp_path / 'a.mp4', num_frames=60, width=96, height=64)
    model = recognizer(checkpoint, name)
    expected = inference_recognizer(model, video).pred_score.numpy()
    views = export.decoded_views(model, str(video)).float().numpy()
    session = onnxruntime.InferenceSession(str(out), providers=['CPUExecutionProvider'])
    (found,) = session.run(None, {'clips': views})
    found = found if name == 'all_views' else found.mean(0)
    np.testing.assert_allclose(found, expected, atol=1e-3 if 'score' in name else 1e-4, rtol=1e-4)
    if name == 'multi_label':
        assert abs(expected.sum() - 1) > 0.1


@pytest.mark.parametrize('name', ['softmax', 'multi_label'])
def test_torch_export_gives_what_is_predicted(tmp_path, checkpoint, name):
    out = tmp_path / 'x.pt2'
    assert run(CONFIG, checkpoint, out, '--cfg-options', *(variant(name) or ['resume=False'])) == 0
    files = {'metadata.json': ''}
    program = torch.export.load(str(out), extra_files=files).module()
    model = recognizer(checkpoint, name)
    views = export.decoded_views(model, None)
    found = program(views.float()).mean(0)
    torch.testing.assert_close(found, export.predict(model, views), atol=1e-4, rtol=0)
    about = json.loads(files['metadata.json'])
    assert about['multi_label'] == (name == 'multi_label')


@pytest.mark.slow
def test_compiled_ahead_of_time(tmp_path, checkpoint):
    assert run(CONFIG, checkpoint, tmp_path / 'x.pt2', '--aot') == 0
    model = recognizer(checkpoint)
    views = export.decoded_views(model, None)
    package = torch._inductor.aoti_load_package(str(tmp_path / 'x.pt2'))
    found = package(views.float()).mean(0)
    torch.testing.assert_close(found, export.predict(model, views), atol=1e-4, rtol=0)
    assert json.loads(package.get_metadata()['clip_len']) == 8


def wrong_activation(self, clips):
    data = self.recognizer.data_preprocessor(dict(inputs=clips[:, None], data_samples=None))
    feats, _ = self.recognizer.extract_feat(data['inputs'], test_mode=True)
    return self.recognizer.cls_head(feats).softmax(-1)


def wrong_channels(self, clips):
    return right_forward(self, clips.flip(1))


def wrong_range(self, clips):
    return right_forward(self, clips / 255)


right_forward = export.Classifier.forward


@pytest.mark.parametrize(
    ('name', 'fault'),
    [
        ('multi_label', wrong_activation),
        ('score', wrong_activation),
        ('softmax', wrong_channels),
        ('softmax', wrong_range),
    ],
)
def test_a_planted_fault_is_refused_and_no_file_is_left(
    tmp_path, checkpoint, capsys, monkeypatch, name, fault
):
    monkeypatch.setattr(export.Classifier, 'forward', fault)
    out = tmp_path / 'x.pt2'
    assert run(CONFIG, checkpoint, out, '--cfg-options', *(variant(name) or ['resume=False'])) == 1
    assert 'the export differs from the model by' in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_metadata(tmp_path, checkpoint):
    import onnxruntime

    out = tmp_path / 'x.onnx'
    assert run(CONFIG, checkpoint, out) == 0
    session = onnxruntime.InferenceSession(str(out), providers=['CPUExecutionProvider'])
    texts = session.get_modelmeta().custom_metadata_map
    about = {key: json.loads(text) for key, text in texts.items()}
    preprocessor = recognizer(checkpoint).data_preprocessor
    assert about['classes'] == [f'class {i}' for i in range(8)]
    assert about['normalization']['mean'] == preprocessor.mean.flatten().tolist()
    for key, value in dict(
        input_shape=[8, 40, 40],
        input_range=[0, 255],
        clip_len=8,
        frame_interval=2,
        num_clips=3,
        resize=[48, 48],
        crop=dict(type='CenterCrop', size=40),
        average_clips='prob',
        multi_label=False,
        output='probabilities (softmax)',
    ).items():
        assert about[key] == value, key
    assert about['input_order'].startswith('batch, channel (RGB), time')
    assert session.get_outputs()[0].name == 'probabilities'


def test_the_documented_example_with_onnxruntime(tmp_path, checkpoint, monkeypatch, capsys):
    text = (ROOT / 'docs' / 'deployment.md').read_text()
    (example,) = re.findall(r'```python\n(import json.*?)```', text, flags=re.S)
    assert len([line for line in example.splitlines() if line.strip()]) <= 12
    assert run(CONFIG, checkpoint, tmp_path / 'model.onnx') == 0
    video = write_video(tmp_path / 'video.mp4', num_frames=60, width=96, height=64)
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    exec(compile(example, 'docs/deployment.md', 'exec'), {})
    name, score = re.fullmatch(r'(class \d) ([\d.]+)\n', capsys.readouterr().out).groups()
    monkeypatch.chdir(ROOT)
    model = recognizer(checkpoint)
    steps = steps_for(pipeline_steps(model.cfg), 'video', one_view=True)
    expected = inference_recognizer(model, video, steps)
    assert name == f'class {int(expected.pred_label)}'
    assert float(score) == pytest.approx(float(expected.pred_score.max()), abs=0.02)


def test_what_cannot_be_exported(tmp_path, checkpoint, capsys):
    assert run(CONFIG, checkpoint, tmp_path / 'x.pth') == 2
    assert 'has to end in .onnx or .pt2' in capsys.readouterr().err
    assert run(CONFIG, checkpoint, tmp_path / 'x.onnx', '--aot') == 2
    frames = 'configs/recognition/baselines/resnet18_motion_digits.py'
    assert run(frames, '-', tmp_path / 'x.onnx', '--shape', 8, 40, 40) == 2
    assert 'error: a Recognizer2D cannot be exported' in capsys.readouterr().err
