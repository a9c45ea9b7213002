"""Packets whose picture no other picture refers to: decoding can do without them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

__all__ = ['nal_units', 'unreferenced_test']

_START = b'\0\0\1'


def unreferenced_test(codec: str, extradata: bytes | None) -> Callable[[bytes], bool] | None:
    """A function that tells whether a packet holds only pictures nobody refers to.

    It answers True only where leaving the packet out changes no other picture; a packet that
    also carries parameter sets, for example, stays. VP9 has no such packets, even where a frame
    is stored in no reference slot: the next frame may take motion vectors and probabilities
    from the frame decoded last.

    Args:
        codec: FFmpeg's name of the decoder.
        extradata: What the container holds for the decoder.

    Returns:
        The function; None if nothing can be told of the codec.
    """
    data = extradata or b''
    # mp4 and Matroska put lengths before NAL units, and say so by a first byte of 1.
    is_sized = data[:1] == b'\1'
    if codec == 'h264':
        size = (data[4] & 3) + 1 if is_sized and len(data) > 4 else 0
        return lambda packet: _is_unreferenced_h264(packet, size)
    if codec == 'hevc':
        size = (data[21] & 3) + 1 if is_sized and len(data) > 22 else 0
        layers = _temporal_layers(data, bool(size))
        return (lambda packet: _is_unreferenced_hevc(packet, size, layers)) if layers else None
    return _is_b_picture if codec == 'mpeg4' else None


def nal_units(data: bytes, size: int) -> Iterator[tuple[int, int]]:
    """Start and end of each NAL unit.

    Args:
        data: A packet or parameter sets.
        size: Bytes of the length before each unit; 0 if start codes part them.
    """
    if size:
        start = 0
        while start + size < len(data):
            end = start + size + int.from_bytes(data[start : start + size], 'big')
            yield start + size, end
            start = end
        return
    start = data.find(_START)
    while start >= 0:
        end = data.find(_START, start + 3)
        yield start + 3, end if end >= 0 else len(data)
        start = end


def _is_unreferenced_h264(packet: bytes, size: int) -> bool:
    """Source: ITU-T H.264, 7.4.1: `nal_ref_idc` is 0 for slices of pictures of no reference."""
    has_slice = False
    for start, end in nal_units(packet, size):
        if not start < end <= len(packet):
            return False
        kind, is_reference = packet[start] & 31, packet[start] & 0x60
        if kind in (1, 2, 3, 4):
            if is_reference:
                return False
            has_slice = True
        # Delimiter, SEI and filler; anything else may matter to later pictures.
        elif kind not in (6, 9, 12):
            return False
    return has_slice


def _is_unreferenced_hevc(packet: bytes, size: int, layers: int) -> bool:
    """Source: ITU-T H.265, table 7-1: of types below 16, even ones are sub-layer non-reference.

    Pictures of a higher temporal layer may refer to those, so only the highest layer counts.
    """
    has_slice = False
    for start, end in nal_units(packet, size):
        if not start + 1 < end <= len(packet):
            return False
        kind, layer = packet[start] >> 1 & 63, (packet[start] & 1) << 5 | packet[start + 1] >> 3
        if kind < 16 and not kind % 2:
            if layer or (packet[start + 1] & 7) != layers:
                return False
            has_slice = True
        elif kind not in (35, 38, 39, 40):  # delimiter, filler, SEI
            return False
    return has_slice


def _temporal_layers(extradata: bytes, is_sized: bool) -> int:
    """Number of temporal layers by the video parameter sets of HEVC; 0 if there is none."""
    layers = 0
    for unit in _parameter_sets(extradata) if is_sized else _start_code_units(extradata):
        if len(unit) > 3 and unit[0] >> 1 & 63 == 32:
            layers = max(layers, (unit[3] >> 1 & 7) + 1)
    return layers


def _start_code_units(data: bytes) -> Iterator[bytes]:
    for start, end in nal_units(data, 0):
        yield data[start:end]


def _parameter_sets(record: bytes) -> Iterator[bytes]:
    """NAL units of an HEVCDecoderConfigurationRecord (ISO/IEC 14496-15, 8.3.3.1)."""
    place = 23
    for _ in range(record[22]):
        count = int.from_bytes(record[place + 1 : place + 3], 'big')
        place += 3
        for _ in range(count):
            end = place + 2 + int.from_bytes(record[place : place + 2], 'big')
            yield record[place + 2 : end]
            place = end


def _is_b_picture(packet: bytes) -> bool:
    """Whether an MPEG-4 packet holds one B-VOP alone (ISO/IEC 14496-2, 6.2.5)."""
    start = packet.find(b'\0\0\1\xb6')
    if start < 0 or start + 4 >= len(packet) or packet[start + 4] >> 6 != 2:
        return False
    # Of a "packed" AVI, a packet holds the reference picture that follows too.
    return packet.find(_START, start + 4) < 0 and packet.find(_START) == start
