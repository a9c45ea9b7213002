"""Weights are read without running code."""

import os
import pickle

import pytest
import torch
from mmengine.runner.checkpoint import CheckpointLoader
from safetensors.torch import save_file

import mmaction.models  # noqa: F401 (registers the loaders)
from mmaction.utils.checkpoint import CheckpointError


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
