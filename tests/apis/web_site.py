"""The server of the web demo, on a port of its own, and requests to it."""

import http.client
import json
import socket
import threading
import time

import pytest
from PIL import Image

from mmaction.apis.web.server import make_app
from mmaction.apis.web.uploads import Limits, VideoFacts

LIMITS = Limits(megabytes=0.3, seconds=3.0, side=512, waiting=2)


def fake_explain(video, folder, progress):
    """Says how large the video is."""
    progress(0.5, 'weighing')
    if folder is not None:
        Image.new('RGB', (4, 4)).save(folder / 'clip.jpg')
    return dict(size=video.stat().st_size)


def fake_check(video, name):
    """Says that all is well."""
    return VideoFacts(64, 48, 10.0, 2.0)


class Site:
    """A served page and requests to it, with paths sent as they are."""

    def __init__(self, explain=fake_explain, examples=(), limits=LIMITS):
        for name in ('uvicorn', 'starlette', 'python_multipart'):
            pytest.importorskip(name)
        from mmaction.apis.web.serving import make_server

        self.app = make_app(explain, 'a model', examples, limits)
        self.jobs = self.app.state.jobs
        self.listener = socket.socket()
        self.listener.bind(('127.0.0.1', 0))
        self.port = self.listener.getsockname()[1]
        self.server = make_server(self.app)
        # not the main thread, so it takes no signals
        self.thread = threading.Thread(target=self.server.run, args=([self.listener],))
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.should_exit = True
        self.thread.join()
        self.listener.close()

    def ask(self, method, path, body=None, **headers):
        connection = http.client.HTTPConnection('127.0.0.1', self.port, timeout=30)
        connection.putrequest(method, path, skip_host='Host' in headers)
        if body is not None:
            headers = {'Content-Length': str(len(body)), **headers}
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        is_json = answer.headers.get_content_type() == 'application/json'
        return answer.status, json.loads(content) if is_json else content, answer.headers

    def send(self, data, name='a.mp4'):
        return self.ask('POST', f'/api/jobs?name={name}', data)

    def finished(self, key):
        end = time.monotonic() + 60
        while time.monotonic() < end:
            _, job, _ = self.ask('GET', f'/api/jobs/{key}')
            if job['state'] in ('done', 'failed'):
                return job
            time.sleep(0.02)
        raise AssertionError(job)
