"""Video files with known content, written with PyAV.

The content of frame i is a function of i alone (`frame_pixels`), so a test can
tell from decoded pixels which frame it got: `frame_number` reads the number
that the gray blocks of the top row spell in binary.
"""

from __future__ import annotations

import contextlib
import os
import struct
import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

BITS = 10


def frame_pixels(index: int, width: int = 128, height: int = 80) -> np.ndarray:
    """Frame `index`, (height, width, 3) uint8 RGB: the number, a gradient, a moving square."""
    rows, columns = np.mgrid[0:height, 0:width]
    image = np.empty((height, width, 3), np.uint8)
    image[..., 0] = 64 + 96 * columns // width
    image[..., 1] = 64 + 96 * rows // height
    image[..., 2] = 128
    side = max(height // 5, 4)
    left = (3 * index) % max(width - side, 1)
    image[height // 2 : height // 2 + side, left : left + side] = (220, 60, 40)
    block = width // BITS
    for bit in range(BITS):
        value = 235 if index >> bit & 1 else 20
        image[: height // 4, bit * block : (bit + 1) * block] = value
    return image


def count_colors(image: np.ndarray) -> int:
    """How many colors an image (H, W, 3) of bytes has."""
    return len(np.unique(image.astype(int) @ (1 << 16, 1 << 8, 1)))


def frame_number(image: np.ndarray) -> int:
    """The number of a decoded frame of `frame_pixels`."""
    height, width = image.shape[:2]
    block = width // BITS
    row = image[: height // 4].astype(float).mean(axis=(0, 2))
    means = [row[bit * block : (bit + 1) * block].mean() for bit in range(BITS)]
    return sum(1 << bit for bit, mean in enumerate(means) if mean > 128)


def write_video(
    path: str | Path,
    num_frames: int = 40,
    width: int = 128,
    height: int = 80,
    fps: int = 25,
    codec: str = 'libx264',
    pix_fmt: str = 'yuv420p',
    key_interval: int = 12,
    b_frames: int = 0,
    rotation: int = 0,
    durations: Sequence[int] | None = None,
    start: int = 0,
    options: dict[str, str] | None = None,
) -> Path:
    """Write a video of the frames `frame_pixels(0), frame_pixels(1), ...`.

    Args:
        path: File to write; its extension chooses the container.
        num_frames: Number of frames.
        width: Width in pixels, as stored.
        height: Height in pixels, as stored.
        fps: Frames per second.
        codec: Name of FFmpeg's encoder.
        pix_fmt: Pixel format of the stream.
        key_interval: Frames from one key frame to the next.
        b_frames: B-frames in a row.
        rotation: Degrees, counter-clockwise, by which a player has to turn the
            picture; written to the container only.
        durations: How long each frame is shown, in frames of `fps`: a variable
            rate. Cycled.
        start: When the first frame is shown, in frames of `fps`.
        options: Further options of the encoder.

    Returns:
        The path.
    """
    path = Path(path)
    rate = Fraction(fps)
    with av.open(str(path), 'w') as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        stream.time_base = stream.codec_context.time_base = 1 / rate
        stream.codec_context.gop_size = key_interval
        stream.codec_context.max_b_frames = b_frames
        stream.codec_context.thread_count = 1
        stream.options = {**_fast(codec, key_interval), **(options or {})}
        stamp = start
        for index in range(num_frames):
            frame = av.VideoFrame.from_ndarray(frame_pixels(index, width, height), format='rgb24')
            frame.pts = stamp
            frame.time_base = 1 / rate
            container.mux(stream.encode(frame))
            stamp += 1 if durations is None else durations[index % len(durations)]
        container.mux(stream.encode())
    if codec == 'libsvtav1' and sys.platform == 'linux':
        # Run by root, it leaves this thread with real-time priority: the rest of the tests would
        # starve their own child processes.
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    if rotation:
        _set_rotation(path, rotation)
    return path


BROKEN = (
    'missing',
    'empty',
    'zeros',
    'text',
    'directory',
    'truncated',
    'sound only',
    'no frames',
    'too few frames',
)


def write_broken(path: str | Path, kind: str) -> Path:
    """Write a file that is broken in one of the ways of `BROKEN`.

    'truncated' has lost its index; 'too few frames' has an index of 40 frames
    at its front and holds the first of them only.

    Args:
        path: File to write, an MP4.
        kind: What is wrong with it.

    Returns:
        The path.
    """
    path = Path(path)
    whole = path.with_name(f'.whole {path.name}')
    if kind == 'empty':
        path.touch()
    elif kind == 'zeros':
        path.write_bytes(bytes(20_000))
    elif kind == 'text':
        path.write_text('This video is not available in your country.\n' * 50)
    elif kind == 'directory':
        path.mkdir()
    elif kind == 'truncated':
        content = write_video(path).read_bytes()
        path.write_bytes(content[: len(content) * 2 // 3])
    elif kind == 'too few frames':
        content = _index_first(write_video(whole)).read_bytes()
        path.write_bytes(content[: content.index(b'mdat') + 3000])
        whole.unlink()
    elif kind == 'sound only':
        _write_sound(path)
    elif kind == 'no frames':
        _write_sound(path, empty_video=True)
    else:
        assert kind == 'missing', kind
    return path


def _index_first(path: Path) -> Path:
    """Move the index of an MP4 file to its front."""
    moved = path.with_name(f'.moved {path.name}')
    with (
        av.open(str(path)) as source,
        av.open(str(moved), 'w', format='mp4', options={'movflags': 'faststart'}) as target,
    ):
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    return moved.replace(path)


def _write_sound(path: Path, empty_video: bool = False) -> None:
    # FFmpeg leaves a stream without frames out of an MP4 file, but not out of a Matroska file.
    with av.open(str(path), 'w', format='matroska' if empty_video else 'mp4') as container:
        stream = container.add_stream('aac', rate=16000)
        if empty_video:
            video = container.add_stream('libx264', rate=25)
            video.width, video.height, video.pix_fmt = 128, 80, 'yuv420p'
        for index in range(10):
            silence = av.AudioFrame.from_ndarray(
                np.zeros((1, 1024), np.float32), format='fltp', layout='mono'
            )
            silence.sample_rate, silence.pts = 16000, 1024 * index
            container.mux(stream.encode(silence))
        container.mux(stream.encode())


def _fast(codec: str, key_interval: int) -> dict[str, str]:
    """Options that make an encoder quick and its key frames regular."""
    return {
        'libx264': {'preset': 'ultrafast', 'sc_threshold': '0', 'keyint_min': str(key_interval)},
        'libvpx-vp9': {'deadline': 'realtime', 'cpu-used': '8'},
        'libsvtav1': {'preset': '12', 'svtav1-params': 'lp=1'},
    }.get(codec, {})


def _set_rotation(path: Path, degrees: int) -> None:
    one = 1 << 16
    matrices = {
        90: (0, -one, one, 0),
        180: (-one, 0, 0, -one),
        270: (0, one, -one, 0),
    }
    set_display_matrix(path, *matrices[degrees % 360])


def set_display_matrix(path: Path, a: int, b: int, c: int, d: int) -> Path:
    """Write the display matrix ((a, b), (c, d)) of an MP4 file, in units of 1 / 65536.

    PyAV would normalize it while muxing.
    """
    content = bytearray(path.read_bytes())
    header = content.index(b'tkhd') + 4
    # Version 0: flags 4, times and track 20, reserved 8, layer to reserved 8, then the matrix.
    start = header + 4 + 20 + 8 + 8
    values = (a, b, 0, c, d, 0, 0, 0, 1 << 30)
    content[start : start + 36] = b''.join(v.to_bytes(4, 'big', signed=True) for v in values)
    path.write_bytes(content)
    return path


def change_settings(path: Path, other: Path, frame: int) -> Path:
    """Have an mp4 say that from a key frame on, what another one says of its codec holds."""

    def find(data: bytes, name: bytes) -> tuple[int, bytes]:
        start = data.rindex(name) - 4
        return start, data[start + 8 : start + int.from_bytes(data[start : start + 4], 'big')]

    data = path.read_bytes()
    entries = [find(content, b'stsd')[1][8:] for content in (data, other.read_bytes())]
    sizes = np.frombuffer(find(data, b'stsz')[1][12:], '>u4')
    begin = int.from_bytes(find(data, b'stco')[1][8:12], 'big')
    # Two chunks, each of which names the entry that holds for it.
    tables = {
        b'stsd': b''.join(entries),
        b'stsc': struct.pack('>6I', 1, frame, 1, 2, len(sizes) - frame, 2),
        b'stco': struct.pack('>2I', begin, begin + int(sizes[:frame].sum())),
    }
    for name, content in tables.items():
        start, old = find(data, name)
        box = struct.pack('>I4sII', 16 + len(content), name, 0, 2) + content
        data = data[:start] + box + data[start + 8 + len(old) :]
        for parent in (b'moov', b'trak', b'mdia', b'minf', b'stbl'):
            place, _ = find(data, parent)
            size = int.from_bytes(data[place : place + 4], 'big') + len(box) - 8 - len(old)
            data = data[:place] + size.to_bytes(4, 'big') + data[place + 4 :]
    path.write_bytes(data)
    return path


def cut_video(source: Path, path: Path, start: int) -> Path:
    """Cut a video at a frame without encoding it again, as `ffmpeg -ss -c copy` does.

    The packets from the key frame before on are copied. In MP4 and MOV an edit
    list hides the frames before `start`; other containers show them.

    Args:
        source: A video of `write_video`.
        path: File to write.
        start: First frame.
    """
    with av.open(str(source)) as video, av.open(str(path), 'w') as target:
        stream = video.streams.video[0]
        packets = [packet for packet in video.demux(stream) if packet.size]
        ticks = round(1 / (stream.average_rate * stream.time_base))
        keys = [i for i, p in enumerate(packets) if p.is_keyframe and p.pts <= start * ticks]
        packets = packets[keys[-1] :]
        has_edit_list = path.suffix in ('.mp4', '.mov')
        _mux(packets, target.add_stream_from_template(stream), start * ticks, has_edit_list)
    return path


def _mux(packets: list[av.Packet], stream: Any, origin: int, negative: bool = False) -> None:
    """Write packets to another container, with times from `origin` on, negative ones or not."""
    if not negative:
        origin = min(packet.dts for packet in packets if packet.dts is not None)
    for packet in packets:
        assert packet.pts is not None
        assert packet.dts is not None
        packet.stream = stream
        packet.pts, packet.dts = packet.pts - origin, packet.dts - origin
        stream.container.mux(packet)


def write_cover(path: Path, source: Path | None, cover_first: bool = True) -> Path:
    """Write a video, or sound if there is no video, with a cover picture as a stream.

    Args:
        path: File to write.
        source: The video.
        cover_first: Whether the cover is stream 0.
    """
    image = path.with_name('.cover.jpg')
    with av.open(str(image), 'w', format='image2', options={'update': '1'}) as container:
        stream = container.add_stream('mjpeg', rate=1)
        stream.width, stream.height, stream.pix_fmt = 200, 200, 'yuvj420p'
        red = np.full((200, 200, 3), (200, 0, 0), np.uint8)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(red, format='rgb24')))
        container.mux(stream.encode())
    sound = None
    if source is None:
        sound = source = path.with_name('.sound.m4a')
        _write_sound(sound)
    with (
        av.open(str(image)) as picture,
        av.open(str(source)) as video,
        av.open(str(path), 'w', format='mp4' if path.suffix == '.m4a' else None) as target,
    ):
        if path.suffix == '.mkv':
            target.add_attachment('cover.jpg', 'image/jpeg', image.read_bytes())
            inputs = [video]
        else:
            inputs = [picture, video] if cover_first else [video, picture]
        copies = {}
        for container in inputs:
            copies[container] = target.add_stream_from_template(container.streams[0])
            if container is picture:
                copies[container].disposition = av.stream.Disposition.attached_pic
        for container in inputs:
            for packet in container.demux(container.streams[0]):
                if packet.size:
                    packet.stream = copies[container]
                    target.mux(packet)
    for leftover in (image, sound):
        if leftover is not None:
            leftover.unlink()
    return path


def join_streams(path: Path, sources: Sequence[Path], default: int | None = None) -> Path:
    """Write one file with the streams of several videos.

    Args:
        path: File to write.
        sources: The videos.
        default: Which of the streams is flagged as default; None flags none.
    """
    with contextlib.ExitStack() as stack:
        target = stack.enter_context(av.open(str(path), 'w'))
        videos = [stack.enter_context(av.open(str(source))) for source in sources]
        copies = []
        for number, video in enumerate(videos):
            copies.append(target.add_stream_from_template(video.streams.video[0]))
            flag = av.stream.Disposition.default if number == default else 0
            copies[-1].disposition = flag
        for video, copy in zip(videos, copies, strict=True):
            _mux([packet for packet in video.demux(video=0) if packet.size], copy, 0)
    return path


def decoded_pictures(monkeypatch: Any, reader: type[Any]) -> list[int]:
    """Time stamps of all pictures that this class of readers decodes from now on, wanted or not."""
    decoded: list[int] = []
    pictures = reader._pictures

    def counted(self: Any, *args: Any) -> Any:
        for frame in pictures(self, *args):
            decoded.append(frame.pts)
            yield frame

    monkeypatch.setattr(reader, '_pictures', counted)
    return decoded
