"""What the live parts of the pages share: they are asked for again and again, and mostly nothing has changed."""

import hashlib
from http import HTTPStatus

from flask import Response, make_response


def digest(*parts: object) -> str:
    """Tells one state from another."""
    return hashlib.blake2b(repr(parts).encode(errors="backslashreplace"), digest_size=8).hexdigest()


def answer(html: str, next_look_milliseconds: int) -> Response:
    """Without any, what is shown stays."""
    response = make_response(html, HTTPStatus.OK if html else HTTPStatus.NO_CONTENT)
    response.headers["Next-Look-Milliseconds"] = str(next_look_milliseconds)
    return response
