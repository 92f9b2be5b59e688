"""From a `result_url` to a PNG that is whole."""

import base64
import hashlib
import string
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO
from urllib.parse import quote, urljoin, urlsplit

import requests
from urllib3.exceptions import LocationValueError

from . import png
from .connections import CONNECT_SECONDS, FAILURES, Call, Connections, PrivateAddressError, call, read
from .deadline import Deadline
from .errors import ResultGone, ResultInvalid, ResultUnavailable
from .models import Result

# The largest image that the API takes, 6000x6000 pixels of four bytes, is 144 MB before PNG compresses it.
MAX_RESULT_BYTES = 150_000_000
# Bytes of a result kept in memory; the rest goes to the disk, since ten are fetched at once.
SPOOL_BYTES = 1_048_576
READ_SECONDS = 15.0
MAX_REDIRECTS = 3
FETCH_ATTEMPTS = 3
# A host may not yet have a new result: wait this long, times the attempt, before the next one.
GONE_SECONDS = 1.0
# Share of an invocation's time that is reserved for writing the cutout.
RESERVE = 1 / 24

# The message for URLs that cannot be fetched.
_UNREADABLE = (
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidSchema,
    requests.exceptions.MissingSchema,
    LocationValueError,
    UnicodeError,
)


class Results:
    def __init__(self, connections: Connections, api_url: str) -> None:
        self._connections = connections
        self._api_origin = _origin(api_url)

    @contextmanager
    def fetch(self, result_url: str, deadline: Deadline) -> Iterator[Result]:
        """Download and verify a paid result; it is deleted when the context ends.

        Retries, since the alternative is to pay again: at once, or a little later if the result is not there.
        Raises ResultGone or ResultInvalid only after FETCH_ATTEMPTS, ResultUnavailable or OutOfTime.
        """
        deadline.remaining(reserve=RESERVE)
        with tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES) as file:
            for attempt in range(1, FETCH_ATTEMPTS + 1):
                try:
                    result = self._download(result_url, file, deadline)
                    break
                except ResultUnavailable as error:
                    if attempt == FETCH_ATTEMPTS:
                        raise
                    rest = GONE_SECONDS * attempt if isinstance(error, ResultGone) else 0.0
                    if deadline.left(reserve=RESERVE) <= rest:
                        raise ResultUnavailable(f"{error.message} No time was left for another attempt.") from None
                    time.sleep(rest)
            yield result

    def _download(self, url: str, file: IO[bytes], deadline: Deadline) -> Result:
        file.seek(0)
        file.truncate()
        digest = hashlib.sha256()
        with call(deadline, reserve=RESERVE) as current:
            try:
                with self._open(url) as response:
                    for chunk in read(response):
                        file.write(chunk)
                        digest.update(chunk)
                        if file.tell() > MAX_RESULT_BYTES:
                            raise ResultInvalid("The result is larger than any result can be.")
                size = file.tell()
                file.seek(0)
                png.verify(file, current.check)
            except FAILURES as error:
                # `from None`: the text of the original holds the result URL.
                raise _unavailable(error, current) from None
        file.seek(0)
        return Result(file, size, base64.b64encode(digest.digest()).decode())

    def _open(self, url: str) -> requests.Response:
        for _ in range(MAX_REDIRECTS + 1):
            response = self._session_for(url).get(
                url,
                headers={"Accept": "image/png", "Accept-Encoding": "identity"},
                timeout=(CONNECT_SECONDS, READ_SECONDS),
                allow_redirects=False,
                stream=True,
            )
            if response.status_code == requests.codes.ok:
                return response
            response.close()
            if response.status_code in (requests.codes.not_found, requests.codes.gone):
                raise ResultGone("The result is not there any more.")
            if not response.is_redirect:
                raise ResultUnavailable(f"The host of the result answered {response.status_code}.")
            url = _join(url, response.headers["Location"])
        raise ResultUnavailable("The result's host redirects too often.")

    def _session_for(self, url: str) -> requests.Session:
        """Only the configured API may be on a private address or without TLS, as a local one is."""
        origin = _origin(url)
        if origin == self._api_origin:
            return self._connections.api
        if origin[0] != "https":
            raise ResultInvalid("The URL of the result is not an https one.")
        return self._connections.public


def _join(url: str, location: str) -> str:
    """Where a redirect leads: http.client reads the bytes of its header as Latin-1, whatever they are."""
    quoted = quote(location.encode("latin-1"), safe=string.punctuation)
    try:
        return urljoin(url, quoted)
    except ValueError:
        raise _unreadable() from None


def _origin(url: str) -> tuple[str, str | None, int | None]:
    try:
        parts = urlsplit(url)
        if "\\" in parts.netloc:  # urllib3 takes it for a slash, and so would connect to another host
            raise _unreadable()
        return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        raise _unreadable() from None


def _unreadable() -> ResultInvalid:
    return ResultInvalid("The URL of the result cannot be read.")


def _unavailable(error: Exception, current: Call) -> ResultUnavailable:
    if isinstance(error, _UNREADABLE):
        return _unreadable()
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, PrivateAddressError):
            return ResultInvalid("The host of the result is not on a public address.")
        cause = cause.__context__
    return ResultUnavailable(
        "The result could not be downloaded in time." if current.is_over else "The result could not be downloaded."
    )
