"""demo/web_demo.py as a user sees it, in a real headless Chromium."""

import importlib.util
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from demo import web_demo
from tests.browser import Browser, find_chromium
from tests.demo.conftest import NAMES, write_model
from tests.video_factory import count_colors, write_video

ROOT = Path(__file__).parents[2]
needs_extra = pytest.mark.skipif(
    importlib.util.find_spec('starlette') is None or importlib.util.find_spec('uvicorn') is None,
    reason="needs the extra 'web'",
)


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """Config with a test list, checkpoint, videos."""
    folder = tmp_path_factory.mktemp('web')
    lines = []
    for i in range(3):
        write_video(folder / f'clip {i}.mp4', 20, 64, 48, fps=10)
        lines.append(f'clip {i}.mp4 {i % 2}\n')
    write_video(folder / 'turned.mp4', 20, 64, 48, fps=10, rotation=90)
    (folder / 'val.txt').write_text(''.join(lines))
    dataset = dict(type='VideoDataset', ann_file='val.txt', data_root=str(folder))
    write_model(folder, test_dataloader=dict(dataset=dataset))
    broken = (folder / 'clip 0.mp4').read_bytes()
    (folder / 'broken.mp4').write_bytes(broken[: len(broken) // 2])
    return folder


@pytest.fixture(scope='module')
def page(files, tmp_path_factory):
    """The running page: its address, and the folder in which it may keep files."""
    kept = tmp_path_factory.mktemp('kept')
    process = subprocess.Popen(
        [sys.executable, ROOT / 'demo' / 'web_demo.py', files / 'config.py', files / 'model.pth',
         '--port', '0', '--device', 'cpu', '--max-megabytes', '0.5'],
        stdout=subprocess.PIPE, text=True, env={**os.environ, 'TMPDIR': str(kept)}, cwd=ROOT,
    )  # fmt: skip
    address = None
    for line in process.stdout:
        if address := re.match(r'open (http://127\.0\.0\.1:\d+) ', line):
            break
    assert address, 'the page did not start'
    yield address[1], kept
    # even an early end leaves nothing behind
    process.send_signal(signal.SIGTERM)
    process.wait(30)
    assert list(kept.iterdir()) == []


@pytest.fixture(scope='module')
def chromium():
    """One for all tests: its start takes seconds."""
    with Browser() as browser:
        yield browser


@pytest.fixture
def browser(page, chromium):
    """A browser that has just opened the page, in the light and on a wide screen."""
    chromium.problems.clear()
    chromium.resize(1280, 900)
    chromium.color_scheme('light')
    chromium.open('about:blank')
    chromium.open(page[0])
    chromium.wait("document.body && document.body.dataset.loaded === 'yes'")
    yield chromium
    assert chromium.problems == []


def has_content(browser, canvas):
    """Whether a canvas is neither empty nor of one color."""
    return browser.run(
        f"(() => {{ const c = document.getElementById('{canvas}'); const d = c.getContext('2d')"
        '.getImageData(0, 0, c.width, c.height).data; let least = 255, most = 0; '
        'for (let i = 0; i < d.length; i += 4) { least = Math.min(least, d[i]); '
        'most = Math.max(most, d[i]); } return most - least > 40; })()'
    )


def of(canvas):
    return f"document.getElementById('{canvas}').toDataURL()"


@needs_extra
@pytest.mark.browser
@pytest.mark.skipif(find_chromium() is None, reason='no Chromium')
def test_upload_result_screenshot(page, browser, files, tmp_path):
    browser.run(
        "window.steps = []; new MutationObserver(() => steps.push(document.getElementById('step')"
        ".textContent)).observe(document.getElementById('step'), {childList: true}); 0"
    )
    browser.choose_file('#file', files / 'clip 1.mp4')
    browser.wait('document.body.dataset.ready')
    steps = browser.run('steps')
    assert steps[0] == 'sending clip 1.mp4 …'
    assert len(set(steps)) > 1
    assert browser.text('#name') == 'clip 1.mp4'
    rows = browser.text('#top').splitlines()
    assert rows[::2][0] in NAMES
    scores = [float(text.removesuffix(' %')) for text in rows[1::2]]
    assert len(scores) == 5
    assert scores == sorted(scores, reverse=True)
    tabs = browser.text('#tabs').split('\n')
    assert tabs == ['Grad-CAM', 'HiResCAM', 'Local windows', 'Global pyramid']
    assert all(has_content(browser, canvas) for canvas in ('plain', 'map', 'tokens'))
    assert browser.run("document.querySelectorAll('#frames button').length") == 4
    assert '32 x 32 pixels, from a video of 64 x 48 pixels and 2.0 s' in browser.text('#seen')

    # it plays until it is paused; all films show the same frame
    frame = browser.run("document.getElementById('frame').value")
    browser.wait(f"document.getElementById('frame').value !== '{frame}'")
    browser.click('#play')
    browser.click('#frames button:nth-child(1)')
    plain, overlay = browser.run(of('plain')), browser.run(of('map'))
    browser.click('#frames button:nth-child(3)')
    assert browser.text('#number').startswith('3 of 4, ')
    assert browser.run(of('plain')) != plain
    # another map, another picture; without opacity it is the clip
    before = browser.run(of('map'))
    assert before != overlay
    browser.click('#tabs button:nth-child(3)')
    assert browser.text('#map-name') == 'Local windows'
    assert browser.run(of('map')) != before
    browser.run("(() => { const a = document.getElementById('alpha'); a.value = 0; "
                "a.dispatchEvent(new Event('input')); })()")  # fmt: skip
    assert browser.run(of('map')) == browser.run(of('plain'))

    for width, mobile in ((1280, False), (390, True)):
        browser.resize(width, 850, 1, mobile)
        path = tmp_path / f'{width}.png'
        browser.screenshot(path)
        picture = np.asarray(Image.open(path).convert('RGB'))
        assert picture.shape[1] == width  # nothing sticks out to the right
        assert picture.shape[0] > 800
        assert count_colors(picture) > 500


@needs_extra
@pytest.mark.browser
@pytest.mark.skipif(find_chromium() is None, reason='no Chromium')
def test_errors_and_examples(page, browser, files, tmp_path):
    browser.choose_file('#file', files / 'broken.mp4')
    browser.wait("!document.getElementById('error').hidden")
    assert browser.text('#error').startswith('broken.mp4 ')
    assert browser.text('#error').endswith('.')
    assert str(page[1]) not in browser.text('#error')
    assert browser.run("document.getElementById('working').hidden")
    large = tmp_path / 'b>.mp4'
    large.write_bytes(b'\x00' * 600_000)
    browser.choose_file('#file', large)
    browser.wait("document.getElementById('error').innerText.includes('larger')")
    assert browser.text('#error').startswith('b>.mp4 is larger than the 0.5 MB')
    # the next clip takes the sentence away
    assert browser.text('#examples').split('\n') == NAMES[:2]
    browser.click('#examples button:nth-child(2)')
    browser.wait('document.body.dataset.ready')
    assert browser.text('#name') == 'class b'
    assert browser.run("document.getElementById('error').hidden")
    # dropped
    browser.run('delete document.body.dataset.ready')
    browser.drop_files('#drop', files / 'clip 2.mp4')
    browser.wait('document.body.dataset.ready')
    assert browser.text('#name') == 'clip 2.mp4'
    # the address can name one
    browser.open('about:blank')
    browser.open(f'{page[0]}/#example-1-3')
    browser.wait('document.body && document.body.dataset.ready')
    assert browser.text('#name') == 'class a'
    assert browser.text('#map-name') == 'Local windows'
    # a page that is left takes its result along
    key = browser.run('document.body.dataset.ready')
    assert len(list(page[1].glob(f'*/{key}'))) == 1
    browser.open('about:blank')
    end = time.monotonic() + 20
    while list(page[1].glob(f'*/{key}')):
        assert time.monotonic() < end
        time.sleep(0.05)


AXE = Path(sys.prefix) / 'node_modules' / 'axe-core' / 'axe.min.js'


def axe_violations(browser):
    """What axe-core finds wrong with the page as it is: rule, and the elements."""
    if not browser.run("typeof axe === 'object'"):
        browser.run(AXE.read_text(encoding='utf-8') + '; 0')
    return browser.run(
        "axe.run({resultTypes: ['violations']}).then((found) => found.violations.map((v) => "
        'v.id + ": " + v.nodes.map((n) => n.target.join(" ") + " " + n.failureSummary).join("; ")))'
    )


@needs_extra
@pytest.mark.browser
@pytest.mark.skipif(find_chromium() is None, reason='no Chromium')
@pytest.mark.skipif(
    not AXE.exists(),
    reason=f'no axe-core: npm install --no-save --prefix {sys.prefix} axe-core',
)
def test_axe_finds_no_violations(page, browser, files):
    def check():
        for scheme in ('light', 'dark'):
            browser.color_scheme(scheme)
            assert axe_violations(browser) == [], scheme

    check()
    browser.choose_file('#file', files / 'broken.mp4')
    browser.wait("!document.getElementById('error').hidden")
    check()
    browser.drop_files('#drop', files / 'clip 2.mp4', files / 'clip 1.mp4')
    browser.wait('document.body.dataset.ready')
    check()
    # the check itself: it objects to what it is for
    browser.run("document.getElementById('map').removeAttribute('aria-label'); "
                "document.getElementById('seen').style.color = 'gray'; "
                "document.getElementById('frame').removeAttribute('aria-label')")  # fmt: skip
    found = ' '.join(axe_violations(browser))
    for rule in ('role-img-alt', 'label: #frame'):
        assert rule in found


@needs_extra
@pytest.mark.browser
@pytest.mark.skipif(find_chromium() is None, reason='no Chromium')
def test_keyboard_and_screen_reader(page, browser, files):
    browser.run("document.querySelector('h1').tabIndex = -1; document.querySelector('h1').focus()")
    browser.press('Tab')
    assert browser.run('document.activeElement.id') == 'file'
    assert browser.run("getComputedStyle(document.getElementById('drop')).outlineStyle") == 'solid'
    browser.choose_file('#file', files / 'clip 1.mp4')
    browser.wait('document.body.dataset.ready')
    nodes = browser.call('Accessibility.getFullAXTree')['nodes']
    named = {
        (node['role']['value'], node.get('name', {}).get('value'))
        for node in nodes
        if not node['ignored']
    }
    assert any(name and name.startswith('Drop a video here or choose') for _, name in named)
    assert ('tablist', 'Saliency maps') in named
    assert ('image', 'Grad-CAM over the clip') in named
    assert ('tabpanel', 'Grad-CAM') in named
    assert any(role == 'image' and name.startswith('The top class of each') for role, name in named)
    # arrow keys go round the tabs, and take the focus and the map along
    browser.run("document.getElementById('tab-0').focus()")
    for key, title in (
        ('ArrowRight', 'HiResCAM'),
        ('ArrowLeft', 'Grad-CAM'),
        ('ArrowLeft', 'Global pyramid'),
        ('ArrowRight', 'Grad-CAM'),
        ('End', 'Global pyramid'),
        ('Home', 'Grad-CAM'),
    ):
        browser.press(key)
        assert browser.text('#map-name') == title
        assert browser.run('document.activeElement.textContent') == title
        selected = browser.run("[...document.querySelectorAll('[aria-selected=true]')].length")
        assert selected == 1
    # one stop for all tabs
    browser.press('Tab')
    assert browser.run('document.activeElement.id') == 'play'


@needs_extra
@pytest.mark.browser
@pytest.mark.skipif(find_chromium() is None, reason='no Chromium')
def test_dark_mode_and_two_dropped_files(page, browser, files, tmp_path):
    darkness = {}
    for scheme in ('light', 'dark'):
        browser.color_scheme(scheme)
        path = tmp_path / f'{scheme}.png'
        browser.screenshot(path)
        darkness[scheme] = np.median(np.asarray(Image.open(path).convert('L')))
    assert darkness['light'] > 200
    assert darkness['dark'] < 60
    browser.drop_files('#drop', files / 'clip 2.mp4', files / 'clip 1.mp4')
    browser.wait('document.body.dataset.ready')
    assert browser.text('#name') == 'clip 2.mp4'
    assert browser.text('#notice') == (
        'This page shows one video at a time: clip 2.mp4. Not taken: clip 1.mp4.'
    )
    browser.run('delete document.body.dataset.ready')
    browser.drop_files('#drop', files / 'turned.mp4')
    browser.wait('document.body.dataset.ready')
    assert browser.run("document.getElementById('notice').hidden")
    # as a player shows it, not as it is stored
    assert 'from a video of 48 x 64 pixels' in browser.text('#seen')


@pytest.mark.parametrize(
    ('options', 'text'),
    [
        (['--examples', 'nowhere.mp4'], '--examples: there is no video file nowhere.mp4'),
        (['--max-seconds', '0'], '--max-megabytes and --max-seconds must be positive'),
        (['--colormap', 'mud'], "colormap 'mud'"),
        (['--host', '192.0.2.1', '--port', '0'], 'cannot listen at 192.0.2.1:0'),
    ],
)
@needs_extra
def test_start_errors(files, capsys, options, text):
    with pytest.raises(SystemExit):
        web_demo.main([str(files / 'config.py'), str(files / 'model.pth'), *options])
    assert text in capsys.readouterr().err


def test_missing_web_extra_is_named(files, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'uvicorn', None)
    with pytest.raises(SystemExit):
        web_demo.main([str(files / 'config.py'), str(files / 'model.pth')])
    assert "pip install 'dualformer[web]'" in capsys.readouterr().err
