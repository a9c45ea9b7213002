"""The commands of docs/web_api.md are run against a server with a real model."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from mmaction.apis import init_recognizer
from mmaction.apis.web.explain import Explainer
from mmaction.apis.web.uploads import Limits
from tests.apis.conftest import tiny_config
from tests.apis.web_site import Site
from tests.video_factory import write_video

PAGE = Path(__file__).parents[3] / 'docs' / 'web_api.md'
MARK = '-- end of block --'
BLOCK = re.compile(r'^```(bash|json)\n(.*?)^```', re.MULTILINE | re.DOTALL)


def values(text):
    """The JSON values of a text, one after the other."""
    decoder, found, text = json.JSONDecoder(), [], text.strip()
    while text:
        value, end = decoder.raw_decode(text)
        found.append(value)
        text = text[end:].strip()
    return found


def shape(value):
    """Keys and types of a JSON value."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shape(item) for item in value]
    return float if isinstance(value, (int, float)) else type(value)


@pytest.mark.skipif(not (shutil.which('curl') and shutil.which('jq')), reason='needs curl and jq')
def test_documented_commands_print_what_the_page_says(tmp_path):
    pytest.importorskip('python_multipart')
    blocks = BLOCK.findall(PAGE.read_text(encoding='utf-8'))
    script, documented = 'set -eu -o pipefail\n', {}
    commands = 0
    for kind, text in blocks:
        if kind == 'bash':
            script += f'{text}\necho "{MARK}"\n'
            commands += 1
        else:
            documented[commands - 1] = values(text)
    for name in ('video.mp4', 'other.mp4'):
        write_video(tmp_path / name, 20, 64, 48, fps=10)
    torch.manual_seed(3)
    explain = Explainer(init_recognizer(tiny_config(), device='cpu'))
    with Site(explain, limits=Limits()) as site:
        here = f'http://127.0.0.1:{site.port}'
        assert 'http://127.0.0.1:7860' in script
        script = script.replace('http://127.0.0.1:7860', here)
        done = subprocess.run(
            ['bash', '-c', script], cwd=tmp_path, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        outputs = done.stdout.split(MARK)[:-1]
        assert len(outputs) == commands > 5
        assert len(documented) > 4
        working = documented.pop(min(documented))[0]
        found = values(outputs[min(i for i, text in enumerate(outputs) if text.strip())])[0]
        assert list(found) == list(working)
        for number, expected in documented.items():
            printed = shape(values(outputs[number]))
            if 'examples' in str(expected):
                expected[1]['examples'] = []
            assert printed == shape(expected), outputs[number]
        assert (tmp_path / 'clip.jpg').read_bytes()[:2] == b'\xff\xd8'
        table = re.findall(r'^\| `(\w+)` \|', PAGE.read_text(encoding='utf-8'), re.MULTILINE)
        key = site.send((tmp_path / 'video.mp4').read_bytes())[1]['id']
        assert sorted(site.finished(key)['result']) == sorted(table)
