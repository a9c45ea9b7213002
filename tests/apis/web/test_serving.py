"""Connections that never complete a request are closed."""

import socket
import time

import pytest

from tests.apis.web_site import Site


@pytest.fixture
def site(monkeypatch):
    with Site() as site:
        monkeypatch.setattr('mmaction.apis.web.serving.HEAD_SECONDS', 0.6)
        yield site


def seconds_until_closed(connection):
    """Send a byte of a header every 0.1 s until the server closes the connection."""
    begin = time.monotonic()
    connection.settimeout(0.1)
    while time.monotonic() - begin < 10:
        try:
            connection.sendall(b'x')
            if connection.recv(100) == b'':
                break
        except TimeoutError:
            continue
        except OSError:
            break
    return time.monotonic() - begin


def test_slow_headers_close_the_connection(site):
    with socket.create_connection(('127.0.0.1', site.port)) as connection:
        connection.sendall(b'GET /api/info HTTP/1.1\r\nHost: localhost\r\nX-Slow: ')
        assert 0.3 < seconds_until_closed(connection) < 5


def test_slow_headers_of_a_second_request_too(site):
    with socket.create_connection(('127.0.0.1', site.port)) as connection:
        for _ in range(2):  # in time, both are answered
            connection.sendall(b'GET /api/info HTTP/1.1\r\nHost: localhost\r\n\r\n')
            answer = b''
            while not answer.endswith(b'}'):
                answer += connection.recv(10_000)
            assert answer.startswith(b'HTTP/1.1 200')
            time.sleep(0.2)
        connection.sendall(b'GET /api/info HTTP/1.1\r\nX-Slow: ')
        assert 0.2 < seconds_until_closed(connection) < 5


def test_body_may_take_longer_than_the_head(site):
    with socket.create_connection(('127.0.0.1', site.port)) as connection:
        connection.sendall(
            b'POST /api/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 12\r\n\r\n'
        )
        for _ in range(12):
            time.sleep(0.1)
            connection.sendall(b'x')
        connection.settimeout(10)
        assert connection.recv(1000).startswith(b'HTTP/1.1 202')
