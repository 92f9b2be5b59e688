"""Answers that are sent to the browser while they are read from S3."""

import unicodedata
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING
from urllib.parse import quote

from botocore.exceptions import BotoCoreError, ClientError
from flask import Response, request
from waitress.channel import ClientDisconnected

if TYPE_CHECKING:
    from botocore.response import StreamingBody

CHUNK_BYTES = 65_536
_UNSAFE = frozenset('<>:"/\\|?*')
_MOST_CHARACTERS = 150


def stream(body: "StreamingBody", head: bytes, headers: dict[str, str]) -> Response:
    """`head` was read from the body already. The body is read as the browser takes it, and closed with the answer."""

    def chunks() -> Iterator[bytes]:
        yield head
        yield from body.iter_chunks(CHUNK_BYTES)

    response = Response(cut_off(chunks()), headers=headers)
    response.call_on_close(body.close)
    if request.method == "HEAD":  # its answer is never iterated, nor closed
        body.close()
    return response


def cut_off(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Ends the connection where AWS fails, so that the browser does not take what it has for the whole."""
    try:
        yield from chunks
    except (BotoCoreError, ClientError):
        raise ClientDisconnected from None  # any other exception leaves a traceback in the terminal


def disposition(kind: str, stem: str, extension: str) -> str:
    """A Content-Disposition, `inline` or `attachment`, with a name that any file system takes."""
    safe = "".join("_" if c in _UNSAFE or not c.isprintable() else c for c in stem)[:_MOST_CHARACTERS]
    plain = unicodedata.normalize("NFKD", safe).encode("ascii", "ignore").decode().replace("%", "_")
    name, plain_name = (f"{one.strip('. ') or 'file'}.{extension}" for one in (safe, plain))
    return f"{kind}; filename=\"{plain_name}\"; filename*=UTF-8''{quote(name, safe='')}"
