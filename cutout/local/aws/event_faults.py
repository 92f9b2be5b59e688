"""Rules by which S3 words its events as it does on a bad day."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class EventFault:
    """S3's events about keys that hold `key` lack these fields of the object, or have them with nothing in them.

    `versionId` is absent in a bucket without versions, and empty in public samples of events.
    """

    key: str
    without: tuple[str, ...] = ()
    empty: tuple[str, ...] = ()

    def apply(self, about: dict[str, Any]) -> None:
        for name in self.without:
            about.pop(name, None)
        about.update(dict.fromkeys(self.empty, ""))
