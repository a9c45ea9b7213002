"""The page's server: few addresses, and no way from any of them to other files.

docs/web_api.md describes the addresses below /api.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import urlsplit

from mmaction.utils.suggest import did_you_mean

from .body import BodyError, receive_file, receive_form
from .jobs import Busy, Explain, Job, Jobs
from .reading import UploadReader
from .uploads import Limits

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

__all__ = ['make_app']

RETRY_AFTER = 20  # seconds after which a busy server should be asked again
_HERE = Path(__file__).parent
_PAGES = {
    '/': ('page.html', 'text/html'),
    '/page.css': ('page.css', 'text/css'),
    '/page.js': ('page.js', 'text/javascript'),
}
_HEADERS = {
    'Content-Security-Policy': "default-src 'self'; img-src 'self' data:; object-src 'none'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    'X-Content-Type-Options': 'nosniff',
    'Referrer-Policy': 'no-referrer',
    'Cache-Control': 'no-store',
}


def make_app(
    explain: Explain,
    title: str,
    examples: Sequence[tuple[str, Path]] = (),
    limits: Limits | None = None,
    hosts: Sequence[str] = ('127.0.0.1', 'localhost'),
    reader: UploadReader | None = None,
) -> Starlette:
    """The page as an ASGI application.

    Args:
        explain: Does the work on a clip, see `mmaction.apis.web.explain.Explainer`.
        title: Name of the model, for the page.
        examples: Names and files to pick from.
        limits: What may be uploaded.
        hosts: Names under which the page is reached; requests for others are refused, so
            that no page elsewhere can talk to this one. ['*'] takes all.
        reader: Reads files; a new one if None.

    Raises:
        ImportError: The extra `web` is not installed.
        ValueError: An example cannot be read.
    """
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.routing import Route

    limits = limits or Limits()
    reader = reader or UploadReader(limits)
    previews = [reader.preview(path) for _, path in examples]
    jobs = Jobs(explain, reader.check, limits)
    pages = _Pages(jobs, title, examples, previews)

    @asynccontextmanager
    async def life(_app: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            jobs.close()
            reader.close()

    def route(path: str, endpoint: Any, *methods: str) -> Route:
        return Route(path, endpoint, methods=list(methods))

    app = Starlette(
        routes=[
            *(route(path, pages.page, 'GET') for path in _PAGES),
            route('/health', pages.health, 'GET'),
            route('/api/info', pages.info, 'GET'),
            route('/api/examples/{number}', pages.example, 'GET', 'POST'),
            route('/api/jobs', pages.upload, 'POST'),
            route('/api/jobs/{key}', pages.job, 'GET', 'DELETE'),
            route('/api/jobs/{key}/drop', pages.drop, 'POST'),
            route('/api/jobs/{key}/{name}', pages.result_image, 'GET'),
        ],
        middleware=[
            Middleware(_Guard),
            Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False),
        ],
        exception_handlers={HTTPException: _no_route},
        lifespan=life,
    )
    app.state.jobs = jobs
    return app


class _Guard:
    """Adds the headers, and refuses what other sites send."""

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        from starlette.datastructures import Headers, MutableHeaders

        if scope['type'] != 'http':
            await self.app(scope, receive, send)
            return

        async def with_headers(message: Any) -> None:
            if message['type'] == 'http.response.start':
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        headers = Headers(scope=scope)
        foreign = 'origin' in headers and _site(headers['origin']) != headers.get('host')
        if foreign and scope['method'] != 'GET':
            refusal = _sorry(403, 'Requests of other sites are refused.')
            await refusal(scope, receive, with_headers)
            return
        await self.app(scope, receive, with_headers)


def _site(origin: str) -> str:
    """Name and port in an `Origin`; empty if there is none, or it is no address."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ''


class _Pages:
    """What each address answers."""

    def __init__(
        self,
        jobs: Jobs,
        title: str,
        examples: Sequence[tuple[str, Path]],
        previews: Sequence[bytes],
    ) -> None:
        self.jobs, self.limits = jobs, jobs.limits
        self.title, self.examples, self.previews = title, examples, previews
        self._uploads = 0

    async def page(self, request: Request) -> Response:
        """One of the three files that are the page."""
        from starlette.responses import FileResponse

        name, kind = _PAGES[request.url.path]
        return FileResponse(_HERE / name, media_type=kind)

    async def health(self, request: Request) -> Response:
        """That the server answers and its worker lives, and how many clips it has to do."""
        from starlette.responses import JSONResponse

        alive = self.jobs.is_alive
        status = 'ok' if alive else 'the worker has ended; restart the server'
        return JSONResponse(dict(status=status, clips=self.jobs.unfinished), 200 if alive else 503)

    async def info(self, request: Request) -> Response:
        """What the page has to know at its start."""
        from starlette.responses import JSONResponse

        return JSONResponse(
            dict(
                title=self.title,
                examples=[name for name, _ in self.examples],
                megabytes=self.limits.megabytes,
                seconds=self.limits.seconds,
            )
        )

    async def example(self, request: Request) -> Response:
        """The thumbnail of an example (GET), or work on it (POST)."""
        from starlette.responses import JSONResponse, Response

        given = request.path_params['number']
        # Not more digits than `int` would take.
        number = int(given) if given.isdecimal() and len(given) < 10 else len(self.examples)
        if number >= len(self.examples):
            return _sorry(404, 'There is no such example.')
        name, path = self.examples[number]
        if request.method == 'POST':
            try:
                self.jobs.refuse_if_full()
                job = self.jobs.open(name, path, _asks_scores(request))
                self._start([job])
            except Busy as error:
                return _busy(error)
            except BodyError as error:
                return _sorry(error.status, str(error))
            return JSONResponse(dict(id=job.id), 202)
        return Response(self.previews[number], media_type='image/jpeg')

    def _start(self, jobs: Sequence[Job]) -> None:
        try:
            self.jobs.start(*jobs)
        except Busy:
            for job in jobs:
                self.jobs.drop(job.id)
            raise

    async def upload(self, request: Request) -> Response:
        """Take a file as the body of the request, or several files as a form."""
        from starlette.responses import JSONResponse

        is_form = request.headers.get('content-type', '').startswith('multipart/form-data')
        jobs: list[Job] = []
        self._uploads += 1
        try:
            if self._uploads > self.limits.uploads:
                raise Busy('Too many clips are being uploaded; please try again in a minute.')
            self.jobs.refuse_if_full()
            await (self._receive_form if is_form else self._receive_file)(request, jobs)
            self._start(jobs)
        except BaseException as error:  # the sender went away, or the disk is full
            for job in jobs:
                self.jobs.drop(job.id)
            if isinstance(error, Busy):
                return _busy(error)
            if isinstance(error, BodyError):
                return _sorry(error.status, str(error))
            raise
        finally:
            self._uploads -= 1
        if is_form:
            return JSONResponse(dict(jobs=[dict(id=job.id, name=job.name) for job in jobs]), 202)
        return JSONResponse(dict(id=jobs[0].id), 202)

    async def _receive_file(self, request: Request, jobs: list[Job]) -> None:
        name = plain_name(request.query_params.get('name', ''))
        job = self.jobs.open(name, scores_only=_asks_scores(request))
        jobs.append(job)
        await receive_file(request, job.video, name, self.limits)

    async def _receive_form(self, request: Request, jobs: list[Job]) -> None:
        from starlette.concurrency import run_in_threadpool

        files = await receive_form(request, self.limits)
        try:
            for file in files:
                name = plain_name(file.filename or '')
                job = self.jobs.open(name, scores_only=_asks_scores(request))
                jobs.append(job)
                await run_in_threadpool(_copy, file.file, job.video)
        finally:
            for file in files:
                await file.close()

    async def job(self, request: Request) -> Response:
        """How a job stands (GET), or the end of it (DELETE)."""
        from starlette.responses import JSONResponse, Response

        job = self.jobs.get(request.path_params['key'])
        if job is None:
            return _sorry(404, 'This result is no longer kept; please choose the clip again.')
        if request.method == 'DELETE':
            self.jobs.drop(job.id)
            return Response(status_code=204)
        return JSONResponse({**job.public(), 'before': self.jobs.before(job)})

    async def drop(self, request: Request) -> Response:
        """The end of a job, as a page says it that is being closed."""
        from starlette.responses import Response

        self.jobs.drop(request.path_params['key'])
        return Response(status_code=204)

    async def result_image(self, request: Request) -> Response:
        """An image of a result."""
        from starlette.responses import FileResponse

        job = self.jobs.get(request.path_params['key'])
        path = self.jobs.image(job, request.path_params['name']) if job is not None else None
        return FileResponse(path) if path is not None else _sorry(404, 'There is no such image.')


def _copy(file: BinaryIO, path: Path) -> None:
    with path.open('wb') as copy:
        shutil.copyfileobj(file, copy)


def _sorry(status: int, sentence: str, headers: dict[str, str] | None = None) -> Response:
    from starlette.responses import JSONResponse

    return JSONResponse(dict(error=sentence), status, headers)


async def _no_route(request: Request, error: Any) -> Response:
    """Answer to an address (404) or a method (405) that is not there, in JSON as all errors."""
    sentence = f'{request.method} {request.url.path}: {error.detail}.'
    return _sorry(error.status_code, sentence, error.headers)


def _busy(error: Busy) -> Response:
    return _sorry(503, str(error), {'Retry-After': str(RETRY_AFTER)})


def _asks_scores(request: Request) -> bool:
    for name in request.query_params:
        if name not in ('name', 'scores'):
            known = did_you_mean(name, ('name', 'scores'), list_known=True)
            raise BodyError(400, f'There is no parameter "{name}"{known}')
    given = request.query_params.get('scores')
    if given not in (None, 'only'):
        raise BodyError(400, 'The value of "scores" has to be "only", or it is left out.')
    return given is not None


def plain_name(name: str) -> str:
    """The last part of a file's name, without what cannot be shown, at most 80 characters."""
    last = name.replace('\\', '/').rsplit('/', 1)[-1]
    shown = ''.join(c for c in last if c.isprintable()).strip()
    return shown[:80] or 'the file'
