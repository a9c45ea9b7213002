"""Telling the packets of H.264 that hold the second field of a frame.

Interlaced video may code each field as a picture of its own, which broadcasts and
camcorders do, and some containers keep a packet for each. Decoders give one frame for both.
Source of the syntax: ITU-T H.264, sections 7.3.2.1 and 7.3.3.
"""

from __future__ import annotations

from .references import nal_units

__all__ = ['SecondFields']

_SPS, _SLICES = 7, (1, 5)
_HIGH_PROFILES = (100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135)
# Enough of a unit for what is read of it.
_SLICE_BYTES, _SPS_BYTES = 32, 1024


class SecondFields:
    """Whether a packet holds the second field of the frame that the packet before began.

    Args:
        extradata: Of the stream, as FFmpeg has it.
    """

    def __init__(self, extradata: bytes | None) -> None:
        extradata = extradata or b''
        self._prefix = (extradata[4] & 3) + 1 if extradata[:1] == b'\1' and extradata[5:] else 0
        # A single parameter set follows the six bytes of an avcC header, with its length.
        unit = extradata[8:] if self._prefix else _first_unit(extradata, 0, (_SPS,))
        self._frame_num_bits, self._separate_planes, progressive = 0, False, True
        if unit and unit[0] & 31 == _SPS:
            self._frame_num_bits, self._separate_planes, progressive = _read_sps(unit)
        self.possible = not progressive
        """Whether the stream may have fields that are pictures of their own."""
        self._first: tuple[int, int] | None = None

    def __call__(self, packet: bytes) -> bool:
        """Whether a packet, of which the first slice tells, is the second field of a frame."""
        unit = _first_unit(packet, self._prefix, _SLICES)
        bits = _Bits(unit[1 : _SLICE_BYTES + 1])
        for _ in range(3):  # first macroblock, type of slice, picture parameter set
            bits.unsigned()
        bits.read(2 if self._separate_planes else 0)
        frame_num = bits.read(self._frame_num_bits)
        if not unit or not bits.read(1):
            self._first = None
            return False
        field = frame_num, bits.read(1)
        is_second = self._first == (frame_num, 1 - field[1])
        self._first = None if is_second else field
        return is_second


def _first_unit(data: bytes, prefix: int, kinds: tuple[int, ...]) -> bytes:
    """The beginning of the first unit of these kinds; empty if there is none."""
    units = (data[start : start + _SPS_BYTES] for start, _ in nal_units(data, prefix))
    return next((unit for unit in units if unit and unit[0] & 31 in kinds), b'')


def _read_sps(unit: bytes) -> tuple[int, bool, bool]:
    """Bits of a frame's number, whether color planes are apart, whether all pictures are frames."""
    bits = _Bits(unit[1:])
    profile = bits.read(8)
    bits.read(16)
    bits.unsigned()
    separate = False
    if profile in _HIGH_PROFILES:
        chroma = bits.unsigned()
        separate = chroma == 3 and bool(bits.read(1))
        bits.unsigned()
        bits.unsigned()
        bits.read(1)
        if bits.read(1):
            for i in range(12 if chroma == 3 else 8):
                if bits.read(1):
                    _skip_scaling_list(bits, 16 if i < 6 else 64)
    frame_num_bits = bits.unsigned() + 4
    order = bits.unsigned()
    if order == 0:
        bits.unsigned()
    elif order == 1:
        bits.read(1)
        bits.unsigned()
        bits.unsigned()
        for _ in range(min(bits.unsigned(), 255)):
            bits.unsigned()
    bits.unsigned()
    bits.read(1)
    bits.unsigned()
    bits.unsigned()
    return frame_num_bits, separate, bool(bits.read(1))


def _skip_scaling_list(bits: _Bits, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            code = bits.unsigned()
            delta = (code + 1) // 2 if code % 2 else -(code // 2)
            following = (last + delta) % 256
        last = following or last


class _Bits:
    """The bits of a unit, without the bytes that keep start codes out of it; 0 after its end."""

    def __init__(self, content: bytes) -> None:
        content = content.replace(b'\0\0\3', b'\0\0')
        self._value = int.from_bytes(content, 'big')
        self._left = 8 * len(content)

    def read(self, count: int) -> int:
        """An integer of so many bits."""
        self._left -= count
        if self._left < 0:
            return 0
        return self._value >> self._left & (1 << count) - 1

    def unsigned(self) -> int:
        """An Exp-Golomb code."""
        zeros = 0
        while self._left > 0 and not self.read(1):
            zeros += 1
        return (1 << zeros) - 1 + self.read(zeros)
