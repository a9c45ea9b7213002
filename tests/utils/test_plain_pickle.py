"""Forged NumPy values in checkpoints and results: one sentence, never a crash.

Files are written opcode by opcode where `pickle.dumps` would not write them.
"""

import pickle
import struct
import zipfile
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer

from mmaction.errors import CheckpointError
from mmaction.evaluation.results import read_results
from mmaction.utils.checkpoint_reading import load_checkpoint_file
from mmaction.utils.plain_pickle import PlainUnpickler, resolve


class Call:
    """Pickled as a call of a function, and of `__setstate__` if there is a state."""

    def __init__(self, function, *args, state=None):
        self.call = (function, args) if state is None else (function, args, state)

    def __reduce__(self):
        return self.call


core: Any = np._core  # type: ignore[attr-defined]
reconstruct = core.multiarray._reconstruct
scalar = core.multiarray.scalar
from_buffer = core.numeric._frombuffer
plain = np.dtype('f8')


def array(*state):
    return Call(reconstruct, np.ndarray, (0,), b'b', state=state)


FORGED = {
    'object array by its constructor': Call(np.ndarray, (1,), 'O', b'AAAAAAAA'),
    'float array by its constructor': Call(np.ndarray, (1 << 40,), 'f8', b'AAAAAAAA'),
    'object array': array(1, (1,), np.dtype('O'), False, [1]),
    'object array of bytes': array(1, (1,), np.dtype('O'), False, b'AAAAAAAA'),
    'short state': array(1, (1,)),
    'state that is no tuple': Call(reconstruct, np.ndarray, (0,), b'b', state=[1]),
    'list of too few values': array(1, (3,), plain, False, [1.0]),
    'more values than bytes': array(1, (1000000,), plain, False, b'AAAAAAAA'),
    'fewer values than bytes': array(1, (1,), plain, False, b'A' * 800),
    'negative side': array(1, (-1,), plain, False, b'AAAAAAAA'),
    'overflowing sides': array(1, (1 << 62, 4), plain, False, b''),
    'no dtype': array(1, (1,), 'f8', False, b'AAAAAAAA'),
    'dtype of fields': array(1, (1,), Call(np.dtype, [('a', 'O')], False, True), False, b'A' * 8),
    'dtype state with fields': array(
        1,
        (1,),
        Call(np.dtype, 'V8', False, True, state=(3, '|', None, ('a',), {'a': ('O', 0)}, 8, 1, 16)),
        False,
        b'A' * 8,
    ),
    'dtype state with a forged size': array(
        1,
        (1,),
        Call(np.dtype, 'S1', False, True, state=(3, '|', None, None, None, 1 << 40, 1, 0)),
        False,
        b'A',
    ),
    'short dtype state': Call(np.dtype, 'f8', False, True, state=(3, '<')),
    'object scalar': Call(scalar, np.dtype('O'), b'AAAAAAAA'),
    'long scalar': Call(scalar, plain, b'A'),
    'times': np.zeros(2, 'M8[s]'),
    'object buffer': Call(from_buffer, b'AAAAAAAA', np.dtype('O'), (1,), 'C'),
    'large buffer': Call(from_buffer, b'AAAAAAAA', plain, (1 << 20,), 'C'),
    'masked array': np.ma.zeros(2),
    'record array': np.zeros(2, [('a', 'f8')]),
    'generator': np.random.default_rng(0),
    'object of a submodule': Call(np.testing.assert_equal, 1, 1),
}


@pytest.mark.parametrize('kind', FORGED)
@pytest.mark.parametrize('protocol', [2, 5])
def test_forged_results_are_refused(tmp_path, kind, protocol):
    path = tmp_path / 'results.pkl'
    path.write_bytes(pickle.dumps([dict(gt_label=0, pred_score=FORGED[kind])], protocol))
    with pytest.raises(ValueError, match=r'results\.pkl cannot be read as results') as caught:
        read_results(path)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize('kind', FORGED)
def test_forged_checkpoint_is_refused(tmp_path, kind):
    path = tmp_path / 'forged.pth'
    torch.save(dict(state_dict={}, meta=dict(x=FORGED[kind])), path)
    with pytest.raises(CheckpointError, match=r'forged\.pth') as caught:
        load_checkpoint_file(path)
    assert 'weights_only' not in str(caught.value)
    assert '\n' not in str(caught.value)
    assert caught.value.__cause__ is None


PLAIN = [
    np.arange(6.0).reshape(2, 3),
    np.asfortranarray(np.arange(6, dtype='>i4').reshape(2, 3)),
    np.array(3.5, np.float32),
    np.array([True, False]),
    np.array(['run', 'jump over']),
    np.array([b'a', b'bc']),
    np.zeros((0, 4), np.uint8),
    np.arange(12.0)[::3],
]


@pytest.mark.parametrize('protocol', [2, 3, 4, 5])
def test_plain_arrays_are_read_as_they_were(tmp_path, protocol):
    values = [*PLAIN, np.float64(2.5), np.int64(3), np.bool_(True)]
    file = tmp_path / 'a.pkl'
    file.write_bytes(pickle.dumps(values, protocol))
    with open(file, 'rb') as stream:
        read = resolve(PlainUnpickler(stream).load())
    torch.save(dict(meta=dict(values=values)), tmp_path / 'a.pth')
    for found in (read, load_checkpoint_file(tmp_path / 'a.pth')['meta']['values']):
        for value, expected in zip(found, values, strict=True):
            np.testing.assert_array_equal(value, expected)
            if isinstance(expected, np.ndarray):
                assert value.dtype == expected.dtype


def test_history_buffers_of_mmengine_are_read(tmp_path):
    buffer = HistoryBuffer([1.0, 2.0, 4.0], [1, 1, 1])
    torch.save(dict(message_hub=dict(log_scalars={'train/loss': buffer})), tmp_path / 'a.pth')
    found = load_checkpoint_file(tmp_path / 'a.pth')['message_hub']['log_scalars']['train/loss']
    assert found.mean() == pytest.approx(7 / 3)


def test_list_within_itself_is_refused(tmp_path):
    value = []
    value.append(value)
    torch.save(dict(meta=dict(x=value)), tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match='containers within themselves'):
        load_checkpoint_file(tmp_path / 'a.pth')


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (dict(state_dict=None), "'state_dict' is a NoneType, expected a dict"),
        (dict(state_dict=[1]), "'state_dict' is a list, expected a dict"),
        (dict(state_dict={3: torch.ones(1)}), 'has an entry 3, expected names'),
        (dict(meta=None), "'meta' is a NoneType, expected a dict"),
        (dict(meta=dict(iter=-3, epoch=0)), r"meta\['iter'\] is -3, expected 0 or more"),
        (dict(meta=dict(epoch='1')), r"meta\['epoch'\] is '1', expected 0 or more"),
        (dict(message_hub=[]), "'message_hub' is a list, expected a dict"),
        (dict(optimizer=None), "'optimizer' is a NoneType, expected a dict"),
        (dict(param_schedulers=3), "'param_schedulers' is a int, expected a list"),
        (dict(processes={}), "'processes' is a dict, expected a list"),
        ([torch.ones(1)], 'holds a list, not a dict of weights'),
        (torch.ones(1), 'holds a Tensor, not a dict of weights'),
    ],
)
def test_malformed_checkpoint_is_one_sentence(tmp_path, content, message):
    torch.save(content, tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint_file(tmp_path / 'a.pth')
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('kind', ['text', 'folder', 'pipe', 'pickle', 'zip', 'bomb', 'number'])
def test_file_that_is_no_checkpoint_is_one_sentence(tmp_path, kind):
    import os

    path = tmp_path / 'a.pth'
    if kind == 'text':
        path.write_text('Access denied\n')
    elif kind == 'folder':
        path.mkdir()
    elif kind == 'pipe':
        os.mkfifo(path)
    elif kind == 'pickle':
        path.write_bytes(pickle.dumps({'a': {1, 2}})[:-3])
    elif kind == 'number':
        path.write_bytes(struct.pack('<d', 3.5))
    else:
        with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
            archive.writestr('data.pkl', bytes(3 * 10**7) if kind == 'bomb' else b'x')
    with pytest.raises(CheckpointError, match=r'checkpoint .*a\.pth') as caught:
        load_checkpoint_file(path)
    assert 'weights_only' not in str(caught.value)
    assert '\n' not in str(caught.value)
