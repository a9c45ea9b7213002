"""A command that only has to say "no such file", or `--help`, waits for no library."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONFIG = 'configs/recognition/dualformer/dualformer_pico_motion_digits.py'
WEIGHTS = ['there is no checkpoint', CONFIG, 'no.pth']
VIDEO = [*WEIGHTS, 'no.mp4']
MISSING = {
    'tools/train.py': ['there is no config file', 'no.py'],
    'tools/test.py': WEIGHTS,
    'tools/analysis_tools/print_config.py': ['there is no config file', 'no.py'],
    'tools/analysis_tools/get_flops.py': ['there is no config file', 'no.py'],
    'tools/analysis_tools/eval_metric.py': ['there is no file of results', CONFIG, 'no.pkl'],
    'tools/analysis_tools/benchmark.py': ['there is no config file', 'no.py'],
    'tools/deployment/export.py': ['there is no checkpoint', CONFIG, 'no.pth', 'out.onnx'],
    'tools/deployment/publish_model.py': ['there is no checkpoint', 'no.pth', 'out'],
    'tools/misc/migrate_config.py': ['there is no config file', 'no.py', 'new.py'],
    'tools/data/extract_frames.py': ['there is no folder', 'no', 'out'],
    'tools/data/prepare_videos.py': ['there is no folder', 'no', 'out'],
    'demo/demo.py': VIDEO,
    'demo/demo_gradcam.py': VIDEO,
    'demo/demo_token_label.py': VIDEO,
    'demo/long_video_demo.py': VIDEO,
    'demo/web_demo.py': WEIGHTS,
    'demo/webcam_demo.py': WEIGHTS,
}
RUN = """
import atexit, json, runpy, sys

@atexit.register
def report():
    slow = {'torch', 'mmengine', 'cv2', 'matplotlib', 'av'} & set(sys.modules)
    ours = [name for name in sys.modules if name.split('.')[0] == 'mmaction']
    print(json.dumps([sorted(slow), ours]), file=sys.stderr)

sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name='__main__')
"""


def run(*command):
    """Exit status, libraries and modules of ours that a command loads, and what it says."""
    done = subprocess.run(
        [sys.executable, '-c', RUN, *map(str, command)], capture_output=True, text=True, cwd=ROOT
    )
    *said, last = done.stderr.splitlines()
    return done.returncode, *json.loads(last), '\n'.join(said)


@pytest.mark.parametrize('command', MISSING)
def test_missing_file_is_reported_before_anything_is_loaded(command):
    message, *arguments = MISSING[command]
    code, slow, ours, said = run(command, *arguments)
    assert code == 1
    assert said.startswith(f'error: {message} ')
    assert '\n' not in said
    assert slow == []
    assert len(ours) <= 12, ours


@pytest.mark.parametrize(
    'command',
    [
        'tools/train.py',
        'tools/test.py',
        'tools/data/prepare.py',
        'tools/deployment/export.py',
        'demo/demo.py',
    ],
)
def test_help_loads_no_library(command):
    code, slow, ours, _ = run(command, '--help')
    assert (code, slow) == (0, [])
    assert len(ours) <= 12, ours


INTERRUPTED = """
import runpy, sys

class Interrupts:
    def find_spec(self, name, *_):
        if name.startswith('mmaction.data_preparation'):
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupts())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name='__main__')
"""


@pytest.mark.parametrize(
    'words',
    [
        'build_file_list DIR', 'check_videos DIR', 'extract_frames DIR OUT', 'merge DIR',
        'pack DIR OUT', 'prepare ucf101 --annotations DIR --videos DIR --out OUT',
        'prepare_videos DIR OUT',
    ],
)  # fmt: skip
def test_ctrl_c_while_a_data_script_imports_leaves_no_traceback(tmp_path, words):
    places = {'DIR': str(tmp_path), 'OUT': str(tmp_path / 'out')}
    name, *rest = [places.get(word, word) for word in words.split()]
    command = [sys.executable, '-c', INTERRUPTED, f'tools/data/{name}.py', *rest]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, '')


def test_a_misspelt_file_is_suggested():
    _, _, _, said = run('tools/train.py', CONFIG.replace('digits', 'digit'))
    assert said.endswith(f'did you mean {CONFIG}?')


def test_importing_the_package_is_light():
    code = 'import mmaction, sys; print(sum(m.split(".")[0] == "mmaction" for m in sys.modules))'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=ROOT)
    assert int(done.stdout) <= 10
