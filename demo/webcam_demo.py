"""Say what a camera sees while it is seen; a video file in its place is read to its end.

    python demo/webcam_demo.py CONFIG CHECKPOINT [LABELS] --camera-id 0
    python demo/webcam_demo.py CONFIG CHECKPOINT [LABELS] --camera-id VIDEO --headless \
        --out-filename OUT.mp4
"""

from __future__ import annotations

import argparse
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line; importing little keeps `--help` quick."""
    from mmaction.utils.cli import add_model_args

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_model_args(parser, label=True)
    add = parser.add_argument
    add('--camera-id', default='0', metavar='N', help='number of the camera, or a video file (0)')
    add('--headless', action='store_true', help='open no window; lines and --out-filename only')
    add('--out-filename', metavar='FILE', help='also write what is shown, .mp4 or .gif')
    add('--threshold', type=float, default=0.01, help='least score that is shown (%(default)s)')
    add('--average-size', type=int, default=1, help='results that are averaged (%(default)s)')
    add('--stride', type=float, default=0.5, help='step in lengths of a clip (%(default)s)')
    add('--seconds', type=float, help='stop after this time')
    return parser.parse_args(arguments)


class Camera:
    """Frames of a camera or of a file, uint8 RGB (H, W, 3), one after the other.

    Raises:
        ValueError: It cannot be opened.
    """

    def __init__(self, name: str) -> None:
        import cv2

        from mmaction.datasets.video_source import VideoSource, clip_info

        self.live = name.isdigit()
        if not self.live:
            clip_info(name, 'video')
            self._file = VideoSource(name)
            self.fps = self._file.fps or 30.0
            return
        self._capture = cv2.VideoCapture(int(name))
        if not self._capture.isOpened():
            hint = '--camera-id takes another number, or a video file'
            raise ValueError(f'camera {name} cannot be opened; {hint}')
        self.fps = self._capture.get(cv2.CAP_PROP_FPS) or 30.0

    def __iter__(self) -> Iterator[np.ndarray]:
        if not self.live:
            for frames in self._file.parts():
                yield from frames
            return
        try:
            while True:
                found, frame = self._capture.read()
                if not found:
                    return
                yield frame[..., ::-1].copy()
        finally:
            self._capture.release()


class Watcher:
    """Classifies the latest clip, again and again, beside the stream of frames.

    Args:
        model: As `init_recognizer` returns it.
        stride: From one clip to the next, in lengths of a clip.
        average: Latest results of which the mean counts.
        wait: Wait for each result, so that none depends on the machine's speed; a
            camera does not wait.
    """

    def __init__(self, model: Any, stride: float, average: int, wait: bool) -> None:
        from mmaction.apis.sliding_window import window_span
        from mmaction.apis.test_pipeline import pipeline_steps, steps_for

        if stride <= 0 or average < 1:
            raise ValueError(f'--stride {stride} and --average-size {average} must be positive')
        self.model, self.wait = model, wait
        self.steps = steps_for(pipeline_steps(model.cfg), 'array', one_view=True)
        sampling = next(step for step in self.steps if 'clip_len' in step)
        sampling.pop('target_fps', None)
        self.frames: deque[np.ndarray] = deque(maxlen=window_span(model))
        self.step = max(round(stride * window_span(model)), 1)
        self.results: deque[np.ndarray] = deque(maxlen=average)
        self._seen = 0
        self._due = window_span(model)
        self._pool = ThreadPoolExecutor(1)
        self._job: Future[np.ndarray] | None = None

    def see(self, frame: np.ndarray) -> np.ndarray | None:
        """Take a frame; give the scores (num_classes,) where a new result is there."""
        import numpy as np

        self.frames.append(frame)
        self._seen += 1
        if self._job is None and self._seen >= self._due:
            self._due = self._seen + self.step
            self._job = self._pool.submit(self._classify, np.stack(self.frames))
        if self._job is None or not (self.wait or self._job.done()):
            return None
        job, self._job = self._job, None
        self.results.append(job.result())
        mean: np.ndarray | None = np.mean(self.results, axis=0)
        return mean

    def _classify(self, frames: np.ndarray) -> np.ndarray:
        from mmaction.apis.inference import load_clip, predict

        (sample,) = predict(self.model, [load_clip(self.model, frames, self.steps)])
        scores = sample.pred_score.numpy()
        mean: np.ndarray = scores.reshape(-1, scores.shape[-1]).mean(0)
        return mean

    def close(self) -> None:
        """Drop what is not finished."""
        self._pool.shutdown(wait=True, cancel_futures=True)


class Window:
    """A window that shows frames; closed by its cross, q or Escape.

    Raises:
        ValueError: There is no display, or no tkinter.
    """

    def __init__(self) -> None:
        try:
            import tkinter

            self._root: Any = tkinter.Tk()
        except Exception as error:
            raise ValueError(f'no window can be opened ({error}); use --headless') from error
        self._root.title('DualFormer')
        self._label: Any = tkinter.Label(self._root)
        self._label.pack()
        self.open = True
        self._root.protocol('WM_DELETE_WINDOW', self._close)
        for key in ('q', '<Escape>'):
            self._root.bind(key, self._close)

    def _close(self, *_: Any) -> None:
        self.open = False

    def show(self, frame: np.ndarray) -> None:
        """Show a frame (H, W, 3), uint8 RGB."""
        from PIL import Image, ImageTk

        self._label.picture = ImageTk.PhotoImage(Image.fromarray(frame), master=self._root)
        self._label.configure(image=self._label.picture)
        self._root.update()


def watch(camera: Camera, watcher: Watcher, names: list[str], args: argparse.Namespace) -> int:
    """Read, classify, print, show and write; the number of frames that were seen."""
    import time
    from contextlib import nullcontext

    from mmaction.visualization import ClipWriter, draw_top_classes, enlarge

    window = None if args.headless else Window()
    top: list[tuple[str, float]] = []
    start, count, said = time.monotonic(), 0, ''
    writer: Any = ClipWriter(args.out_filename, camera.fps) if args.out_filename else nullcontext()
    with writer:
        for count, frame in enumerate(camera, start=1):
            scores = watcher.see(frame)
            seconds = time.monotonic() - start if camera.live else count / camera.fps
            if scores is not None:
                best = scores.argsort()[::-1][:5]
                top = [(names[i], float(scores[i])) for i in best if scores[i] >= args.threshold]
                top = top or [('?', float(scores.max()))]
                if top[0][0] != said:
                    said = top[0][0]
                    clock = f'{int(seconds) // 60:3d}:{seconds % 60:04.1f}'
                    print(f'{clock}  {100 * top[0][1]:5.1f} %  {said}', flush=True)
            (large,) = enlarge(frame[None])
            shown = draw_top_classes(large[None], top)[0] if top else large
            if args.out_filename:
                writer.write(shown[None])
            if window is not None:
                window.show(shown)
                if not window.open:
                    break
            if args.seconds is not None and seconds >= args.seconds:
                break
    return count


def main(arguments: list[str] | None = None) -> None:
    """Parse, open, watch."""
    args = parse_args(arguments)
    from mmaction.utils.cli import check_files, user_errors

    check_files(args, 'config', 'checkpoint', 'label')

    with user_errors(setup=True):
        from mmaction.apis import init_recognizer
        from mmaction.utils.class_names import class_names_of
        from mmaction.visualization import check_out_name

        if args.out_filename is not None:
            check_out_name(args.out_filename, ('.mp4', '.gif'), args.camera_id)
        camera = Camera(args.camera_id)
        model: Any = init_recognizer(args.config, args.checkpoint, args.device, args.cfg_options)
        names = class_names_of(model, args.label)
        watcher = Watcher(model, args.stride, args.average_size, wait=not camera.live)
        try:
            count = watch(camera, watcher, names, args)
        except KeyboardInterrupt:
            print('stopped')
            return
        finally:
            watcher.close()
        if not watcher.results:
            print(
                f'{count} frames: too few for a clip of {watcher.frames.maxlen}, so nothing is said'
            )
        if args.out_filename is not None:
            print(f'written: {args.out_filename} ({count} frames)')


if __name__ == '__main__':
    main()
