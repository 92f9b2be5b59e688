"""Writes to CloudWatch Logs as Lambda does: one stream per environment, in a log group created if needed."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.logs.exceptions import ResourceAlreadyExistsException, ResourceNotFoundException
from moto.logs.models import logs_backends


class LogStreams:
    def __init__(self, region: str) -> None:
        self._backend: Any = logs_backends[DEFAULT_ACCOUNT_ID][region]
        self._opened: set[tuple[str, str]] = set()

    def put(self, group: str, stream: str, events: Sequence[Mapping[str, int | str]]) -> None:
        """A stream that was deleted, alone or with its group, is not recreated: its events are lost, as with Lambda.

        Not thread-safe.
        """
        with suppress(ResourceNotFoundException):
            if (group, stream) not in self._opened:
                self._opened.add((group, stream))
                with suppress(ResourceAlreadyExistsException):
                    self._backend.create_log_group(group, {})
                self._backend.create_log_stream(group, stream)
            self._backend.put_log_events(group, stream, events)
