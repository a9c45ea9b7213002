"""Publishing weights: slim, hashed, readable everywhere, with a card."""

import hashlib
import json

import pytest
import torch

from mmaction.engine.runner.checkpoint import save_checkpoint_file
from mmaction.utils.checkpoint_reading import read_checkpoint
from mmaction.utils.io import file_digest
from tools.deployment import publish_model


@pytest.fixture
def checkpoint(tmp_path):
    weights = {'backbone.w': torch.randn(20, 10), 'cls_head.fc_cls.bias': torch.randn(3)}
    raw = {f'module.{name}': value + 1 for name, value in weights.items()}
    content = dict(
        state_dict=weights,
        ema_state_dict={**raw, 'steps': torch.tensor(7)},
        optimizer=dict(state=torch.randn(5000)),
        meta=dict(
            epoch=3, iter=30, seed=5, cfg='model = 1\n', dataset_meta=dict(classes=['run', 'jump'])
        ),
    )
    save_checkpoint_file(content, tmp_path / 'epoch_3.pth')
    return tmp_path / 'epoch_3.pth', weights


def run(*args):
    with pytest.raises(SystemExit) as end:
        publish_model.main([str(arg) for arg in args])
    return end.value.code


@pytest.mark.parametrize('form', ['safetensors', 'pth'])
@pytest.mark.parametrize('extension', ['', '.pth', '.safetensors'])
def test_published_file_has_hash_in_name(tmp_path, checkpoint, form, extension, capsys):
    path, weights = checkpoint
    (tmp_path / 'metrics.json').write_text(json.dumps({'top1_acc': 0.5, 'clips': 8}))
    out = tmp_path / 'new' / f'my.model{extension}'
    assert run(path, out, '--format', form, '--metrics', tmp_path / 'metrics.json') == 0
    (file,) = out.parent.glob(f'*.{form}')
    digest = hashlib.sha256(file.read_bytes()).hexdigest()[:8]
    assert file.name == f'my.model-{digest}.{form}'
    assert file.stat().st_size < path.stat().st_size / 2
    loaded = read_checkpoint(file)
    loaded = loaded['state_dict'] if form == 'pth' else loaded
    assert set(loaded) == set(weights)
    assert all(torch.equal(loaded[name], weights[name]) for name in weights)
    text = (out.parent / f'my.model-{digest}.md').read_text()
    for part in ('top1_acc: 0.5', '3 epochs, 30 iters, seed 5', 'run, jump', 'model = 1', 'torch'):
        assert part in text
    assert f'{file}: 0.0 MB of 0.0 MB' in capsys.readouterr().out
    assert sorted(p.suffix for p in out.parent.iterdir()) == sorted(['.md', f'.{form}'])


def test_ema_and_raw_weights(tmp_path, checkpoint):
    path, weights = checkpoint
    assert run(path, tmp_path / 'raw', '--weights', 'raw') == 0
    (file,) = tmp_path.glob('raw-*.safetensors')
    loaded = read_checkpoint(file)
    assert all(torch.equal(loaded[name], weights[name] + 1) for name in weights)
    assert 'Nothing was measured' in file.with_suffix('.md').read_text()


def test_unpublishable_checkpoints_are_errors(tmp_path, capsys):
    torch.save({'state_dict': {'a': torch.ones(1)}}, tmp_path / 'a.pth')
    assert run(tmp_path / 'a.pth', tmp_path / 'x', '--weights', 'raw') == 1
    assert 'error: --weights raw: the checkpoint has no moving average' in capsys.readouterr().err
    torch.save({'meta': {}}, tmp_path / 'b.pth')
    assert run(tmp_path / 'b.pth', tmp_path / 'x') == 1
    assert 'holds no weights' in capsys.readouterr().err
    torch.save(
        {'state_dict': {'a': torch.ones(1), 'b': torch.full((2,), torch.nan)}}, tmp_path / 'c'
    )
    assert run(tmp_path / 'c', tmp_path / 'x') == 1
    assert (
        '1 of 2 tensors of the checkpoint hold nan or inf, the first is b'
        in capsys.readouterr().err
    )
    assert run(tmp_path / 'none.pth', tmp_path / 'x') == 1
    assert 'there is no checkpoint' in capsys.readouterr().err
    assert not list(tmp_path.glob('x*'))


def test_metrics_of_another_checkpoint_are_refused(tmp_path, checkpoint, capsys):
    path, _ = checkpoint
    metrics = tmp_path / 'metrics.json'
    facts = {'top1_acc': 0.5, 'checkpoint': str(path), 'checkpoint_sha256': file_digest(path)}
    metrics.write_text(json.dumps(facts))
    assert run(path, tmp_path / 'a', '--metrics', metrics) == 0
    assert run(path, tmp_path / 'b', '--weights', 'raw', '--metrics', metrics) == 1
    assert 'a test measures the moving average' in capsys.readouterr().err
    # a later checkpoint under the name of the one that was tested
    path.write_bytes(path.read_bytes() + b' ')
    assert run(path, tmp_path / 'c', '--metrics', metrics) == 1
    assert f'was measured with {path}, which is not' in capsys.readouterr().err
    metrics.write_text(json.dumps({'top1_acc': 0.5, 'checkpoint': 'elsewhere/epoch_30.pth'}))
    assert run(path, tmp_path / 'd', '--metrics', metrics) == 1
    assert 'was measured with elsewhere/epoch_30.pth' in capsys.readouterr().err
    assert not [file for name in 'bcd' for file in tmp_path.glob(f'{name}-*')]


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('[0.5]', 'holds a list, expected a dict of metrics'),
        ('{"top1', 'is no JSON'),
        ('', 'is no JSON'),
    ],
)
def test_metrics_that_are_none(tmp_path, checkpoint, capsys, text, message):
    metrics = tmp_path / 'metrics.json'
    metrics.write_text(text)
    assert run(checkpoint[0], tmp_path / 'x', '--metrics', metrics) == 1
    assert f'error: {metrics} {message}' in capsys.readouterr().err
    assert not list(tmp_path.glob('x*'))


def test_metrics_without_a_hash_are_said_to_be(tmp_path, checkpoint):
    path, _ = checkpoint
    metrics = tmp_path / 'metrics.json'
    metrics.write_text(json.dumps({'top1_acc': 0.5, 'checkpoint': f'elsewhere/{path.name}'}))
    assert run(path, tmp_path / 'x', '--metrics', metrics) == 0
    (card,) = tmp_path.glob('x-*.md')
    assert 'The metrics name their checkpoint, without its hash.' in card.read_text()
