"""Exports to OpenVINO: options, packages, and all cases in a process of their own."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from mmaction.apis.openvino_model import find_openvino
from mmaction.cli.export import main
from mmaction.errors import ConfigError

# Not imported here, which takes seconds of every test process.
if not all(map(find_spec, ('onnxscript', 'nncf', 'openvino'))):
    pytest.skip('needs the extra "openvino"', allow_module_level=True)

CONFIG = 'configs/recognition/dualformer/dualformer_pico_motion_digits.py'


@pytest.mark.slow
def test_exports_agree_with_the_recognizer_or_are_refused():
    """In another process, where no later test runs.

    One that ended a child (SIGCHLD) was a segmentation fault after OpenVINO had computed: probably
    since AMX, which it asks for, enlarges signal frames beyond a small signal stack.
    """
    command = [sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider']
    cases = Path(__file__).with_name('openvino_cases.py')
    found = subprocess.run([*command, str(cases)], capture_output=True, text=True)
    assert found.returncode == 0, found.stdout[-5000:]
    assert ' passed' in found.stdout


@pytest.mark.parametrize(
    ('out', 'options', 'message'),
    [
        ('x.onnx', ['--int8', __file__], '--int8 makes an .xml'),
        ('x.xml', ['--data-prefix', '.'], 'which is missing'),
        ('x.xml', ['--int8', 'no.txt'], 'no.txt'),
        ('x.xml', ['--int8', __file__, '--int8-clips', '0'], 'at least 1'),
    ],
)
def test_wrong_options(tmp_path, capsys, out, options, message):
    with pytest.raises(SystemExit):
        main([CONFIG, '-', str(tmp_path / out), *options])
    assert message in capsys.readouterr().err


def test_nothing_is_reported_over_the_network():
    """Both packages would send that they are imported, by a third one."""
    code = (
        'import sys, tests.quick_start; from mmaction.apis.openvino_model import find_openvino;'
        'find_openvino(int8=True);'
        'print([n for n in sys.modules if n.startswith("openvino_t") and sys.modules[n]])'
    )
    found = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ['[]']


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, 'nncf', None)
    with pytest.raises(ConfigError, match=r'nncf.*pip install "dualformer\[openvino\]"'):
        find_openvino(int8=True)
