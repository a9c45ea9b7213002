"""macOS and Windows, as far as Linux can tell: without what these systems lack."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.repository import ROOT

SYSTEMS = ['darwin', 'win32']
CLIPS = ROOT / 'tests/data/real_clips'


def run(system, *command):
    paths = [str(ROOT / 'tests/other_systems'), str(ROOT)]
    done = subprocess.run(
        [sys.executable, *command],
        env={**os.environ, 'OTHER_SYSTEM': system, 'PYTHONPATH': os.pathsep.join(paths)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.parametrize('system', SYSTEMS)
def test_from_a_folder_of_clips_to_predictions(system, tmp_path):
    for folder in filter(Path.is_dir, CLIPS.iterdir()):
        for clip in sorted(folder.iterdir())[:4]:
            (tmp_path / 'clips' / folder.name).mkdir(parents=True, exist_ok=True)
            shutil.copy(clip, tmp_path / 'clips' / folder.name)
    broken = tmp_path / 'clips' / folder.name / 'broken.mp4'
    broken.write_bytes(b'no video')
    told = run(system, '-m', 'mmaction', 'finetune', tmp_path / 'clips', '--epochs', '1',
               '--work-dir', tmp_path / 'run')  # fmt: skip
    assert '16 of 17 videos are used, 1 broken one left out' in told
    assert 'device: CPU' in told
    assert (tmp_path / 'run/report.html').is_file()
    told = run(system, '-m', 'mmaction', 'predict', clip, '--run', tmp_path / 'run')
    assert f'{clip}: ' in told
