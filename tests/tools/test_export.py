"""Exported models give what the model gives, whatever the size of the batch."""

import numpy as np
import pytest
import torch

from mmaction.apis import init_recognizer
from tools.deployment import export

CONFIG = 'configs/recognition/dualformer/dualformer_pico_motion_digits.py'


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    """Weights by which the classes differ much, unlike those at the start of training."""
    path = tmp_path_factory.mktemp('weights') / 'x.pth'
    torch.manual_seed(0)
    model = init_recognizer(CONFIG, None, device='cpu')
    model.cls_head.fc_cls.weight.data *= 200
    torch.save({'state_dict': model.state_dict()}, path)
    return path


def run(*args):
    with pytest.raises(SystemExit) as end:
        export.main([str(arg) for arg in args])
    return end.value.code


def scores(checkpoint, clips):
    """The model's own probabilities of clips, by way of its preprocessor."""
    model = init_recognizer(CONFIG, str(checkpoint), device='cpu')
    data = model.data_preprocessor(dict(inputs=[c[None] for c in clips], data_samples=None))
    with torch.no_grad():
        return model(data['inputs'], stage='head').softmax(-1)


@pytest.mark.parametrize('name', ['x.onnx', 'x.pt2'])
def test_export_matches_model(tmp_path, checkpoint, capsys, name):
    out = tmp_path / 'new' / name
    assert run(CONFIG, checkpoint, out) == 0
    assert 'differs from the model by at most' in capsys.readouterr().out
    clips = torch.rand(5, 3, 8, 40, 40) * 255
    if name.endswith('.onnx'):
        import onnxruntime

        session = onnxruntime.InferenceSession(str(out), providers=['CPUExecutionProvider'])
        (found,) = session.run(['probabilities'], {'clips': clips.numpy()})
    else:
        found = torch.export.load(str(out)).module()(clips).detach().numpy()
    expected = scores(checkpoint, clips).numpy()
    assert expected.max() > 0.5
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.slow
def test_compiled_ahead_of_time(tmp_path, checkpoint):
    assert run(CONFIG, checkpoint, tmp_path / 'x.pt2', '--aot') == 0
    clips = torch.rand(2, 3, 8, 40, 40) * 255
    found = torch._inductor.aoti_load_package(str(tmp_path / 'x.pt2'))(clips)
    torch.testing.assert_close(found, scores(checkpoint, clips), atol=1e-4, rtol=0)


def test_a_wrong_export_is_refused(checkpoint):
    model = export.Classifier(init_recognizer(CONFIG, str(checkpoint), device='cpu')).eval()
    assert export.check(model, model, (8, 40, 40)) == 0
    with pytest.raises(ValueError, match='the export differs from the model by'):
        export.check(model, lambda x: model(x * 0.5), (8, 40, 40))


def test_unsupported_exports_are_errors(tmp_path, checkpoint, capsys):
    assert run(CONFIG, checkpoint, tmp_path / 'x.pth') == 2
    assert 'has to end in .onnx or .pt2' in capsys.readouterr().err
    assert run(CONFIG, checkpoint, tmp_path / 'x.onnx', '--aot') == 2
    frames = 'configs/recognition/baselines/resnet18_motion_digits.py'
    assert run(frames, '-', tmp_path / 'x.onnx', '--shape', 8, 40, 40) == 2
    assert 'error: a Recognizer2D cannot be exported' in capsys.readouterr().err
    s3d = 'configs/recognition/baselines/s3d_motion_digits.py'
    assert run(s3d, '-', tmp_path / 'x.onnx') == 1
    assert 'give --shape T H W' in capsys.readouterr().err
