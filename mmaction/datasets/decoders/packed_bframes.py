"""Parting the "packed" B-frames of MPEG-4, as XviD and DivX write them to AVI.

AVI gives each packet one place in the order of display, so these encoders put a B-frame into the
packet of the picture before it in the file, and a placeholder (N-VOP) where it would have been.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

__all__ = ['is_placeholder', 'says_packed', 'unpacked']

_PACKED = re.compile(rb'DivX\d+(b|Build)\d+p')
_VOP = b'\0\0\1\xb6'
# Bytes of a placeholder; a picture of more than a few blocks takes more.
_PLACEHOLDER_BYTES = 4


def says_packed(headers: bytes) -> bool:
    """Whether headers of an MPEG-4 stream have user data that say that B-frames are packed."""
    return bool(_PACKED.search(headers))


def is_placeholder(packet: bytes) -> bool:
    """Whether a packet of MPEG-4 holds a picture that is marked as not coded, and no other.

    Source: ISO/IEC 14496-2, 6.2.5: a marker and a zero end it, then stuffing, a zero and ones.
    """
    start = packet.rfind(_VOP)
    content = packet[start + len(_VOP) :]
    if start < 0 or packet.find(_VOP) < start or not 0 < len(content) <= _PLACEHOLDER_BYTES:
        return False
    bits = f'{int.from_bytes(content, "big"):0{8 * len(content)}b}'
    return bits.rstrip('1').endswith('100')


def unpacked(packets: Iterable[Any], stream: Any) -> Iterator[Any]:
    """The packets of a stream with packed B-frames, one for each picture, with its own time.

    Args:
        packets: Its packets, from a key frame on, and the empty one that ends them.
        stream: The stream.
    """
    from av.bitstream import BitStreamFilterContext

    split = BitStreamFilterContext('mpeg4_unpack_bframes', stream)
    group: list[Any] = []
    for packet in packets:
        is_end = not packet.size  # as any packet is, once the filter has it
        for part in split.filter(None if is_end else packet):
            if group and not _is_b(part):
                yield from _timed(group)
                group = []
            group.append(part)
        if is_end:
            yield from _timed(group)
            yield packet


def _is_b(packet: Any) -> bool:
    data = bytes(packet)
    start = data.find(_VOP) + len(_VOP)
    return len(data) > start >= len(_VOP) and data[start] >> 6 == 2


def _timed(group: list[Any]) -> Iterator[Any]:
    """A picture and the B-frames that follow it in the file and precede it in time."""
    times = [packet.dts for packet in group]
    for packet, time in zip(group, [times[-1], *times[:-1]], strict=True):
        packet.pts = time
        yield packet
