"""uvicorn with a time limit for the head of a request, which it lacks."""

from __future__ import annotations

import socket
from typing import Any

from uvicorn import Config, Server
from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ['HEAD_SECONDS', 'make_server', 'serve']

HEAD_SECONDS = 15.0  # for the head of a request to be complete


class _Protocol(H11Protocol):
    """Closes connections that do not complete the head of a request in time.

    uvicorn's own limit for idle connections ends with the first byte that comes.
    """

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._expect_head()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._expect_head()

    def _expect_head(self) -> None:
        before = self.cycle

        def check() -> None:
            # A new cycle begins with each complete head.
            if self.cycle is before and (before is None or before.response_complete):
                self.transport.close()

        self.loop.call_later(HEAD_SECONDS, check)


def make_server(app: Any) -> Server:
    """A server of an ASGI application that is not started yet."""
    return Server(
        Config(app, http=_Protocol, log_level='warning', access_log=False, server_header=False)
    )


def serve(app: object, host: str, port: int) -> None:
    """Serve until it is stopped.

    Raises:
        OSError: The port is taken.
    """
    family = socket.AF_INET6 if ':' in host else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            raise OSError(
                f'cannot listen at {host}:{port} ({error.strerror}): try another --port'
            ) from error
        shown = f'[{host}]' if ':' in host else host
        print(f'open http://{shown}:{listener.getsockname()[1]} (Ctrl+C stops)', flush=True)
        make_server(app).run(sockets=[listener])
