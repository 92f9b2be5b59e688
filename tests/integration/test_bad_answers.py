"""Bad answers, systematically: `bad_answers` has the table of outcomes, codes, charges and numbers of requests.

All rows run at the same time through one function's connections, together with a good call that must not be affected.
"""

import gc
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import pytest

from remove_background.connections import Connections
from remove_background.deadline import Deadline
from remove_background.errors import CutoutError
from remove_background.pixelcut import Pixelcut
from remove_background.results import Results
from tests.integration.bad_answers.results import result_rows
from tests.integration.bad_answers.rows import GOOD, PNG, RESULT_URL
from tests.integration.bad_answers.service import service_rows
from tests.integration.peers import Peer, answer, say, serving

SERVICE = {f"service-{number}": row for number, row in enumerate(service_rows())}
RESULTS = {f"result-{number}": row for number, row in enumerate(result_rows())}
ROWS = SERVICE | RESULTS
THREADS = 16
# The memory left for ten uploads at a time in a function of 320 MB; six rows run at a time here.
LARGE_AT_A_TIME = 6
MOST_BYTES = 30_000_000


@dataclass
class Ends:
    """How each row ended: a CutoutError, another exception (which is a bug), or the result."""

    by_row: dict[str, object] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    requests: dict[str, int] = field(default_factory=dict)
    neighbour: list[object] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)


def no_slot(_: Deadline) -> AbstractContextManager[None]:
    return nullcontext()


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


class Caller:
    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self.connections = Connections(threads=THREADS + 1)
        self._results = Results(self.connections, peer.url)

    def call(self, row: str, seconds: float) -> object:
        try:
            if row in RESULTS or row == "good-result":
                with self._results.fetch(f"{self._peer.url}/{row}/5ec4e7.png", Deadline(seconds)) as result:
                    return result.file.read()
            pixelcut = Pixelcut(self.connections.api, f"{self._peer.url}/{row}", lambda _: "5ec4e7", no_slot)
            return pixelcut.remove_background_of_url("https://x/5ec4e7", Deadline(seconds))
        except Exception as error:  # noqa: BLE001  # whatever it is, the test looks at it
            return error


@pytest.fixture(scope="module")
def ends() -> Ends:
    ends, over = Ends(), threading.Event()
    with serving() as peer, mock.patch("remove_background.results.GONE_SECONDS", 0):
        peer.rows = {name: row.answers for name, row in ROWS.items()}
        peer.rows["good-service"] = [[say(answer("200 OK", GOOD, keep=True))]]
        peer.rows["good-result"] = [[say(answer("200 OK", PNG, keep=True))]]
        caller = Caller(peer)

        def work(name: str) -> None:
            started = time.monotonic()
            ends.by_row[name] = caller.call(name, ROWS[name].seconds)
            ends.seconds[name] = time.monotonic() - started

        def be_a_neighbour() -> None:
            while not over.wait(0.02):
                ends.neighbour.append(caller.call("good-service", 20))
                ends.neighbour.append(caller.call("good-result", 20))

        neighbour = threading.Thread(target=be_a_neighbour)
        neighbour.start()
        with ThreadPoolExecutor(THREADS) as threads:
            list(threads.map(work, sorted(ROWS, key=lambda name: ROWS[name].seconds)))
        over.set()
        neighbour.join()
        caller.connections.api.close()
        caller.connections.public.close()
        ends.requests = dict(peer.requests)
        ends.bodies = [body for name in ROWS for body in peer.sent.get(name, [])]
    return ends


def test_the_table_has_the_rows_it_should() -> None:
    assert len(ROWS) >= 200
    assert len({row.name for row in SERVICE.values()}) == len(SERVICE)
    assert len({row.name for row in RESULTS.values()}) == len(RESULTS)


@pytest.mark.parametrize("name", [pytest.param(name, id=f"{name} {row.name}") for name, row in ROWS.items()])
def test_a_bad_answer_has_the_expected_outcome(ends: Ends, name: str) -> None:
    row, end = ROWS[name], ends.by_row[name]
    if row.error is None:
        assert end == (PNG if name in RESULTS else RESULT_URL)
    else:
        assert type(end) is row.error
        assert isinstance(end, CutoutError)
        assert (end.code, end.billed, end.counts_as_charge) == (row.code, row.billed, row.counts_as_charge)
        assert getattr(end, "retry_after", None) == row.retry_after
        assert_can_be_told(end)
    assert ends.requests[name] == row.requests
    assert ends.seconds[name] < row.seconds + 1


def assert_can_be_told(error: CutoutError) -> None:
    error.message.encode()
    assert error.message.isprintable()
    assert len(error.message) < 300
    assert "again" not in error.message
    assert "5ec4e7" not in error.message
    assert re.fullmatch("[a-z0-9_]{1,64}", error.code)
    assert error.__suppress_context__ or error.__context__ is None or isinstance(error.__context__, CutoutError)


def test_other_calls_at_the_same_time_succeed(ends: Ends) -> None:
    assert len(ends.neighbour) > 20
    assert set(ends.neighbour) == {RESULT_URL, PNG}


def test_cookies_are_not_sent_in_later_requests(ends: Ends) -> None:
    assert len(ends.bodies) > len(ROWS)
    assert not any(b"\r\ncookie:" in body.lower() for body in ends.bodies)


def test_large_answers_are_not_kept_in_memory() -> None:
    """The rows with endless answers, or answers that grow when decompressed; six at a time."""
    large = {name: row for name, row in ROWS.items() if row.large}
    assert len(large) > 10
    over, most = threading.Event(), 0
    gc.collect()
    before = resident()

    def watch() -> None:
        nonlocal most
        while not over.wait(0.005):
            most = max(most, resident() - before)

    with serving() as peer:
        peer.rows = {name: row.answers for name, row in large.items()}
        caller = Caller(peer)
        watching = threading.Thread(target=watch)
        watching.start()
        with ThreadPoolExecutor(LARGE_AT_A_TIME) as threads:
            list(threads.map(lambda name: caller.call(name, 30), large))
        over.set()
        watching.join()
        caller.connections.api.close()
    assert most < MOST_BYTES
