"""Packet tables kept on disk, so that a file that is opened again need not be read through.

They are kept if MMACTION_PACKETS in the environment names a folder, which holds for a whole run, as
workers and ranks inherit it.
"""

from __future__ import annotations

import os
import stat
import struct
import warnings
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from mmaction.utils.file_cache import FileCache
from mmaction.utils.ranged_file import RangedFile

from .packet_table import PacketTable
from .reader import plain_path

__all__ = ['file_identity', 'has_packets', 'kept_packets']

MAX_BYTES = 2_000_000_000  # of all tables, about half a million files of ten seconds
# Kind, checksum of what follows, has_fields, has_changes, number of packets.
_HEAD = struct.Struct('<4sI??Q')
_KIND = b'PKT3'


class _NotKeptError(Exception):
    """Reading ended with an error, which may pass: next time there may be more packets."""


def file_identity(filename: str, content: Any = None) -> str | None:
    """What tells a file, as it is now, from others; None if its packets are not to be kept.

    Args:
        filename: Its path.
        content: What stands for it if it is not read from the path.
    """
    if not os.environ.get('MMACTION_PACKETS'):
        return None
    if content is not None:
        return content.version if isinstance(content, RangedFile) else None
    path = plain_path(filename)
    try:
        facts = Path(path).stat()
    except OSError:
        return None
    if not stat.S_ISREG(facts.st_mode):
        return None
    return f'{path}\n{facts.st_size}\n{facts.st_mtime_ns}'


def has_packets(identity: str | None) -> bool:
    """Whether packets of a file were kept."""
    folder = os.environ.get('MMACTION_PACKETS')
    if not folder or identity is None:
        return False
    return f'{identity}\n0' in FileCache(Path(folder), MAX_BYTES)


def kept_packets(
    identity: str | None, rank: int, container: str, read: Callable[[], PacketTable]
) -> PacketTable:
    """The packets of a stream: those that were kept of this file, or else read and kept.

    A table belongs to a path, size and time of change: of a file that has changed it is read anew.

    Args:
        identity: See `file_identity`.
        rank: Which of its video streams.
        container: FFmpeg's name of the container.
        read: Reads the packets.
    """
    folder = os.environ.get('MMACTION_PACKETS')
    # Seeking in other containers, which have no index, relies on what reading the packets has met.
    if not folder or identity is None or not container.startswith(('mov,', 'matroska,')):
        return read()
    table: PacketTable | None = None

    def write(part: Path) -> None:
        nonlocal table
        table = read()
        if not table.is_whole:
            raise _NotKeptError
        part.write_bytes(_packed(table))

    try:
        with FileCache(Path(folder), MAX_BYTES).open(f'{identity}\n{rank}', write) as file:
            if table is None:
                table = _unpacked(file)
                if table is None:  # damaged, as after a loss of power: the next one writes it anew
                    with suppress(FileNotFoundError):
                        Path(file.name).unlink()
    except _NotKeptError:
        pass
    except OSError as error:
        reason = error.strerror or str(error)
        warnings.warn(f'MMACTION_PACKETS={folder}: packet tables are not kept: {reason}')
    return read() if table is None else table


def _packed(table: PacketTable) -> bytes:
    bits = np.packbits(np.stack([table.is_key, table.is_shown]), axis=1)
    starts, ends = table.spans.T
    # Steps between packets repeat, and most packets follow each other: little is left of them.
    gaps = starts - np.r_[0, ends[:-1]]
    parts = [table.times.astype('<i8'), gaps.astype('<i8'), (ends - starts).astype('<i4'), bits]
    body = zlib.compress(b''.join(part.tobytes() for part in parts), 1)
    flags = table.has_fields, table.has_changes
    return _HEAD.pack(_KIND, zlib.crc32(body), *flags, len(table.times)) + body


def _unpacked(file: BinaryIO) -> PacketTable | None:
    """The table in a file; None if it is damaged."""
    content = file.read()
    if len(content) < _HEAD.size:
        return None
    kind, checksum, has_fields, has_changes, count = _HEAD.unpack_from(content)
    body = content[_HEAD.size :]
    if kind != _KIND or checksum != zlib.crc32(body):
        return None
    body = zlib.decompress(body)
    times = np.frombuffer(body, '<i8', count).astype(np.int64)
    gaps = np.frombuffer(body, '<i8', count, offset=8 * count)
    sizes = np.frombuffer(body, '<i4', count, offset=16 * count).astype(np.int64)
    ends = np.cumsum(gaps + sizes)
    spans = np.stack([ends - sizes, ends], axis=1)
    bits = np.frombuffer(body, np.uint8, offset=20 * count).reshape(2, -1)
    is_key, is_shown = np.unpackbits(bits, axis=1, count=count).astype(bool)
    return PacketTable(times, is_key, is_shown, spans, has_fields, has_changes)
