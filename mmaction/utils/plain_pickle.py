"""Pickled NumPy values without NumPy's own unpickling.

NumPy's constructors take a pickle at its word: a file can make them read memory
that it chooses (object arrays whose pointers are the bytes of the file, states
that do not fit). What stands in for them here keeps the description, holds it
against the bytes, and makes an array of it at the end. Only booleans, integers,
floats, bytes and text, as in the results and checkpoints of mmengine.
"""

from __future__ import annotations

import io
import math
import pickle
from collections import OrderedDict
from typing import Any

import numpy as np
import torch

__all__ = ['PlainUnpickler', 'numpy_stand_ins', 'resolve']

_KINDS = 'biufSU'


def _refuse(what: str) -> pickle.UnpicklingError:
    return pickle.UnpicklingError(f'it holds {what}')


class _Dtype:
    """A dtype as a pickle describes it: `numpy.dtype(code, False, True)` and a state."""

    def __init__(self, code: object = None, *_: Any) -> None:
        if isinstance(code, _Dtype):
            code = code.dtype
        try:
            self.dtype: np.dtype[Any] = np.dtype(
                code if isinstance(code, (str, np.dtype)) else None
            )
        except (TypeError, ValueError, SyntaxError):
            raise _refuse('a dtype that is none') from None
        if not isinstance(code, (str, np.dtype)) or self.dtype.kind not in _KINDS:
            raise _refuse(f'arrays of dtype {code!r:.40}')

    def __setstate__(self, state: Any) -> None:
        # Version, byte order, subdtype, names, fields, size, alignment, flags.
        plain = isinstance(state, tuple) and len(state) in (8, 9) and state[2:5] == (None,) * 3
        if not plain or state[1] not in ('<', '>', '|', '='):
            raise _refuse('a dtype with a state that is not plain')
        if self.dtype.kind in 'SU' and isinstance(state[5], int):
            # The state, not the code, has the size of texts in bytes.
            width = state[5] // (4 if self.dtype.kind == 'U' else 1)
            if not 0 <= width < 1 << 20:
                raise _refuse('a dtype of an impossible size')
            self.dtype = np.dtype(f'{self.dtype.kind}{width}')
        self.dtype = self.dtype.newbyteorder(state[1] if state[1] != '|' else '=')


class _Array:
    """An array as a pickle describes it: the state of an empty one."""

    value: np.ndarray | None = None

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise _refuse('an array with a state that is not plain')
        _, shape, dtype, is_fortran, content = state
        self.value = _array(content, dtype, shape, 'F' if is_fortran else 'C')


def _array(content: object, dtype: object, shape: object, order: str) -> np.ndarray:
    if not isinstance(dtype, _Dtype):
        raise _refuse('an array without a plain dtype')
    kind, sides = dtype.dtype, shape if isinstance(shape, tuple) else ()
    if not isinstance(shape, tuple) or not all(type(side) is int and side >= 0 for side in sides):
        raise _refuse(f'an array of shape {shape!r:.40}')
    if not isinstance(content, (bytes, bytearray)):
        raise _refuse('an array of objects')
    if (
        len(content) != math.prod(sides) * kind.itemsize
        or len(sides) > 32
        or order not in ('C', 'F')
    ):
        raise _refuse('an array whose size does not fit its bytes')
    if not kind.itemsize:
        return np.zeros(sides, kind) if math.prod(sides) < 1 << 20 else np.zeros(0, kind)
    flat = np.frombuffer(bytes(content), kind)
    array: np.ndarray = flat.reshape(sides, order='F' if order == 'F' else 'C').copy()
    return array


def _from_buffer(content: object, dtype: object, shape: object, order: object) -> _Array:
    made = _Array()
    made.value = _array(content, dtype, shape, str(order))
    return made


def _scalar(dtype: object, content: object = b'') -> Any:
    return _array(content, dtype, (), 'C').item()


def _no_bytes() -> bytes:
    """How old protocols write bytes without any."""
    return b''


def _latin_bytes(text: object, _: object) -> bytes:
    return str(text).encode('latin1')


def numpy_stand_ins() -> list[tuple[Any, str]]:
    """Pairs of what stands in and the name in a pickle that it stands in for."""
    pairs: list[tuple[Any, str]] = [
        (_Dtype, 'numpy.dtype'),
        (_Array, 'numpy.ndarray'),
        (_no_bytes, 'builtins.bytes'),
        (_no_bytes, '__builtin__.bytes'),
    ]
    for core in ('numpy.core', 'numpy._core'):
        pairs.append((_Array, f'{core}.multiarray._reconstruct'))
        pairs.append((_scalar, f'{core}.multiarray.scalar'))
        pairs.append((_from_buffer, f'{core}.numeric._frombuffer'))
    return pairs


def resolve(value: object, _within: tuple[int, ...] = ()) -> Any:
    """The value with arrays for their descriptions, in dicts, lists, tuples and objects.

    Raises:
        pickle.UnpicklingError: An array has no content, or a container holds itself.
    """
    if isinstance(value, _Array):
        if value.value is None:
            raise _refuse('an array without content')
        return value.value
    if isinstance(value, _Dtype):
        return value.dtype
    if not isinstance(value, (dict, list, tuple)) and not _is_plain_object(value):
        return value
    if id(value) in _within or len(_within) > 100:
        raise _refuse('containers within themselves')
    within = (*_within, id(value))
    if isinstance(value, dict):
        for key in value:
            value[key] = resolve(value[key], within)
    elif isinstance(value, list):
        value[:] = [resolve(item, within) for item in value]
    elif isinstance(value, tuple):
        return tuple(resolve(item, within) for item in value)
    else:
        resolve(vars(value), within)
    return value


def _is_plain_object(value: object) -> bool:
    """Whether its attributes may hold arrays: the history buffers of mmengine."""
    from mmengine.logging import HistoryBuffer

    return isinstance(value, HistoryBuffer)


class PlainUnpickler(pickle.Unpickler):
    """Makes tensors, descriptions of arrays and plain values; anything else is refused."""

    _known = {
        **{name: made for made, name in numpy_stand_ins()},
        'torch._utils._rebuild_tensor_v2': torch._utils._rebuild_tensor_v2,
        'torch.storage._load_from_bytes': lambda content: torch.load(
            io.BytesIO(content), map_location='cpu', weights_only=True
        ),
        'collections.OrderedDict': OrderedDict,
        # How old protocols write bytes.
        '_codecs.encode': _latin_bytes,
    }

    def find_class(self, module: str, name: str) -> Any:
        """What a name in the file stands for."""
        made = self._known.get(f'{module}.{name}')
        if made is None:
            raise _refuse(f'objects of {module}.{name}')
        return made
