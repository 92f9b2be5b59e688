"""Rules that make S3's events lack what they may lack on AWS."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class EventFault:
    """Events about keys that contain `key` lack these fields of the object, or have them empty.

    `versionId` is absent in a bucket without versions, and empty in public samples of events.
    """

    key: str
    without: tuple[str, ...] = ()
    empty: tuple[str, ...] = ()

    def apply(self, about: dict[str, Any]) -> None:
        for name in self.without:
            about.pop(name, None)
        about.update(dict.fromkeys(self.empty, ""))
