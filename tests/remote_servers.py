"""Servers of remote files: an S3 one (moto's) and an HTTP one with faults planted."""

from __future__ import annotations

import contextlib
import http.server
import socket
import threading
import time
from pathlib import Path

BUCKET = 'clips'


@contextlib.contextmanager
def s3_server():
    """Start moto's server, with the bucket `BUCKET`; gives its environment for clients."""
    import boto3
    import s3fs
    from moto.server import ThreadedMotoServer

    # Instances know the address of an earlier server.
    s3fs.S3FileSystem.clear_instance_cache()

    server = ThreadedMotoServer('127.0.0.1', 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    environment = dict(
        AWS_ENDPOINT_URL=f'http://{host}:{port}',
        AWS_ACCESS_KEY_ID='AKIATEST',
        AWS_SECRET_ACCESS_KEY='topsecret',
        AWS_DEFAULT_REGION='us-east-1',
    )
    client = boto3.client(
        's3',
        endpoint_url=environment['AWS_ENDPOINT_URL'],
        aws_access_key_id='AKIATEST',
        aws_secret_access_key='topsecret',
        region_name='us-east-1',
    )
    client.create_bucket(Bucket=BUCKET)
    try:
        yield environment
    finally:
        server.stop()


@contextlib.contextmanager
def gcs_server():
    """Start an emulator of Google Cloud Storage, with the bucket `BUCKET`; gives its address."""
    import logging

    from fsspec.config import conf
    from gcp_storage_emulator.server import create_server

    logging.getLogger('gcp_storage_emulator').setLevel(logging.CRITICAL)
    logging.getLogger('api').setLevel(logging.CRITICAL)
    server = create_server('127.0.0.1', 0, in_memory=True, default_bucket=BUCKET)
    server.start()
    before = conf.get('gs')
    # No credentials: gcsfs would ask the network of Google for some.
    conf['gs'] = dict(token='anon')
    try:
        yield f'http://127.0.0.1:{server._api._httpd.server_port}'
    finally:
        conf.pop('gs')
        if before is not None:
            conf['gs'] = before
        server.stop()


class CountingProxy:
    """Passes connections on to a server, and counts the bytes that come back.

    Args:
        url: Of the server: `http://HOST:PORT`.
    """

    def __init__(self, url: str) -> None:
        host, _, port = url.removeprefix('http://').partition(':')
        self.received = 0
        self._server = host, int(port)
        self._listener = socket.create_server(('127.0.0.1', 0))
        self.url = f'http://127.0.0.1:{self._listener.getsockname()[1]}'

    def __enter__(self) -> CountingProxy:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self._listener.close()

    def taken(self) -> int:
        """Bytes since the last call."""
        received, self.received = self.received, 0
        return received

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._server)
                for pair in ((client, server, False), (server, client, True)):
                    threading.Thread(target=self._pass_on, args=pair, daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, counts: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                self.received += len(data) if counts else 0
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)


class FaultyServer:
    """An HTTP server of a folder, which plants faults.

    Args:
        folder: What it serves, with byte ranges.
        port: Where; any free port by default.

    Attributes:
        faults: By name of a file, faults of its next answers: '503', '403', 'reset',
            'truncate', 'stall' or 'latency'; the last one stays if it is followed by '...'.
        asked: (method, name, range) of each request.
        knows_ranges: Whether it answers with a range if asked for one.
        tells_version: Whether it says when a file has changed.
    """

    def __init__(self, folder: str | Path, port: int = 0) -> None:
        self.folder = Path(folder)
        self.faults: dict[str, list[str]] = {}
        self.asked: list[tuple[str, str, str | None]] = []
        self.knows_ranges = self.tells_version = True
        self.released = threading.Event()
        self.http = http.server.ThreadingHTTPServer(('127.0.0.1', port), self._handler())
        self.http.daemon_threads = True
        self.url = f'http://127.0.0.1:{self.http.server_port}'

    def __enter__(self) -> FaultyServer:
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self.stop()

    def stop(self) -> None:
        """End it: no further connection is accepted."""
        if self.released.is_set():
            return
        self.released.set()
        self.http.shutdown()
        self.http.server_close()

    def gets(self, name: str) -> int:
        """How often a file was asked for, beside its size."""
        return sum(method == 'GET' and each == name for method, each, _ in self.asked)

    def _next_fault(self, name: str) -> str | None:
        faults = self.faults.get(name) or []
        if not faults:
            return None
        return faults[0] if faults[1:] == ['...'] else faults.pop(0)

    def _handler(outer):  # noqa: N805
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = 'HTTP/1.1'

            def log_message(self, *_):
                pass

            def do_HEAD(self):
                self._answer(body=False)

            def do_GET(self):
                self._answer(body=True)

            def _answer(self, body):
                if outer.released.is_set():  # a connection that was kept open
                    self.close_connection = True
                    return
                name = self.path.partition('?')[0].lstrip('/')
                outer.asked.append((self.command, name, self.headers.get('Range')))
                fault = outer._next_fault(name) if body else None
                if fault in ('503', '403'):
                    self.send_response(int(fault))
                    self.send_header('Content-Length', '0')
                    self.end_headers()
                    return
                if fault == 'reset':
                    linger = b'\x01\0\0\0\0\0\0\0'
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    self.close_connection = True
                    self.connection.close()
                    return
                if fault == 'stall':
                    outer.released.wait(30)
                    self.close_connection = True
                    return
                if fault == 'latency':
                    time.sleep(0.2)
                path = outer.folder / name
                if not path.is_file():
                    self.send_error(404)
                    return
                content = path.read_bytes()
                wanted = self.headers.get('Range')
                if not outer.knows_ranges:
                    wanted = None
                if wanted:
                    first, _, last = wanted.removeprefix('bytes=').partition('-')
                    content = content[int(first) : int(last) + 1 if last else None]
                self.send_response(206 if wanted else 200)
                if outer.knows_ranges:
                    self.send_header('Accept-Ranges', 'bytes')
                if outer.tells_version:
                    self.send_header('ETag', f'"{path.stat().st_mtime_ns:x}"')
                self.send_header('Content-Length', str(len(content)))
                self.end_headers()
                if body and fault == 'truncate':
                    self.wfile.write(content[: len(content) // 2])
                    self.close_connection = True
                elif body:
                    self.wfile.write(content)

        return Handler
