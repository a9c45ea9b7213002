"""A headless Chromium, driven by its DevTools protocol over a pair of pipes."""

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import tempfile
import time

NAMES = ('chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable', 'chrome')


def find_chromium():
    """The path of an installed Chromium or Chrome, or None."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One page of a headless Chromium. Use it in a `with` statement.

    Attributes:
        problems: Exceptions and error messages of the page's own console.
    """

    def __init__(self, width=1280, height=900):
        self.folder = tempfile.mkdtemp(prefix='chromium-')
        from_here, self._out = os.pipe()
        self._in, to_here = os.pipe()
        # Chromium reads commands at 3 and answers at 4; the shell puts the pipes there.
        high = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (from_here, to_here)]
        command = [
            find_chromium(),
            '--headless',
            '--no-sandbox',
            '--disable-gpu',
            '--disable-dev-shm-usage',
            '--no-first-run',
            '--hide-scrollbars',
            '--remote-debugging-pipe',
            f'--user-data-dir={self.folder}',
            'about:blank',
        ]
        self._process = subprocess.Popen(
            ['bash', '-c', f'exec "$@" 3<&{high[0]} 4>&{high[1]}', 'chromium', *command],
            pass_fds=high,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for end in (from_here, to_here, *high):
            os.close(end)
        self._buffer, self._last, self._session = b'', 0, None
        self.problems = []
        target = self.call('Target.createTarget', url='about:blank')['targetId']
        attached = self.call('Target.attachToTarget', targetId=target, flatten=True)
        self._session = attached['sessionId']
        for domain in ('Page', 'Runtime', 'DOM', 'Log'):
            self.call(f'{domain}.enable')
        self.resize(width, height)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._out)
        os.close(self._in)
        shutil.rmtree(self.folder, ignore_errors=True)

    def call(self, method, **params):
        """Send a command and wait for its answer."""
        self._last += 1
        message = dict(id=self._last, method=method, params=params)
        if self._session:
            message['sessionId'] = self._session
        os.write(self._out, json.dumps(message).encode() + b'\0')
        end = time.monotonic() + 90
        while True:
            answer = self._read(end)
            if answer.get('id') == self._last:
                assert 'error' not in answer, f'{method}: {answer["error"]}'
                return answer['result']
            if answer.get('method') == 'Runtime.exceptionThrown':
                self.problems.append(str(answer['params']['exceptionDetails']))
            if answer.get('method') == 'Log.entryAdded':
                entry = answer['params']['entry']
                if entry['level'] == 'error':
                    self.problems.append(f'{entry["text"]} ({entry.get("url")})')

    def _read(self, end):
        while b'\0' not in self._buffer:
            ready, _, _ = select.select([self._in], [], [], max(end - time.monotonic(), 0))
            assert ready, 'Chromium does not answer'
            part = os.read(self._in, 1 << 20)
            assert part, 'Chromium has ended'
            self._buffer += part
        message, self._buffer = self._buffer.split(b'\0', 1)
        return json.loads(message)

    def resize(self, width, height, scale=1, mobile=False):
        """Give the page another size."""
        self.call(
            'Emulation.setDeviceMetricsOverride',
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=mobile,
        )

    def open(self, url):
        """Go to an address."""
        self.call('Page.navigate', url=url)

    def run(self, script):
        """The value of an expression in the page."""
        found = self.call(
            'Runtime.evaluate', expression=script, returnByValue=True, awaitPromise=True
        )
        assert 'exceptionDetails' not in found, found['exceptionDetails']
        return found['result'].get('value')

    def wait(self, script, seconds=60):
        """Wait until an expression is true."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.run(script):
                return
            time.sleep(0.05)
        raise AssertionError(f'{script} did not come true; the page says {self.text("body")}')

    def text(self, selector):
        """What can be read in an element."""
        return self.run(f'document.querySelector({json.dumps(selector)}).innerText')

    def _middle(self, selector):
        """Where the middle of an element is, after it was brought into sight."""
        return self.run(
            f'(() => {{ const e = document.querySelector({json.dumps(selector)}); '
            'e.scrollIntoView({block: "center"}); const b = e.getBoundingClientRect(); '
            'return [b.x + b.width / 2, b.y + b.height / 2]; })()'
        )

    def click(self, selector):
        """Click on the middle of an element, as a user does."""
        x, y = self._middle(selector)
        for kind in ('mousePressed', 'mouseReleased'):
            self.call('Input.dispatchMouseEvent', type=kind, x=x, y=y, button='left', clickCount=1)

    def choose_file(self, selector, path):
        """Choose a file in an <input type=file>."""
        root = self.call('DOM.getDocument')['root']['nodeId']
        node = self.call('DOM.querySelector', nodeId=root, selector=selector)['nodeId']
        self.call('DOM.setFileInputFiles', files=[str(path)], nodeId=node)

    def press(self, key):
        """Press a key that has no character, such as 'Tab' or 'ArrowLeft'."""
        codes = dict(Tab=9, Enter=13, End=35, Home=36, ArrowLeft=37, ArrowRight=39)
        for kind in ('rawKeyDown', 'keyUp'):
            self.call(
                'Input.dispatchKeyEvent', type=kind, key=key, code=key,
                windowsVirtualKeyCode=codes[key],
            )  # fmt: skip

    def color_scheme(self, scheme):
        """Prefer 'light' or 'dark'."""
        self.call(
            'Emulation.setEmulatedMedia',
            features=[dict(name='prefers-color-scheme', value=scheme)],
        )

    def drop_files(self, selector, *paths):
        """Drag files onto the middle of an element and drop them there."""
        x, y = self._middle(selector)
        data = dict(items=[], files=[str(path) for path in paths], dragOperationsMask=1)
        for kind in ('dragEnter', 'dragOver', 'drop'):
            self.call('Input.dispatchDragEvent', type=kind, x=x, y=y, data=data)

    def screenshot(self, path, whole=True):
        """Write a picture of the page, or of what is in sight."""
        found = self.call(
            'Page.captureScreenshot', format='png', captureBeyondViewport=whole,
            **(dict(clip=self._whole()) if whole else {}),
        )  # fmt: skip
        with open(path, 'wb') as file:
            file.write(base64.b64decode(found['data']))

    def _whole(self):
        size = self.call('Page.getLayoutMetrics')['cssContentSize']
        return dict(x=0, y=0, width=size['width'], height=size['height'], scale=1)
