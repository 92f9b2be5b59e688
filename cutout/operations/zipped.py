"""Cutouts as a ZIP that is made while it is sent.

Each is fetched whole before its entry begins: one that cannot be read leaves no broken entry, and is named in a text
file at the end of the ZIP.
"""

import posixpath
import tempfile
import unicodedata
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from http import HTTPStatus
from typing import IO, TYPE_CHECKING, NamedTuple

from botocore.exceptions import ClientError
from zipstream import ZipStream

from cutout.failures import describe, is_about_credentials
from cutout.operations.deployment import Deployment
from cutout.operations.download import Fetched, fetch, split
from cutout.operations.threads import map_in_order
from remove_background.aws_errors import http_status

if TYPE_CHECKING:
    from botocore.response import StreamingBody

LEFT_OUT = "LEFT OUT.txt"
CHUNK_BYTES = 65_536
SPOOL_BYTES = 1_048_576  # of each cutout in memory; the rest goes to the disk
# Fetched at a time, and waiting to be sent.
_THREADS, _WINDOW = 4, 8
_WORDS = {
    Fetched.GONE: "it was deleted meanwhile.",
    Fetched.NOT_A_CUTOUT: "it is not a cutout of this stack.",
    Fetched.OUTSIDE: "its key cannot be the name of a file.",
}
# https://learn.microsoft.com/windows/win32/fileio/naming-a-file
_UNSAFE = frozenset('<>:"\\|?*')
_RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{digit}" for port in ("com", "lpt") for digit in range(10))}


class Names:
    """Gives each key a path that any system can unpack, and no path twice, also where cases do not differ."""

    def __init__(self, *taken: str) -> None:
        self._files = set(map(_fold, taken))
        self._folders: set[str] = set()

    def of(self, key: str) -> str | None:
        """None for a key that leads out of the folder."""
        parts = split(key)
        if parts is None:
            return None
        folder = ""
        for part in map(_make_safe, parts[:-1]):
            folder = next(path for path in _variants(f"{folder}{part}", "") if _fold(path) not in self._files) + "/"
            self._folders.add(_fold(folder[:-1]))
        stem, extension = posixpath.splitext(_make_safe(parts[-1]))
        path = next(
            path
            for path in _variants(f"{folder}{stem}", extension)
            if _fold(path) not in self._files and _fold(path) not in self._folders
        )
        self._files.add(_fold(path))
        return path


def _make_safe(part: str) -> str:
    safe = "".join("_" if c in _UNSAFE or not c.isprintable() else c for c in part)
    if safe[-1] in ". ":
        safe = f"{safe[:-1]}_"
    return f"_{safe}" if safe.partition(".")[0].rstrip().casefold() in _RESERVED else safe


def _variants(stem: str, extension: str) -> Iterator[str]:
    yield stem + extension
    number = 2
    while True:
        yield f"{stem} ({number}){extension}"
        number += 1


def _fold(path: str) -> str:
    return unicodedata.normalize("NFC", path).casefold()


class _Fetched(NamedTuple):
    """`why` is said of what has no file."""

    key: str
    file: IO[bytes] | None
    size: int = 0
    why: str = ""


def stream(deployed: Deployment, keys: Iterable[str]) -> Generator[bytes]:
    """Raises boto3's errors: what was sent up to then is not a whole ZIP."""
    archive, names = ZipStream(), Names(LEFT_OUT)
    left_out: list[str] = []
    files: set[IO[bytes]] = set()

    def read(key: str) -> _Fetched:
        return _read(deployed, key, files)

    try:
        with closing(map_in_order(keys, read, _THREADS, _WINDOW)) as results:
            for result in results:
                path = names.of(result.key) if result.file else None
                if result.file is None or path is None:
                    left_out.append(f"{result.key}: {result.why or _WORDS[Fetched.OUTSIDE]}")
                    continue
                archive.add(_chunks(result.file), path, size=result.size)
                yield from archive.all_files()
                result.file.close()
                files.discard(result.file)
        if left_out:
            archive.add("\n".join(["These cutouts are not in the ZIP:", "", *left_out, ""]), LEFT_OUT)
        yield from archive.finalize()
    finally:
        for file in files:
            file.close()


def _read(deployed: Deployment, key: str, files: set[IO[bytes]]) -> _Fetched:
    file = tempfile.SpooledTemporaryFile(SPOOL_BYTES)  # noqa: SIM115  # closed once it is sent
    files.add(file)

    def save(body: "StreamingBody") -> None:
        file.seek(0)
        file.truncate()
        file.writelines(body.iter_chunks(CHUNK_BYTES))

    try:
        end = fetch(deployed, key, save)
        why = _WORDS.get(end, "")
    except ClientError as error:
        status = http_status(error) or HTTPStatus.INTERNAL_SERVER_ERROR
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR or is_about_credentials(error):
            raise
        why = describe(error)
    if why:
        file.close()
        files.discard(file)
        return _Fetched(key, None, why=why)
    size = file.tell()
    file.seek(0)
    return _Fetched(key, file, size)


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    while chunk := file.read(CHUNK_BYTES):
        yield chunk
