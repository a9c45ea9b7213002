"""Addresses of the Hub, and files that a local server hands out."""

import pytest
import torch

pytest.importorskip('huggingface_hub')

from safetensors.torch import save_file

from mmaction.errors import CheckpointError, ConfigError
from mmaction.utils.checkpoint_reading import read_checkpoint
from mmaction.utils.hub import HubAddress, model_folder, snapshot
from tests.hub_server import COMMIT, hub


@pytest.mark.parametrize(
    ('text', 'repo', 'revision', 'file'),
    [
        ('hf://org/repo', 'org/repo', None, None),
        ('hf://org/re.po-2@v1.0', 'org/re.po-2', 'v1.0', None),
        ('hf://org/repo:a/b.safetensors', 'org/repo', None, 'a/b.safetensors'),
        ('org/repo@refs/pr/1:x.json', 'org/repo', 'refs/pr/1', 'x.json'),
    ],
)
def test_addresses(text, repo, revision, file):
    assert HubAddress.parse(text) == HubAddress(repo, revision, file)


@pytest.mark.parametrize('text', ['hf://repo', 'hf://a/b/c', 'hf://a/b:', 'hf://a/b:../x', 'hf://'])
def test_what_is_no_address(text):
    with pytest.raises(ConfigError, match=r'no address of the Hub: expected hf://ORG/REPO'):
        HubAddress.parse(text)


def test_checkpoints_come_from_the_hub_once(tmp_path, monkeypatch):
    repo = tmp_path / 'served' / 'org' / 'repo'
    repo.mkdir(parents=True)
    weights = {'backbone.w': torch.randn(3)}
    save_file(weights, repo / 'model.safetensors')
    save_file({'backbone.w': torch.ones(2)}, repo / 'other.safetensors')
    with hub(tmp_path / 'served', monkeypatch, tmp_path / 'cache') as server:
        torch.testing.assert_close(read_checkpoint('hf://org/repo'), weights)
        found = read_checkpoint(f'hf://org/repo@{COMMIT}:other.safetensors')
        assert found['backbone.w'].tolist() == [1, 1]
        asked = len(server.asked)
        read_checkpoint(f'hf://org/repo@{COMMIT}:other.safetensors')
        assert len(server.asked) == asked  # a pinned commit is asked for once
        with pytest.raises(CheckpointError, match=r'hf://org/none could not be fetched'):
            read_checkpoint('hf://org/none')
        with pytest.raises(CheckpointError, match=r'only \.safetensors and \.json'):
            read_checkpoint('hf://org/repo:pytorch_model.bin')


def test_snapshots_hold_json_and_safetensors_alone(tmp_path, monkeypatch):
    repo = tmp_path / 'served' / 'org' / 'repo'
    repo.mkdir(parents=True)
    for name in ('config.json', 'model.safetensors', 'pytorch_model.bin', 'modeling_evil.py'):
        (repo / name).write_text('{}')
    with hub(tmp_path / 'served', monkeypatch, tmp_path / 'cache'):
        folder = model_folder(f'org/repo@{COMMIT}', weights=False)
        assert [path.name for path in folder.iterdir()] == ['config.json']
        folder = snapshot(f'hf://org/repo@{COMMIT}')
        assert sorted(path.name for path in folder.iterdir()) == [
            'config.json',
            'model.safetensors',
        ]
