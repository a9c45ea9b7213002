import ctypes
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer, MessageHub
from torch import nn

from mmaction.engine.runner.checkpoint import (
    checkpoints_by_age,
    find_checkpoint,
    load_checkpoint_file,
    load_weights,
    plain,
    save_checkpoint_file,
    write_pointer,
)
from mmaction.errors import CheckpointError
from mmaction.models import DualFormer
from tests.processes import Forked


class Malicious:
    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def test_saved_and_loaded(tmp_path):
    content = {'state_dict': {'w': torch.arange(3.0)}, 'meta': {'epoch': 2}}
    save_checkpoint_file(content, tmp_path / 'new folder' / 'a.pth')
    loaded = load_checkpoint_file(tmp_path / 'new folder' / 'a.pth')
    assert loaded['meta'] == {'epoch': 2}
    assert torch.equal(loaded['state_dict']['w'], torch.arange(3.0))
    assert os.listdir(tmp_path / 'new folder') == ['a.pth']


def test_failed_save_keeps_previous_checkpoint(tmp_path):
    path = tmp_path / 'a.pth'
    save_checkpoint_file({'epoch': 1}, path)
    # a local function cannot be pickled; Python 3.14 has an error of its own for it
    with pytest.raises((AttributeError, pickle.PicklingError)):
        save_checkpoint_file({'weights': torch.ones(1000), 'bad': lambda: None}, path)
    assert load_checkpoint_file(path) == {'epoch': 1}
    assert os.listdir(tmp_path) == ['a.pth']


def test_a_malicious_checkpoint_is_refused_and_does_not_run(tmp_path):
    proof = tmp_path / 'it ran'
    content = {'state_dict': {'w': torch.ones(2)}, 'extra': Malicious(f'touch "{proof}"')}
    torch.save(content, tmp_path / 'bad.pth')
    with pytest.raises(CheckpointError, match=r'bad\.pth was refused.*posix\.system'):
        load_checkpoint_file(tmp_path / 'bad.pth')
    assert not proof.exists()
    torch.load(tmp_path / 'bad.pth', weights_only=False)
    assert proof.exists()  # what was refused does run where it is not


@pytest.mark.parametrize('keep', [0.0, 0.3, 0.9, 0.999])
def test_truncated_checkpoint_is_named(tmp_path, keep):
    path = tmp_path / 'a.pth'
    save_checkpoint_file({'state_dict': {'w': torch.randn(5000)}}, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(CheckpointError, match=r'a\.pth is cut off'):
        load_checkpoint_file(path)


def test_flipped_byte_is_detected(tmp_path):
    path = tmp_path / 'a.pth'
    save_checkpoint_file({'state_dict': {'w': torch.zeros(5000)}}, path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(bytes(content))
    with pytest.raises(CheckpointError, match='damaged'):
        load_checkpoint_file(path)


def test_invalid_checkpoint_files_are_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match='there is no checkpoint'):
        load_checkpoint_file(tmp_path / 'none.pth')
    torch.save(torch.ones(2), tmp_path / 'tensor.pth')
    with pytest.raises(CheckpointError, match='holds a Tensor, not a dict'):
        load_checkpoint_file(tmp_path / 'tensor.pth')
    (tmp_path / 'text.pth').write_text('404: not found')
    with pytest.raises(CheckpointError, match='no checkpoint'):
        load_checkpoint_file(tmp_path / 'text.pth')


def test_a_checkpoint_of_mmengine_loads(tmp_path):
    hub = MessageHub.get_instance('old checkpoint')
    hub.update_scalar('train/loss', 1.5)
    hub.update_scalar('train/loss', np.float32(0.5))
    content = {
        'state_dict': {'w': torch.ones(2)},
        'message_hub': hub.state_dict(),
        'meta': {'best': np.float64(0.25), 'flag': np.bool_(True)},
    }
    torch.save(content, tmp_path / 'old.pth')
    loaded = load_checkpoint_file(tmp_path / 'old.pth')
    assert loaded['message_hub']['log_scalars']['train/loss'].mean() == 1.0
    assert loaded['meta']['best'] == 0.25


def test_plain_values_load_with_weights_only(tmp_path):
    class Odd:
        def __str__(self):
            return 'odd'

    content = plain(
        {
            'buffer': HistoryBuffer([1.0, 2.0], [1, 1]),
            'array': np.arange(3),
            'names': np.array(['a', 'b']),
            'number': np.float64(0.5),
            'nested': [(1, 2.5), {'x'}, None, 'text', Odd()],
            3: torch.ones(1, requires_grad=True),
        }
    )
    torch.save(content, tmp_path / 'a.pth')
    loaded = torch.load(tmp_path / 'a.pth', weights_only=True)
    assert loaded['buffer']['values'].tolist() == [1.0, 2.0]
    assert loaded['array'].tolist() == [0, 1, 2]
    assert loaded['names'] == ['a', 'b']
    assert loaded['number'] == 0.5
    assert type(loaded['number']) is float
    assert loaded['nested'] == [(1, 2.5), {'x'}, None, 'text', 'odd']
    assert not loaded[3].requires_grad


def test_resume_candidates_pointer_first_then_by_age(tmp_path):
    for age, name in enumerate(['iter_9.pth', 'epoch_1.pth', 'epoch_10.pth', 'best_x.pth']):
        save_checkpoint_file({}, tmp_path / name)
        os.utime(tmp_path / name, (100 + age, 100 + age))
    assert [p.name for p in checkpoints_by_age(tmp_path)] == [
        'epoch_10.pth',
        'epoch_1.pth',
        'iter_9.pth',
    ]
    write_pointer(tmp_path, '/moved/elsewhere/epoch_1.pth')
    assert find_checkpoint(tmp_path) == tmp_path / 'epoch_1.pth'
    assert len(checkpoints_by_age(tmp_path)) == 3
    write_pointer(tmp_path, '/gone.pth')
    assert find_checkpoint(tmp_path).name == 'epoch_10.pth'
    assert find_checkpoint(tmp_path / 'empty') is None


class Recognizer(nn.Module):
    """A backbone and a head of one layer each."""

    def __init__(self, classes=4):
        super().__init__()
        torch.manual_seed(1)
        self.backbone = nn.Linear(2, 3)
        self.cls_head = nn.Sequential(nn.Linear(3, classes))


def ones(model):
    return {name: torch.ones_like(value) for name, value in model.state_dict().items()}


@pytest.mark.parametrize(
    'prefix', ['', 'module.', '_orig_mod.', 'module._orig_mod.', '_orig_mod.module.']
)
@pytest.mark.parametrize('key', [None, 'state_dict', 'model'])
def test_all_weights_load(key, prefix):
    model = Recognizer()
    weights = {f'{prefix}{name}': value for name, value in ones(model).items()}
    around = {'meta': {}, 'optimizer': {'state': {}}, 'amp': {'loss_scaler0': {}}}
    report = load_weights(model, {key: weights, **around} if key else weights, 'x', strict=True)
    assert report.complete
    assert report.total == len(report.loaded) == 4
    assert all(bool((p == 1).all()) for p in model.parameters())


@pytest.mark.parametrize('value', [float('nan'), float('inf'), 1e300])
def test_weights_that_are_not_finite_are_named(value):
    """Of a number that is too large for the model, too."""
    model = Recognizer()
    weights = ones(model)
    assert load_weights(model, weights, 'x.pth', strict=True).warning('x.pth') is None
    weights = {name: tensor.double() for name, tensor in weights.items()}
    weights['cls_head.0.bias'][1] = value
    text = load_weights(model, weights, 'x.pth', strict=True).warning('x.pth')
    assert text.startswith('1 of 4 tensors of x.pth hold nan or inf, the first is cls_head.0.bias')


def test_weights_of_compiled_parts_load():
    model = Recognizer()
    weights = {
        name.replace('backbone.', 'backbone._orig_mod.').replace(
            'head.0', 'head.0._orig_mod'
        ): value
        for name, value in ones(model).items()
    }
    assert sum('_orig_mod' in name for name in weights) == 4
    assert load_weights(model, weights, 'x', strict=True).complete
    bare = {name.removeprefix('backbone.'): value for name, value in weights.items()}
    found = load_weights(
        model, {k: v for k, v in bare.items() if 'head' not in k}, 'x', strict=False
    )
    assert found.loaded == list(ones(model))[:2]


def test_pooling_kernels_of_other_clips_start_anew():
    """UCF101-T starts from the 32-frame Kinetics model, as in the release."""
    sizes = dict(
        embed_dims=(8,), num_heads=(2,), depths=(2,), mlp_ratios=(1,), local_sizes=((2, 2, 2),),
        fine_pysizes=((2, 2, 2),), coarse_pysizes=((1, 2, 2),),
    )  # fmt: skip
    models = [DualFormer(arch=sizes, video_size=(frames, 32, 32)) for frames in (8, 16)]
    short, long = (nn.ModuleDict({'backbone': model}) for model in models)
    kernels = ['blocks.0.1.attn.lr.3.weight', 'blocks.0.1.attn.sr.weight']
    kernels = [f'backbone.{name}' for name in kernels]
    own = {name: value.clone() for name, value in short.state_dict().items()}
    report = load_weights(short, long.state_dict(), 'x.pth', strict=False)
    assert sorted(name for name, _, _ in report.mismatched) == kernels
    assert all(name in str(report) for name in kernels)
    for name, value in short.state_dict().items():
        assert torch.equal(value, own[name] if name in kernels else long.state_dict()[name]), name
    with pytest.raises(CheckpointError, match=r'other shapes: .*sr\.weight'):
        load_weights(short, long.state_dict(), 'x.pth', strict=True)
    wider = {**long.state_dict(), kernels[1]: torch.zeros(9, 1, 2, 4, 4)}
    with pytest.raises(CheckpointError, match=r'sr\.weight \(\(9, 1, 2, 4, 4\) in the file'):
        load_weights(short, wider, 'x.pth', strict=False)


def test_head_of_other_classes_is_reinitialized():
    model = Recognizer()
    before = model.cls_head[0].weight.clone()
    weights = ones(Recognizer(7))
    weights['cls_head.more'] = torch.ones(1)
    del weights['cls_head.0.bias']
    report = load_weights(model, weights, 'x.pth', strict=False)
    assert torch.equal(model.cls_head[0].weight, before)
    assert bool((model.backbone.weight == 1).all())
    assert (len(report.loaded), report.total) == (2, 4)
    assert str(report) == (
        'other shapes: cls_head.0.weight ((7, 3) in the file, (4, 3) here); not in the file: '
        'cls_head.0.bias; not in the model: cls_head.more'
    )
    with pytest.raises(CheckpointError, match=r'x\.pth does not fit .*0\.weight \(\(7, 3\)'):
        load_weights(model, weights, 'x.pth', strict=True)


def test_backbone_checkpoint_loads_for_training_only():
    model = Recognizer()
    weights = {
        name.removeprefix('backbone.'): v for name, v in ones(model).items() if 'back' in name
    }
    assert load_weights(model, weights, 'x.pth', strict=False).loaded == list(ones(model))[:2]
    with pytest.raises(CheckpointError, match=r'not in the file: cls_head\.0\.weight'):
        load_weights(model, weights, 'x.pth', strict=True)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(weight=None), r'not in the file: backbone\.weight'),
        (dict(weight=torch.ones(5)), r'other shapes: backbone\.weight \(\(5,\) in the file'),
        (dict(wait=torch.ones(5)), r'not in the model: backbone\.wait'),
    ],
)
def test_mismatch_outside_the_head_is_error(change, message):
    model = Recognizer()
    weights = ones(model)
    weights.update({f'backbone.{name}': value for name, value in change.items()})
    weights = {name: value for name, value in weights.items() if value is not None}
    with pytest.raises(CheckpointError, match=message):
        load_weights(model, weights, 'x.pth', strict=False)
    assert not bool((model.backbone.bias == 1).all())


def layers(width, classes, name='conv'):
    """A model of eight layers; a kind of model has its own names of them."""
    backbone = nn.ModuleDict({f'{name}{i}': nn.Linear(width, width) for i in range(8)})
    return nn.ModuleDict(dict(backbone=backbone, cls_head=nn.Linear(4, classes)))


REASONS = {
    'classes': (
        layers(4, 7),
        'other shapes: cls_head.weight ((7, 4) in the file, (3, 4) here), cls_head.bias ((7,) in '
        'the file, (3,) here). It was trained on 7 classes, and the config has '
        'model.cls_head.num_classes=3',
    ),
    'size': (
        layers(5, 7),
        'other shapes: backbone.conv0.weight ((5, 5) in the file, (4, 4) here), '
        'backbone.conv0.bias ((5,) in the file, (4,) here), backbone.conv1.weight ((5, 5) in the '
        'file, (4, 4) here) and 15 more. It is most likely of another size of the model (tiny, '
        'small, base) or of its clips: take the config that it was made with',
    ),
    'kind': (
        layers(4, 3, 'block'),
        'not in the file: backbone.conv0.weight, backbone.conv0.bias, backbone.conv1.weight and '
        '13 more; not in the model: backbone.block0.weight, backbone.block0.bias, '
        'backbone.block1.weight and 13 more. It is of another kind of model: take the config that '
        'it was made with',
    ),
}


@pytest.mark.parametrize('reason', REASONS)
def test_mismatch_is_short_and_gives_the_likely_reason(reason):
    other, message = REASONS[reason]
    with pytest.raises(CheckpointError) as caught:
        load_weights(layers(4, 3), other.state_dict(), 'x.pth', strict=True)
    expected = f'checkpoint x.pth does not fit the model of this config: {message}'
    assert str(caught.value) == expected


def test_checkpoint_without_matching_keys_is_refused():
    with pytest.raises(CheckpointError, match='does not fit the model'):
        load_weights(Recognizer(), {'other': torch.ones(1)}, 'x.pth', strict=False)


NO_MOUNT = 77


def fill_disk(folder):
    """Save two checkpoints to a file system of 2 MB, of which one fits; as root of a namespace."""
    libc = ctypes.CDLL(None)
    ids = os.getuid(), os.getgid()
    new_user_and_mounts = 0x10000000 | 0x20000
    if libc.unshare(new_user_and_mounts):
        return NO_MOUNT
    Path('/proc/self/setgroups').write_text('deny')
    for kind, number in zip(('uid', 'gid'), ids, strict=True):
        Path(f'/proc/self/{kind}_map').write_text(f'0 {number} 1')
    if libc.mount(b'tmpfs', os.fsencode(folder), b'tmpfs', 0, b'size=2m'):
        return NO_MOUNT
    save_checkpoint_file({'w': torch.zeros(100_000)}, folder / 'epoch_1.pth')
    try:
        save_checkpoint_file({'w': torch.zeros(1_000_000)}, folder / 'epoch_2.pth')
    except CheckpointError as error:
        print(error)
    print(*(path.name for path in folder.iterdir()))
    print(load_checkpoint_file(folder / 'epoch_1.pth')['w'].sum())
    return 0


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), 'unshare'), reason='not Linux')
def test_full_disk_keeps_earlier_checkpoints(tmp_path):
    folder = tmp_path / 'small'
    folder.mkdir()
    run = Forked(fill_disk, (folder,), tmp_path / 'output.txt')
    (status,) = run.wait()
    if status == NO_MOUNT:
        pytest.skip('no file system of its own can be mounted here')
    output = run.output.read_text()
    assert status == 0, output
    assert 'the disk is full' in output
    assert output.endswith('\nepoch_1.pth\ntensor(0.)\n')
