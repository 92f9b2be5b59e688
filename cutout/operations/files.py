"""Finds the files to upload, and gives each the keys of its upload and of its cutout.

The files are on this machine, or were dropped onto the console's page: the rules are the same.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from cutout.operations import objects
from remove_background.errors import Billed, OutputKeyTooLong
from remove_background.output_key import MAX_KEY_BYTES, OutputKey
from remove_background.uploads import Upload

# Files that operating systems put into folders of pictures, besides those that begin with a dot.
_HIDDEN = {"thumbs.db", "desktop.ini"}
HIDDEN = "hidden"
NOT_REGULAR = "that are not files, or are broken or circular links"


class WrongFile(Exception):
    """A file that cannot be sent; with `destination`, one whose cutout cannot be fetched to the folder."""

    def __init__(self, message: str, *, destination: bool = False) -> None:
        super().__init__(message)
        self.destination = destination


class SameKey(WrongFile):
    """Two files would overwrite each other."""

    def __init__(self, one: "File", other: "File") -> None:
        self.fact = f"{one.path} and {other.path} would both be {one.key} in the bucket."
        super().__init__(f"{self.fact} Send them in two calls, with a --prefix each.")


class WrongPrefix(Exception):
    """The stack would not take what is sent there."""


class Became(StrEnum):
    """What has become of a file."""

    NOT_SENT = "not_sent"
    SENT = "sent"
    CUTOUT = "cutout"
    NOT_FETCHED = "cutout_not_fetched"
    LETTER = "letter"
    SUPERSEDED = "superseded"
    DELETED = "deleted"
    UNFINISHED = "unfinished"


@dataclass(slots=True)
class File:
    """`size` is in bytes; `upload` is set once it was sent; `code` is its letter's code, `reason` a sentence.

    `path` is where it is; of one that a browser sends, its path in what was dropped.
    `billed` says whether it cost a credit, once it has a cutout or a letter.
    """

    path: Path
    size: int
    key: str
    output_key: str
    became: Became = Became.NOT_SENT
    code: str | None = None
    reason: str | None = None
    upload: Upload | None = None
    billed: Billed | None = None


def find(paths: Iterable[Path], prefix: str, output_key: OutputKey) -> tuple[list[File], Counter[str]]:
    """The files, in order; and how many others were left out of folders, by reason.

    Raises WrongFile if one cannot be sent, or would overwrite another.
    """
    left_out: Counter[str] = Counter()
    found = (
        _file(file_path, prefix + name, _size(file_path), output_key)
        for path in paths
        for file_path, name in _name(path, left_out)
    )
    return _all_different(found), left_out


def find_dropped(
    dropped: Iterable[tuple[str, int]], prefix: str, output_key: OutputKey
) -> tuple[list[File | None], Counter[str]]:
    """As `find`, of what a browser names: the paths in what was dropped, which begin with the folder's name; and sizes.

    None stands for a file that is left out.
    """
    files: list[File | None] = []
    hidden: set[str] = set()
    for path, size in dropped:
        folder, _, inside = path.partition("/")
        if inside and (name := _hidden_part(inside)):
            hidden.add(f"{folder}/{name}")
            files.append(None)
        else:
            files.append(_file(Path(path), prefix + (inside or folder), size, output_key))
    _all_different(filter(None, files))
    return files, Counter({HIDDEN: len(hidden)} if hidden else {})


def as_folder(prefix: str, needed: str) -> str:
    """`needed` is what the keys that the stack takes begin with. Raises WrongPrefix."""
    if prefix and not prefix.endswith("/"):
        prefix += "/"
    if not prefix.startswith(needed):
        raise WrongPrefix(f"the stack takes only keys that begin with {needed}.")
    return prefix


def list_files(paths: Iterable[Path], left_out: Counter[str]) -> Iterator[Path]:
    """The files, and those in the folders, in order; `left_out` counts as `find` does. Raises WrongFile."""
    for path in paths:
        for file, _ in _name(path, left_out):
            yield file


def find_shared_cutouts(files: Iterable[File]) -> list[list[File]]:
    """Files that would get the same output key."""
    by_key = defaultdict(list)
    for file in files:
        by_key[file.output_key].append(file)
    return [sharing for sharing in by_key.values() if len(sharing) > 1]


def count_replaced(files: Sequence[File], folder: Path) -> int:
    """How many of the cutouts would replace a file in the folder.

    Raises WrongFile if one would be written outside the folder, or over a file that is to be sent.
    """
    top = objects.resolve(folder)
    existing = set()
    for file in files:
        destination = objects.resolve(top / file.output_key)
        if top not in destination.parents or ".." in Path(file.output_key).parts:
            raise WrongFile(
                f"The cutout of {file.path}, {file.output_key}, would not be in {folder}.", destination=True
            )
        try:
            if destination.exists():
                existing.add(_identity(destination))
        except OSError as error:
            raise WrongFile(f"{destination} cannot be written: {error.strerror}.", destination=True) from None
    for file in files:
        if _identity(file.path) in existing:
            raise WrongFile(f"A cutout would overwrite {file.path}: choose another folder.", destination=True)
    return len(existing)


def _name(path: Path, left_out: Counter[str]) -> Iterator[tuple[Path, str]]:
    """The file, or those in the folder, each with its name in the bucket."""
    if path.is_file():
        yield path, path.name
        return
    if not path.is_dir():
        raise WrongFile(f"{path} is neither a file nor a folder.")
    empty = True
    try:
        for found in _walk(path, left_out):
            empty = False
            yield found, found.relative_to(path).as_posix()
    except OSError as error:
        raise WrongFile(f"{error.filename} cannot be read: {error.strerror}.") from None
    if empty:
        raise WrongFile(f"{path} holds no files, hidden ones aside.")


def _walk(top: Path, left_out: Counter[str]) -> Iterator[Path]:
    """The regular files below a folder, including links. Raises OSError for a folder that cannot be read."""
    # Each folder with the identities of those above it, to recognise a link that leads back.
    folders: list[tuple[Path, frozenset[tuple[int, int]]]] = [(top, frozenset())]
    while folders:
        folder, above = folders.pop()
        here = _identity(folder)
        if here in above:
            left_out[NOT_REGULAR] += 1
            continue
        inside = []
        for path in sorted(folder.iterdir()):
            if _is_hidden(path.name):
                left_out[HIDDEN] += 1
            elif path.is_dir():
                inside.append((path, above | {here}))
            elif path.is_file():
                yield path
            else:
                left_out[NOT_REGULAR] += 1
        folders.extend(reversed(inside))


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.casefold() in _HIDDEN


def _hidden_part(path: str) -> str | None:
    """The path up to the file or folder that is hidden; None if none is."""
    names = path.split("/")
    return next(("/".join(names[: at + 1]) for at, name in enumerate(names) if _is_hidden(name)), None)


def _all_different(files: Iterable[File]) -> list[File]:
    """Raises SameKey."""
    by_key: dict[str, File] = {}
    for file in files:
        if file.key in by_key:
            raise SameKey(file, by_key[file.key])
        by_key[file.key] = file
    return list(by_key.values())


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise WrongFile(f"{path} cannot be read: {error.strerror}.") from None


def _file(path: Path, key: str, size: int, output_key: OutputKey) -> File:
    try:
        str(path).encode()
        length = len(key.encode())
    except UnicodeEncodeError:
        raise WrongFile(f"The name of {path} is not UTF-8: rename it.") from None
    if length > MAX_KEY_BYTES:
        raise WrongFile(f"The key of {path} would have {length:,} bytes; S3 allows {MAX_KEY_BYTES:,}.")
    try:
        return File(path, size, key, output_key.of(key))
    except OutputKeyTooLong as error:
        raise WrongFile(f"{path}: {error.message}") from None


def _identity(path: Path) -> tuple[int, int]:
    """The same for a file under two names, such as names that differ only in case on some file systems."""
    status = path.stat()
    return status.st_dev, status.st_ino
