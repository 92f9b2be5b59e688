"""From a `result_url` to a PNG that is whole."""

import base64
import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO
from urllib.parse import urljoin, urlsplit

import requests

from . import png
from .connections import CONNECT_SECONDS, Connections, PrivateAddressError
from .deadline import Deadline
from .errors import ResultGone, ResultInvalid, ResultUnavailable
from .models import Result

# The largest image that the API takes, 6000x6000 pixels of four bytes, is 144 MB before PNG compresses it.
MAX_RESULT_BYTES = 150_000_000
# Bytes of a result kept in memory; the rest goes to the disk, since ten are fetched at once.
SPOOL_BYTES = 1_048_576
CHUNK_BYTES = 65_536
READ_SECONDS = 15.0
MAX_REDIRECTS = 3
FETCH_ATTEMPTS = 3
# Share of an invocation's time that is kept back from the fetch, for writing the cutout.
RESERVE = 1 / 24


class Results:
    def __init__(self, connections: Connections, api_url: str) -> None:
        self._connections = connections
        self._api_origin = _origin(api_url)

    @contextmanager
    def fetch(self, result_url: str, deadline: Deadline) -> Iterator[Result]:
        """Download and verify a paid result; it is deleted when the context ends.

        Tries again at once when that fails, since to pay again would be the alternative.
        Raises ResultGone, ResultInvalid, ResultUnavailable or OutOfTime.
        """
        with tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES) as file:
            for attempt in range(1, FETCH_ATTEMPTS + 1):
                try:
                    result = self._download(result_url, file, deadline)
                    break
                except ResultGone:
                    raise
                except ResultUnavailable:
                    if attempt == FETCH_ATTEMPTS:
                        raise
            yield result

    def _download(self, url: str, file: IO[bytes], deadline: Deadline) -> Result:
        file.seek(0)
        file.truncate()
        digest = hashlib.sha256()
        try:
            with self._open(url, deadline) as response:
                for chunk in response.iter_content(CHUNK_BYTES):
                    deadline.remaining(reserve=RESERVE)
                    file.write(chunk)
                    digest.update(chunk)
                    if file.tell() > MAX_RESULT_BYTES:
                        raise ResultInvalid("The result is larger than any result can be.")
        except requests.RequestException as error:
            # `from None`: the text of the original holds the result URL.
            raise _unavailable(error) from None
        size = file.tell()
        file.seek(0)
        png.verify(file, lambda: deadline.remaining(reserve=RESERVE))
        file.seek(0)
        return Result(file, size, base64.b64encode(digest.digest()).decode())

    def _open(self, url: str, deadline: Deadline) -> requests.Response:
        for _ in range(MAX_REDIRECTS + 1):
            seconds = deadline.remaining(reserve=RESERVE)
            response = self._session_for(url).get(
                url,
                headers={"Accept": "image/png", "Accept-Encoding": "identity"},
                timeout=(min(CONNECT_SECONDS, seconds), min(READ_SECONDS, seconds)),
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
            url = urljoin(url, response.headers["Location"])
        raise ResultUnavailable("The result's host redirects too often.")

    def _session_for(self, url: str) -> requests.Session:
        """Only the configured API may be on a private address or without TLS, as a local one is."""
        try:
            origin = _origin(url)
        except ValueError:
            raise ResultInvalid("The URL of the result cannot be read.") from None
        if origin == self._api_origin:
            return self._connections.api
        if origin[0] != "https":
            raise ResultInvalid("The URL of the result is not an https one.")
        return self._connections.public


def _origin(url: str) -> tuple[str, str | None, int | None]:
    """Raises ValueError for a port that is none."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _unavailable(error: requests.RequestException) -> ResultUnavailable:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, PrivateAddressError):
            return ResultInvalid("The host of the result is not on a public address.")
        cause = cause.__context__
    return ResultUnavailable("The result could not be downloaded.")
