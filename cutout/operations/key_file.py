"""A file of keys, each a line of JSON: `cutout cancel` writes it, and `cutout backfill` looks at those inputs alone."""

import json
from collections.abc import Iterable
from pathlib import Path

from cutout.failures import Failure


def write(path: Path, keys: Iterable[str]) -> None:
    """Raises Failure where it cannot be written, or there is such a file: it may name what is set aside still."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.writelines(f"{json.dumps(key)}\n" for key in keys)
    except FileExistsError:
        raise Failure(f"{path} is there already, and may name other uploads: choose another name.") from None
    except OSError as error:
        raise Failure(f"{path} cannot be written: {error.strerror}.") from None


def read(path: Path) -> frozenset[str]:
    """Raises Failure for what is not such a file."""
    keys = set()
    try:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            key = json.loads(line)
            if not isinstance(key, str):
                raise Failure(_word_wrong(path, number))
            keys.add(key)
    except OSError as error:
        raise Failure(f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise Failure(_word_wrong(path, 1)) from None
    except ValueError:
        raise Failure(_word_wrong(path, number)) from None
    return frozenset(keys)


def _word_wrong(path: Path, number: int) -> str:
    return f'Line {number:,} of {path} is not a key as `cutout cancel --keep` writes it, such as "photos/a.jpg".'
