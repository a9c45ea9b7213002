"""demo/long_video_demo.py as a user runs it."""

import subprocess
import sys
from pathlib import Path

import av
import pytest

from demo import long_video_demo
from tests.video_factory import write_video

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / 'configs/recognition/dualformer/dualformer_pico_motion_digits.py'


def run(*args):
    command = [sys.executable, ROOT / 'demo' / 'long_video_demo.py', *args]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=ROOT)


def test_table_and_video(tmp_path, monkeypatch, capsys):
    import torch

    from mmaction.apis import init_recognizer

    torch.save(init_recognizer(CONFIG, None, 'cpu').state_dict(), tmp_path / 'x.pth')
    video = write_video(tmp_path / 'long one.mp4', num_frames=50)
    names = [f'class {i}' for i in range(8)]
    (tmp_path / 'names.txt').write_text('\n'.join(names))
    out = tmp_path / 'out.mp4'
    capsys.readouterr()
    arguments = CONFIG, tmp_path / 'x.pth', video, tmp_path / 'names.txt', out, '--stride', 1
    monkeypatch.setattr(sys, 'argv', ['long_video_demo.py', *map(str, arguments)])
    long_video_demo.main()
    *rows, written = capsys.readouterr().out.splitlines()
    assert rows[0].startswith('  0:00.0 to ')
    assert all(' %  class ' in row for row in rows)
    assert rows[-1].split(' to ')[1].split()[0] == '0:02.0'
    assert written == f'written: {out} (50 frames)'
    with av.open(str(out)) as container:
        frames = [frame.height for frame in container.decode(video=0)]
    assert len(frames) == 50
    assert frames[0] > 80
    done = run(CONFIG, tmp_path / 'x.pth', tmp_path / 'none.mp4')
    assert done.stderr.startswith('error: there is no video file')


@pytest.mark.parametrize(
    'options', [('--stride', 1.5), ('--stride', 0), ('--stride', 'nan'), ('--threshold', 2)]
)
def test_wrong_options_fail_before_any_work(tmp_path, options):
    weights, video = tmp_path / 'x.pth', tmp_path / 'x.mp4'
    weights.touch()
    video.touch()
    done = run(CONFIG, weights, video, *options)
    assert done.returncode == 2
    assert done.stderr.startswith(f'error: {options[0]} {options[1]}')
