"""Exports to OpenVINO: fp32, int8, what is quantized; run by `test_openvino_model.py`."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch

from mmaction.apis import export, init_recognizer
from mmaction.apis.openvino_model import (
    model_runner,
    quantized,
    read_model,
    save_model,
)
from tests.apis.small_model import run, write_small
from tests.video_factory import write_video

pytest.importorskip('onnxscript')
pytest.importorskip('nncf')
pytest.importorskip('openvino')

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """Config and checkpoint."""
    return write_small(tmp_path_factory.mktemp('small'))


@pytest.fixture(scope='module')
def listed(tmp_path_factory):
    folder = tmp_path_factory.mktemp('videos')
    for i in range(8):
        write_video(folder / f'{i}.mp4', num_frames=20 + 2 * i, width=96, height=64)
    path = folder / 'list.txt'
    path.write_text(''.join(f'{i}.mp4 {i}\n' for i in range(8)))
    return path


@pytest.fixture(scope='module')
def model(files):
    return init_recognizer(*files, device='cpu')


@pytest.fixture(scope='module')
def video(tmp_path_factory):
    return write_video(
        tmp_path_factory.mktemp('video') / 'video.mp4', num_frames=60, width=96, height=64
    )


@pytest.fixture(scope='module')
def exported(tmp_path_factory, files, listed):
    """A folder with the int8 file, and the fp32 one of which it was made."""
    folder = tmp_path_factory.mktemp('exported') / 'new'
    written = export.export

    def spied(model, clips, out, *rest):
        run_it = written(model, clips, out, *rest)
        for file in out.parent.iterdir():
            shutil.copy(file, folder / f'fp32{file.suffix}')
        return run_it

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, 'export', spied)
        assert run(*files, folder / 'int8.xml', '--int8', listed) == 0
    names = sorted(path.name for path in folder.iterdir())
    assert names == ['fp32.bin', 'fp32.xml', 'int8.bin', 'int8.xml']
    return folder


@pytest.fixture
def exported_already(exported, monkeypatch):
    """Take the fp32 file instead of exporting it again."""

    def copied(model, clips, out, aot, about):
        save_model(read_model(exported / 'fp32.xml'), out, about)
        return model_runner(out, 'f32')

    monkeypatch.setattr(export, 'export', copied)


@pytest.mark.parametrize(('name', 'precision', 'off'), [('fp32', 'f32', 1e-4), ('int8', None, 0.1)])
def test_scores_of_a_video_are_those_of_the_recognizer(
    exported, model, video, name, precision, off
):
    views = export.decoded_views(model, str(video))
    found = model_runner(exported / f'{name}.xml', precision)(views.float())
    assert found.shape == (3, 8)  # any number of clips
    error = (found.mean(0) - export.predict(model, views)).abs().max()
    assert error < off
    if name == 'int8':
        assert error > 1e-5  # they are not the fp32 scores


def test_linear_layers_are_int8_and_attention_is_not(exported, model):
    ops = read_model(exported / 'int8.xml').get_ops()
    linear = [m for m in model.modules() if isinstance(m, torch.nn.Linear)]
    int8 = [op for op in ops if op.get_type_name() == 'MatMul' and weight_type(op) == 'i8']
    # the patch embeddings are products, too
    assert len(int8) == len(linear) + len(model.backbone.patch_embeds)
    norms = [op for op in ops if op.get_type_name() in ('Softmax', 'MVN')]
    attention = [op for op in ops if op.get_type_name() == 'MatMul' and not weight_type(op)]
    assert len(attention) == 2 * sum(map(len, model.backbone.blocks))
    for op in norms + attention:
        for source in op.input_values():
            assert source.get_node().get_type_name() != 'FakeQuantize'


def weight_type(op):
    """The type in which the second factor of a product is stored."""
    node = op.input(1).get_source_output().get_node()
    while node.get_type_name() in ('Multiply', 'Convert', 'Subtract', 'Reshape', 'Transpose'):
        node = node.input(0).get_source_output().get_node()
    constant = node.get_type_name() == 'Constant'
    return node.get_element_type().get_type_name() if constant else None


def test_metadata_and_size(exported):
    about = {
        name: json.loads(read_model(exported / f'{name}.xml').get_rt_info('mmaction').value)
        for name in ('fp32', 'int8')
    }
    assert about['fp32']['input_shape'] == [8, 40, 40]
    assert about['fp32']['precision'] == 'fp32'
    added = dict(precision='int8', calibration_clips=6)
    assert about['int8'] == {**about['fp32'], **added}
    sizes = [(exported / f'{name}.bin').stat().st_size for name in ('fp32', 'int8')]
    assert sizes[1] < sizes[0] / 2


def test_the_documented_example(tmp_path, exported, model, video, monkeypatch, capsys):
    text = (ROOT / 'docs' / 'deployment.md').read_text()
    (changed,) = re.findall(r'```python\n(import openvino.*?)```', text, flags=re.S)
    (example,) = re.findall(r'```python\n(import json.*?)```', text, flags=re.S)
    # It replaces the lines about onnxruntime, and the last but one.
    lines = example.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith('model ='))
    opening, running = changed.strip().rsplit('\n', 1)
    lines[start : start + 2] = opening.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith('scores ='))
    lines[at] = running
    source = '\n'.join(lines).replace(', onnxruntime', '')
    for suffix in ('xml', 'bin'):
        (tmp_path / f'model.{suffix}').symlink_to(exported / f'fp32.{suffix}')
    (tmp_path / 'video.mp4').symlink_to(video)
    monkeypatch.chdir(tmp_path)
    exec(compile(source, 'docs/deployment.md', 'exec'), {})
    name, score = re.fullmatch(r'(class \d) ([\d.]+)\n', capsys.readouterr().out).groups()
    views = export.decoded_views(model, str(video))
    expected = export.predict(model, views)
    assert name == f'class {int(expected.argmax())}'
    assert float(score) == pytest.approx(float(expected.max()), abs=0.1)


def test_fp32_says_how_this_processor_runs_it(exported_already, files, tmp_path, capsys):
    assert run(*files, tmp_path / 'x.xml') == 0
    told = capsys.readouterr().out
    assert re.search(r'differs from the model by at most \d', told)
    assert re.search(r'on 1 clip, .* a cosine of (1\.0000|0\.99\d\d) of the scores', told)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['x.bin', 'x.xml']


FAULTS = {
    'scaled to 1': lambda clip: clip / 255,
    'black': lambda clip: clip * 0,
}


@pytest.mark.parametrize('fault', FAULTS)
def test_wrong_calibration_is_refused(
    exported_already, files, tmp_path, listed, capsys, monkeypatch, fault
):
    def wrongly(model, clips, to_input):
        return quantized(model, clips, lambda clip: FAULTS[fault](to_input(clip)))

    monkeypatch.setattr(export, 'quantized', wrongly)
    assert run(*files, tmp_path / 'x.xml', '--int8', listed) == 1
    assert re.search(r'on 2 clips, .* below 0\.99', capsys.readouterr().err)
    assert not list(tmp_path.iterdir())


def test_benchmark_compares_files_with_the_recognizer(exported, files, listed, capsys):
    from tools.analysis_tools import benchmark_export

    benchmark_export.main(
        [*files, str(exported / 'int8.xml'), '--list', str(listed), '--steps', '2']
    )
    eager, int8, f32 = capsys.readouterr().out.splitlines()[1:]
    assert eager.startswith('eager')
    assert '1.00 x eager  cosine 1.0000 (least 1.0000)' in eager
    assert int8.startswith('int8.xml')
    assert f32.startswith('int8.xml, f32')
    assert 'cosine 0.99' in int8 or 'cosine 1.0000' in int8
