"""Receiving uploads: no more bytes than allowed, and no sender slower than allowed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import TYPE_CHECKING

from .uploads import Limits

if TYPE_CHECKING:
    from starlette.datastructures import UploadFile
    from starlette.requests import Request

__all__ = ['BodyError', 'receive_file', 'receive_form']


class BodyError(ValueError):
    """What is wrong with the body of a request, in a sentence, and the status of the answer."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


async def _chunks(request: Request, name: str, limits: Limits) -> AsyncGenerator[bytes, None]:
    """The body in pieces as they come; `name` is what an error calls it."""
    too_large = BodyError(
        413, f'{name} is larger than the {limits.megabytes:g} MB that this page takes.'
    )
    length = request.headers.get('content-length', '0')
    if length.isdigit() and int(length) > limits.bytes:
        raise too_large
    stream = request.stream()
    start, size = time.monotonic(), 0
    while True:
        # A limit for each piece alone would let a byte now and then hold a place for ever.
        deadline = start + limits.upload_grace + size / limits.upload_rate
        try:
            piece = await asyncio.wait_for(anext(stream), max(deadline - time.monotonic(), 0.001))
        except StopAsyncIteration:
            return
        except asyncio.TimeoutError:
            raise BodyError(408, f'{name} came too slowly; please try again.') from None
        size += len(piece)
        if size > limits.bytes:
            raise too_large
        yield piece


async def receive_file(request: Request, path: Path, name: str, limits: Limits) -> None:
    """Write the body of a request to a file.

    Raises:
        BodyError: It is too large or comes too slowly.
    """
    with path.open('wb') as file:
        async for piece in _chunks(request, name, limits):
            file.write(piece)


async def receive_form(request: Request, limits: Limits) -> list[UploadFile]:
    """The files of a form (multipart/form-data), in temporary files without a name.

    Raises:
        BodyError: It is no such form, has no file or too many, is too large, or comes too
            slowly.
    """
    from python_multipart.exceptions import FormParserError
    from starlette.datastructures import UploadFile
    from starlette.formparsers import MultiPartException, MultiPartParser

    chunks = _chunks(request, 'the form', limits)
    parser = MultiPartParser(request.headers, chunks, max_files=limits.waiting, max_fields=10)
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise BodyError(400, f'The form cannot be read: {error.message}') from error
    except FormParserError as error:  # Starlette before 1.7 lets them through
        raise BodyError(400, f'The form cannot be read: {error}.') from error
    files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
    if not files:
        raise BodyError(400, 'The form has no file.')
    return files
