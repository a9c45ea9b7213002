"""Exported models give what the recognizer predicts, whatever the size of the batch."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from mmaction.apis import export, inference_recognizer, init_recognizer
from mmaction.apis.test_pipeline import pipeline_steps, steps_for
from mmaction.config.load import load_config
from mmaction.datasets.transforms import UniformSample
from tests.apis.small_model import run, write_small, write_weights
from tests.video_factory import write_video

ROOT = Path(__file__).parents[2]
CONFIG = 'configs/recognition/dualformer/dualformer_pico_motion_digits.py'
# Each export takes seconds, so settings that do not touch each other share one.
VARIANTS = {
    'softmax': ['model.cls_head.dropout_ratio=0.5', 'model.backbone.drop_path_rate=0.5'],
    'multi_label': [
        'model.cls_head.multi_class=True',
        'model.cls_head.loss_cls=dict(type=BCELossWithLogits)',
        'model.data_preprocessor.to_rgb=True',
        'model.data_preprocessor.mean=[90,120,10]',
    ],
    'score': ['model.cls_head.average_clips=score', 'model.test_cfg.max_testing_views=2'],
    'all_views': [
        'model.cls_head.average_clips=None',
        'model.data_preprocessor=dict(type=ActionDataPreprocessor)',
    ],
}


def variant(name):
    options = list(VARIANTS[name])
    cfg = load_config(CONFIG)
    if cfg.model.get('test_cfg') and 'average_clips' in cfg.model.test_cfg:
        options = [o.replace('cls_head.average_clips', 'test_cfg.average_clips') for o in options]
    return options


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    """Weights of the config on Motion Digits."""
    return write_weights(tmp_path_factory.mktemp('weights') / 'x.pth', CONFIG)


@pytest.fixture(scope='module')
def small(tmp_path_factory):
    """A smaller config and its weights."""
    return write_small(tmp_path_factory.mktemp('small'))


def recognizer(files, name='softmax'):
    config, weights = files
    return init_recognizer(config, str(weights), device='cpu', cfg_options=variant(name))


@pytest.fixture(scope='module')
def exported(tmp_path_factory, checkpoint):
    """The model as an ONNX file, in a folder that was not there."""
    out = tmp_path_factory.mktemp('exported') / 'new' / 'model.onnx'
    assert run(CONFIG, checkpoint, out, '--cfg-options', *variant('softmax')) == 0
    return out


def load(path):
    """What runs an exported file: clips (V, 3, T, H, W) as an array -> scores (V, K)."""
    if path.suffix == '.onnx':
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path), providers=['CPUExecutionProvider'])
        return lambda clips: session.run(None, {'clips': clips})[0]
    program = torch.export.load(str(path)).module()
    return lambda clips: program(torch.from_numpy(clips)).detach().numpy()


@pytest.mark.parametrize(
    ('name', 'suffix'),
    [('softmax', '.onnx'), ('all_views', '.pt2'), ('multi_label', '.pt2'), ('score', '.pt2')],
)
def test_export_gives_what_is_predicted_of_a_video(tmp_path, request, name, suffix, capsys):
    if name == 'softmax':
        out = request.getfixturevalue('exported')
        files = CONFIG, request.getfixturevalue('checkpoint')
    else:
        out = tmp_path / f'x{suffix}'
        files = request.getfixturevalue('small')
        assert run(*files, out, '--cfg-options', *variant(name)) == 0
        assert 'differs from the model by at most' in capsys.readouterr().out
    assert [path.name for path in out.parent.glob('*')] == [out.name]
    video = write_video(tmp_path / 'a.mp4', num_frames=60, width=96, height=64)
    model = recognizer(files, name)
    expected = inference_recognizer(model, video).pred_score.numpy()
    found = load(out)(export.decoded_views(model, str(video)).float().numpy())
    found = found if name == 'all_views' else found.mean(0)
    np.testing.assert_allclose(found, expected, atol=1e-3 if 'score' in name else 1e-4, rtol=1e-4)
    if name == 'multi_label':
        assert abs(expected.sum() - 1) > 0.1
        about = {'metadata.json': ''}
        torch.export.load(str(out), extra_files=about)
        assert json.loads(about['metadata.json'])['multi_label']


@pytest.mark.slow
def test_compiled_ahead_of_time(tmp_path, small):
    assert run(*small, tmp_path / 'x.pt2', '--aot') == 0
    model = recognizer(small)
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
def test_the_check_refuses_a_planted_fault(small, name, fault):
    model = recognizer(small, name)
    views = export.decoded_views(model, None)
    classifier = export.Classifier(model).eval()
    assert export.check(model, classifier, views) < 1e-5
    with pytest.raises(ValueError, match='the export differs from the model by'):
        export.check(model, lambda clips: fault(classifier, clips), views)


def test_export_with_a_planted_fault_leaves_no_file(tmp_path, small, capsys, monkeypatch):
    monkeypatch.setattr(export.Classifier, 'forward', wrong_channels)
    assert run(*small, tmp_path / 'x.pt2') == 1
    assert 'the export differs from the model by' in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_metadata(exported, checkpoint):
    import onnxruntime

    session = onnxruntime.InferenceSession(str(exported), providers=['CPUExecutionProvider'])
    texts = session.get_modelmeta().custom_metadata_map
    about = {key: json.loads(text) for key, text in texts.items()}
    preprocessor = recognizer((CONFIG, checkpoint)).data_preprocessor
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


def test_metadata_of_another_shape(tmp_path, small):
    """What the config does to a clip does not lead to the shape that was asked for."""
    out = tmp_path / 'x.pt2'
    assert run(*small, out, '--shape', 4, 48, 56) == 0
    extra = {'metadata.json': ''}
    torch.export.load(str(out), extra_files=extra)
    about = json.loads(extra['metadata.json'])
    assert (about['input_shape'], about['clip_len']) == ([4, 48, 56], 4)
    assert (about['resize'], about['crop']) == ([56, 48], None)
    assert [path.name for path in tmp_path.iterdir()] == ['x.pt2']


def test_the_documented_example_with_onnxruntime(
    tmp_path, exported, checkpoint, monkeypatch, capsys
):
    text = (ROOT / 'docs' / 'deployment.md').read_text()
    (example,) = re.findall(r'```python\n(import json.*?)```', text, flags=re.S)
    assert len([line for line in example.splitlines() if line.strip()]) <= 12
    (tmp_path / 'model.onnx').symlink_to(exported)
    video = write_video(tmp_path / 'video.mp4', num_frames=60, width=96, height=64)
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    exec(compile(example, 'docs/deployment.md', 'exec'), {})
    name, score = re.fullmatch(r'(class \d) ([\d.]+)\n', capsys.readouterr().out).groups()
    monkeypatch.chdir(ROOT)
    model = recognizer((CONFIG, checkpoint))
    steps = steps_for(pipeline_steps(model.cfg), 'video', one_view=True)
    expected = inference_recognizer(model, video, steps)
    assert name == f'class {int(expected.pred_label)}'
    assert float(score) == pytest.approx(float(expected.pred_score.max()), abs=0.02)


def test_the_documented_frames_of_a_whole_video():
    text = (ROOT / 'docs' / 'deployment.md').read_text()
    (lines,) = re.findall(r'```python\n(part = .*?)```', text, flags=re.S)
    for T in (8, 16):
        sampling = UniformSample(clip_len=T, test_mode=True)
        for total in range(1, 200):
            names = dict(np=np, T=T, frames=[None] * total)
            exec(lines, names)
            found = sampling(dict(total_frames=total, start_index=0))
            assert names['picks'].tolist() == found['frame_inds'].tolist()


def test_what_cannot_be_exported(tmp_path, checkpoint, capsys):
    assert run(CONFIG, checkpoint, tmp_path / 'x.pth') == 2
    assert 'has to end in .onnx, .xml or .pt2' in capsys.readouterr().err
    assert run(CONFIG, checkpoint, tmp_path / 'x.onnx', '--aot') == 2


NETWORKS = dict(
    tsn=(
        dict(type='ResNet', depth=18, num_stages=1, strides=(1,), dilations=(1,), out_indices=(0,)),
        dict(type='TSNHead', in_channels=64),
    ),
    tsm=(
        dict(
            type='ResNetTSM',
            depth=18,
            num_segments=4,
            num_stages=1,
            strides=(1,),
            dilations=(1,),
            out_indices=(0,),
        ),
        dict(type='TSMHead', in_channels=64, num_segments=4),
    ),
    slowonly=(
        dict(
            type='ResNet3dSlowOnly',
            depth=50,
            lateral=False,
            base_channels=8,
            stage_blocks=(1, 1, 1, 1),
            norm_eval=False,
        ),
        dict(type='I3DHead', in_channels=256),
    ),
    vit=(
        dict(
            type='VisionTransformer', img_size=32, embed_dims=24, depth=2, num_heads=2, num_frames=4
        ),
        dict(type='TimeSformerHead', in_channels=24),
    ),
)


def write_network(folder, name):
    """A config and a checkpoint of a small network of mmaction2's."""
    backbone, head = NETWORKS[name]
    by_frame = name in ('tsn', 'tsm')
    sampling = dict(clip_len=1, num_clips=4) if by_frame else dict(clip_len=4, num_clips=2)
    layout = 'NCHW' if by_frame else 'NCTHW'
    model = dict(
        type='Recognizer2D' if by_frame else 'Recognizer3D',
        backbone=backbone,
        cls_head=dict(head, num_classes=5, average_clips='prob', init_std=0.5),
        data_preprocessor=dict(
            type='ActionDataPreprocessor', mean=[120] * 3, std=[60] * 3, format_shape=layout
        ),
    )
    pipeline = [
        dict(type='DecordInit'),
        dict(type='SampleFrames', frame_interval=2, test_mode=True, **sampling),
        dict(type='DecordDecode'),
        dict(type='Resize', scale=(-1, 32)),
        dict(type='ThreeCrop', crop_size=32),
        dict(type='FormatShape', input_format=layout),
        dict(type='PackActionInputs'),
    ]
    path = folder / f'{name}.py'
    path.write_text(f'model = {model!r}\ntest_pipeline = {pipeline!r}\n')
    recognizer = init_recognizer(str(path), device='cpu')
    torch.manual_seed(0)
    torch.nn.init.normal_(recognizer.cls_head.fc_cls.weight)
    weights = folder / 'x.pth'
    torch.save(dict(state_dict=recognizer.state_dict(), meta={}), weights)
    return path, weights


@pytest.mark.parametrize(
    ('name', 'suffix'),
    [
        # of TSM's steps, TSN has fewer
        pytest.param('tsn', '.onnx', marks=pytest.mark.slow),
        ('tsm', '.onnx'),
        ('tsm', '.pt2'),
        ('slowonly', '.pt2'),
        pytest.param('slowonly', '.onnx', marks=pytest.mark.slow),
        ('vit', '.onnx'),
        pytest.param('vit', '.pt2', marks=pytest.mark.slow),
    ],
)
def test_other_networks(tmp_path, name, suffix, capsys):
    config, weights = write_network(tmp_path, name)
    out = tmp_path / f'x{suffix}'
    assert run(config, weights, out) == 0
    # two clips of 2-D models: all crops of the segments, one after another
    shape = '12, 3, 32, 32' if name in ('tsn', 'tsm') else '3, 4, 32, 32'
    assert f'clips (batch, {shape}); differs' in capsys.readouterr().out
    if suffix == '.pt2':
        model = init_recognizer(str(config), str(weights), device='cpu')
        views = export.decoded_views(model, None).float()
        clips = torch.stack([views, views.flip(0)]) if name == 'tsm' else views
        found = torch.export.load(str(out)).module()(clips)
        expected = [export.predict(model, clip) for clip in clips] if name == 'tsm' else None
        if expected is None:
            found, expected = found.mean(0), export.predict(model, views)
        else:
            expected = torch.stack(expected)
            assert (expected[0] - expected[1]).abs().max() > 1e-3
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_what_random_frames_tell_is_refused(tmp_path, capsys, monkeypatch):
    """TRN draws its tuples of frames anew for each batch: no export gives the same."""
    head = dict(type='TRNHead', in_channels=64, num_segments=4, hidden_dim=8)
    monkeypatch.setitem(NETWORKS, 'tsn', (NETWORKS['tsn'][0], head))
    config, weights = write_network(tmp_path, 'tsn')
    assert run(config, weights, tmp_path / 'x.pt2') == 1
    assert 'the export differs from the model by' in capsys.readouterr().err
