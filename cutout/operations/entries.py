"""Many cutouts in memory: their keys, times and sizes."""

import threading
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import NamedTuple

MOST = 200_000  # cutouts that are kept
# A cutout's time, in seconds since the epoch, and its size are one number, which takes half the memory. The time is in
# the high bits: these numbers are in its order.
_SIZE_BITS = 48
_SIZES = (1 << _SIZE_BITS) - 1


class Entry(NamedTuple):
    """`size` is 0 where it is not known."""

    key: str
    written: datetime
    size: int


class Entries:
    """Cutouts by key, in little memory. For several threads."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._packed: dict[str, int] = {}
        self._order: list[str] = []  # of all keys; replaced rather than changed, as others have it
        self._is_sorted = True
        self.is_full = False  # and has lost some

    def __len__(self) -> int:
        return len(self._packed)

    def put(self, entries: Iterable[tuple[str, datetime, int]]) -> None:
        packed = {key: int(written.timestamp()) << _SIZE_BITS | size for key, written, size in entries}
        with self._lock:
            self._order = [*(key for key in packed if key not in self._packed), *self._order]
            self._packed |= packed
            self._is_sorted = False
            if len(self._packed) > self._most:
                self.is_full = True
                for key in self._sort()[self._most - self._most // 100 :]:
                    del self._packed[key]
                self._order = self._order[: len(self._packed)]

    def keep(self, keys: set[str]) -> None:
        with self._lock:
            self._packed = {key: packed for key, packed in self._packed.items() if key in keys}
            self._order = [key for key in self._order if key in keys]

    def drop(self, key: str) -> bool:
        """Whether it was there."""
        with self._lock:
            if self._packed.pop(key, None) is None:
                return False
            self._order = [other for other in self._order if other != key]
            return True

    def get(self, key: str) -> Entry | None:
        packed = self._packed.get(key)
        if packed is None:
            return None
        return Entry(key, datetime.fromtimestamp(packed >> _SIZE_BITS, UTC), packed & _SIZES)

    def find(self, prefix: str = "", text: str = "") -> list[str]:
        """The keys that begin so and hold this text, in whatever case; the newest first."""
        with self._lock:
            found = self._sort()
        if prefix:
            found = [key for key in found if key.startswith(prefix)]
        if text:
            text = text.casefold()
            found = [key for key in found if text in key.casefold()]
        return found

    def size_of(self, keys: Iterable[str]) -> int:
        packed = self._packed
        return sum(packed.get(key, 0) & _SIZES for key in keys)

    def _sort(self) -> list[str]:
        if not self._is_sorted:
            self._order = sorted(self._order, key=self._packed.__getitem__, reverse=True)
            self._is_sorted = True
        return self._order


def folders(keys: Iterable[str], prefix: str) -> Counter[str]:
    """How many of these keys, which begin with the prefix, lie in each folder right below it."""
    return Counter(key[: end + 1] for key in keys if (end := key.find("/", len(prefix))) >= 0)
