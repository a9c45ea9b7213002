"""Weights are read without running code."""

import functools
import hashlib
import http.server
import os
import pickle
import subprocess
import sys
import threading

import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from mmengine.runner.checkpoint import CheckpointLoader
from safetensors.torch import save_file

from mmaction.errors import CheckpointError
from mmaction.utils.checkpoint_reading import (
    read_checkpoint,
    register_safe_loaders,
    weights_of_backbone,
)


@pytest.fixture(autouse=True)
def _safe_loaders():
    register_safe_loaders()


class Exploit:
    """A pickle that makes a folder when it is loaded."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


def test_a_malicious_pickle_does_not_run(tmp_path):
    torch.save({'state_dict': Exploit(tmp_path / 'owned')}, tmp_path / 'bad.pth')
    with pytest.raises(CheckpointError, match=r'bad\.pth was refused: it holds Python objects'):
        CheckpointLoader.load_checkpoint(str(tmp_path / 'bad.pth'))
    assert not (tmp_path / 'owned').exists()
    pickle.loads(pickle.dumps(Exploit(tmp_path / 'owned')))
    assert (tmp_path / 'owned').exists()  # it would have


def test_tensors_load_from_pth_and_safetensors(tmp_path):
    state = {'a': torch.randn(3), 'b': torch.arange(4)}
    torch.save(state, tmp_path / 'x.pth')
    save_file(state, tmp_path / 'x.safetensors')
    for name in ('x.pth', 'x.safetensors'):
        loaded = CheckpointLoader.load_checkpoint(str(tmp_path / name))
        assert all(torch.equal(loaded[k], v) for k, v in state.items())


@pytest.mark.parametrize('name', ['cut.pth', 'cut.safetensors', 'empty.pth', 'text.pth'])
def test_a_damaged_file_is_named(tmp_path, name):
    path = tmp_path / name
    if name.startswith('cut'):
        state = {'a': torch.randn(300)}
        torch.save(state, path) if name.endswith('.pth') else save_file(state, path)
        path.write_bytes(path.read_bytes()[:200])
    else:
        path.write_text('' if name == 'empty.pth' else 'not a checkpoint')
    with pytest.raises(CheckpointError, match=name.replace('.', r'\.')):
        CheckpointLoader.load_checkpoint(str(path))
    with pytest.raises(FileNotFoundError, match=r'none\.pth'):
        CheckpointLoader.load_checkpoint(str(tmp_path / 'none.pth'))


def test_timm_models_by_name(monkeypatch):
    monkeypatch.setenv('HF_HUB_OFFLINE', '1')
    monkeypatch.setattr('huggingface_hub.constants.HF_HUB_OFFLINE', True)
    with pytest.raises(CheckpointError, match=r"no pretrained model 'twins_svt_smal'.*svt_small"):
        read_checkpoint('timm://twins_svt_smal')
    # What a machine without a network says.
    with pytest.raises(CheckpointError, match=r'twins_svt_small\.in1k could not be fetched'):
        read_checkpoint('timm://twins_svt_small.in1k')


def test_weights_of_timm_are_asked_for_once(monkeypatch):
    asked = []

    def download(repo_id, filename, **_):
        asked.append(filename)
        raise LocalEntryNotFoundError('no network')

    monkeypatch.setattr('huggingface_hub.hf_hub_download', download)
    monkeypatch.setattr('timm.models._hub.hf_hub_download', download)
    with pytest.raises(CheckpointError, match='could not be fetched'):
        read_checkpoint('timm://resnet10t')
    assert asked == ['model.safetensors']
    # A cache that holds the older file alone.
    monkeypatch.setattr('huggingface_hub.try_to_load_from_cache', lambda **_: '/pytorch_model.bin')
    with pytest.raises(CheckpointError, match='could not be fetched'):
        read_checkpoint('timm://resnet10t')
    assert asked[-1] == 'pytorch_model.bin'


def test_addresses(tmp_path, monkeypatch):
    weights = {'a': torch.randn(3)}
    torch.save(weights, tmp_path / 'x.pth')
    digest = hashlib.sha256((tmp_path / 'x.pth').read_bytes()).hexdigest()[:8]
    (tmp_path / f'x-{digest}.pth').write_bytes((tmp_path / 'x.pth').read_bytes())
    (tmp_path / 'x-01234567.pth').write_bytes((tmp_path / 'x.pth').read_bytes())
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'cache'))
    handler = functools.partial(QuietHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        root = f'http://127.0.0.1:{server.server_port}'
        assert torch.equal(read_checkpoint(f'{root}/x-{digest}.pth')['a'], weights['a'])
        with pytest.raises(CheckpointError, match='hash'):
            read_checkpoint(f'{root}/x-01234567.pth')
        with pytest.raises(CheckpointError, match=r'none\.pth could not be fetched .*404'):
            read_checkpoint(f'{root}/none.pth')
        server.shutdown()
    # It is kept: the server is gone.
    assert torch.equal(read_checkpoint(f'{root}/x-{digest}.pth')['a'], weights['a'])


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    """Serves files and says nothing."""

    def log_message(self, *_):
        pass


IMPORT = """
import tests.quick_start
from mmengine.runner.checkpoint import CheckpointLoader
before = dict(CheckpointLoader._schemes)
import mmaction.apis, mmaction.engine, mmaction.models
assert CheckpointLoader._schemes == before
from mmaction.registry import MODELS
from mmaction.utils import register_all_modules
register_all_modules()
MODELS.build(dict(type='Recognizer3D', backbone=dict(type='torchvision.mc3_18')))
import sys
from mmengine.runner.checkpoint import load_checkpoint
load_checkpoint(None, sys.argv[1])
"""


def test_imports_leave_mmengine_alone_and_recognizers_make_it_safe(tmp_path):
    torch.save({'state_dict': Exploit(tmp_path / 'owned')}, tmp_path / 'bad.pth')
    command = [sys.executable, '-c', IMPORT, str(tmp_path / 'bad.pth')]
    done = subprocess.run(command, capture_output=True, text=True)
    assert 'bad.pth was refused: it holds Python objects' in done.stderr
    assert not (tmp_path / 'owned').exists()


@pytest.mark.parametrize(
    ('meta', 'reason'),
    [
        (dict(dataset_meta=['run']), r"meta\['dataset_meta'\] is a list, expected a dict"),
        (dict(dataset_meta=dict(classes=5)), "'classes' is 5, expected a list of class names"),
        (dict(CLASSES='run'), "'CLASSES' is 'run', expected a list of class names"),
    ],
)
def test_names_of_classes_that_are_none_are_an_error(tmp_path, meta, reason):
    torch.save({'state_dict': {}, 'meta': meta}, tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match=rf'a\.pth: {reason}$'):
        read_checkpoint(tmp_path / 'a.pth')


def test_text_and_archives_in_place_of_a_checkpoint_are_one_sentence(tmp_path):
    (tmp_path / 'a.pth').write_text('hello\n')
    with pytest.raises(CheckpointError, match=r'a\.pth is cut off, damaged or no checkpoint$'):
        read_checkpoint(tmp_path / 'a.pth')
    torch.save({'state_dict': {'w': torch.ones(100)}}, tmp_path / 'b.pth')
    content = (tmp_path / 'b.pth').read_bytes()
    (tmp_path / 'b.pth').write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match=r'b\.pth is cut off or damaged \([^.]+\)$'):
        read_checkpoint(tmp_path / 'b.pth')


def test_names_beside_the_weights_are_no_weights():
    weight = torch.ones(2)
    found = weights_of_backbone({'model': 'r3d_18', 'stem.0.weight': weight, 'epoch': 3})
    assert found == {'stem.0.weight': weight}
