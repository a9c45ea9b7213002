"""Encode one clip in the five ways that docs/performance.md compares.

    python tools/analysis_tools/encode_kinds.py CLIP OUT

OUT/KIND.EXT is written, and OUT/KIND.txt, a list of it for `benchmark_data.py`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

from mmaction.utils.cli import check_files, user_errors


class Kind(NamedTuple):
    """How a file is encoded.

    Args:
        suffix: Extension of the file.
        codec: FFmpeg's name of the encoder.
        size: (w, h); None keeps that of the clip.
        options: Of the encoder.
    """

    suffix: str
    codec: str
    size: tuple[int, int] | None
    options: dict[str, str]


X265 = 'bframes=0:keyint=30:log-level=none:pools=1'
KINDS = {
    'x264': Kind('.mp4', 'libx264', None, {}),
    'mpeg4': Kind('.avi', 'mpeg4', None, {'b': '1000000'}),
    'x264_720p': Kind('.mp4', 'libx264', (1280, 720), {'preset': 'veryfast'}),
    'hevc_1080p': Kind(
        '.mp4', 'libx265', (1920, 1080), {'preset': 'ultrafast', 'x265-params': X265}
    ),
}


def frames(clip: Path) -> Iterator[Any]:
    """The frames of a clip, numbered from 0."""
    import av

    with av.open(str(clip)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            frame.pts, frame.pict_type = number, av.video.frame.PictureType.NONE
            yield frame


def encode(clip: Path, target: Path, kind: Kind) -> None:
    """Write a clip anew, by one thread, 30 frames a second, without sound."""
    import av

    with av.open(str(target), 'w') as container:
        stream: Any = None
        for frame in frames(clip):
            if stream is None:
                options = {**kind.options, 'threads': '1'}
                stream = container.add_stream(kind.codec, rate=30, options=options)
                stream.width, stream.height = kind.size or (frame.width, frame.height)
                stream.pix_fmt = 'yuv420p'
            frame.time_base = Fraction(1, 30)
            sized = frame.reformat(stream.width, stream.height, 'yuv420p', interpolation='BICUBIC')
            container.mux(stream.encode(sized))
        container.mux(stream.encode())


def main() -> None:
    """Parse and encode."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('video', type=Path, metavar='CLIP', help='a video')
    parser.add_argument('out', type=Path, help='folder to write to')
    args = parser.parse_args()
    check_files(args, 'video')
    with user_errors(setup=True):
        from mmaction.data_preparation.reencode import Settings
        from mmaction.data_preparation.reencode import encode as prepare

        args.out.mkdir(parents=True, exist_ok=True)
        made = [(args.out / f'{name}{kind.suffix}', kind) for name, kind in KINDS.items()]
        for target, kind in made:
            encode(args.video, target, kind)
        prepare(args.out / 'x264.mp4', args.out / 'prepared.mp4', Settings())
        for target in (*(target for target, _ in made), args.out / 'prepared.mp4'):
            target.with_suffix('.txt').write_text(f'{target.name} 0\n')
            print(f'{target}: {target.stat().st_size} bytes')


if __name__ == '__main__':
    main()
