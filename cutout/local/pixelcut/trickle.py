"""Slow answers. waitress by itself sends at once, headers and the start of the body together."""

import time
from collections.abc import Iterator

from waitress.channel import ClientDisconnected, HTTPChannel

from cutout.local.pixelcut.arrival import TimedParser, TimedTask
from cutout.local.pixelcut.faults import Pause, Rule

SLOW = "cutout.slow"  # in the environ of a request: the Slow of its answer
GLANCE_SECONDS = 0.2  # how often it checks whether the client has left


class Slow:
    """How the answer to one request is sent; `pause` ends early when the stand-in is reset or stopped."""

    def __init__(self, rule: Rule, pause: Pause) -> None:
        self._rule = rule
        self._woken = pause.woken  # taken now, so that a reset between two waits is not missed
        self._sent = 0

    def send_header(self, channel: HTTPChannel, header: bytes) -> None:
        self._send(channel, header, self._rule.header_bytes_per_second)

    def send_body(self, channel: HTTPChannel, body: bytes) -> None:
        limit = self._rule.stall_after
        if limit is not None and self._sent + len(body) >= limit:
            self._send(channel, body[: limit - self._sent], self._rule.bytes_per_second)
            self._stall(channel)
            raise ClientDisconnected
        self._send(channel, body, self._rule.bytes_per_second)
        self._sent += len(body)

    def _send(self, channel: HTTPChannel, data: bytes, bytes_per_second: int | None) -> None:
        for piece, seconds in _pieces(data, bytes_per_second):
            channel.write_soon(piece)
            self._wait(channel, seconds)

    def _stall(self, channel: HTTPChannel) -> None:
        """Until the client has left, or the stand-in is reset."""
        while channel.connected and not self._woken.wait(GLANCE_SECONDS):
            pass

    def _wait(self, channel: HTTPChannel, seconds: float) -> None:
        ends = time.monotonic() + seconds
        while channel.connected and (left := ends - time.monotonic()) > 0:
            if self._woken.wait(min(left, GLANCE_SECONDS)):
                return


class SlowTask(TimedTask):
    """Sends the header before any of the body."""

    def write(self, data: bytes) -> None:
        slow: Slow | None = self.environ.get(SLOW) if self.environ else None
        if slow is None:
            super().write(data)
            return
        if not self.wrote_header:
            header = self.build_response_header()
            self.wrote_header = True
            slow.send_header(self.channel, header)
        if data or self.content_length == 0:
            self.content_bytes_written += len(data)
            slow.send_body(self.channel, data)


class SlowChannel(HTTPChannel):
    parser_class = TimedParser
    task_class = SlowTask


def _pieces(data: bytes, bytes_per_second: int | None) -> Iterator[tuple[bytes, float]]:
    """Chunks, each with the seconds to wait after it: ten per second, or single bytes."""
    step = len(data) if bytes_per_second is None else max(1, bytes_per_second // 10)
    for start in range(0, len(data), step or 1):
        yield data[start : start + step], 0 if bytes_per_second is None else step / bytes_per_second
