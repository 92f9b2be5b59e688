"""A backlog that builds up while the intake is paused, and how it drains once the intake is open."""

import gc
import os
import sys
import threading
import time
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType

from testbed.harness import ENABLED, Testbed, await_end, deployed, picture

NONE: Mapping[str, object] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Drained:
    """`seconds` from the opening of the intake to the last cutout."""

    seconds: float
    cutouts: int
    requests: int
    refused: int
    most_in_a_second: int


@contextmanager
def backlog(
    uploads: int,
    *,
    rate: int,
    latency: float,
    batches: int | None = None,
    limits: Mapping[str, object] = NONE,
    warm: bool = False,
) -> Iterator[Testbed]:
    """A stack with that many uploads in its queue; `batches` are worked on at the same time, by default the template's.

    The stand-in allows `rate` requests a second, or has the `limits` of its settings. Where it is `warm`, a batch of
    ten other uploads for each environment was worked off before.
    """
    parameters = {"RequestsPerSecond": str(rate)} | ({"MaximumConcurrency": str(batches)} if batches else {})
    with deployed({ENABLED: False}, parameters=parameters) as testbed:
        # The event by which S3 tests a notification.
        testbed.sqs.purge_queue(QueueUrl=testbed.outputs["UploadQueueUrl"])
        if warm:
            _fill(testbed, "first", 10 * testbed.batches)
            testbed.open_intake()
            await_end(lambda: testbed.waiting == 0, 60)
            testbed.close_intake()
        testbed.stand_in.change_settings(latency_seconds=latency, **(limits or {"requests_per_second": rate}))
        _fill(testbed, "upload", uploads)
        _yield_to_functions()
        with _no_long_collections():
            yield testbed


def _yield_to_functions() -> None:
    """Let the functions have the cores that they need: AWS does not share them."""
    if sys.platform != "linux":  # elsewhere threads have no priority of their own
        return
    for thread in threading.enumerate():
        if thread.name.startswith("waitress") and thread.native_id:
            os.setpriority(os.PRIO_PROCESS, thread.native_id, 19)


def _fill(testbed: Testbed, name: str, uploads: int) -> None:
    with ThreadPoolExecutor(8) as uploaders:
        list(uploaders.map(lambda n: testbed.upload(f"{name}-{n}.jpg", picture(f"{name} {n}")), range(uploads)))


@contextmanager
def _no_long_collections() -> Iterator[None]:
    """Without collections of the objects that are there: each would stop the local cloud for some 0.15 s."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def drain(testbed: Testbed, uploads: int, bound: float) -> Drained:
    """Gives up after three times `bound` seconds."""
    begun = time.monotonic()
    testbed.open_intake()
    await_end(lambda: testbed.stand_in.credits_charged() >= uploads, 3 * bound)
    await_end(lambda: len(testbed.cutouts()) == uploads, bound)
    seconds = time.monotonic() - begun
    await_end(lambda: testbed.waiting == 0, 30)
    removals = testbed.stand_in.removals()
    return Drained(
        seconds=seconds,
        cutouts=len(testbed.cutouts()),
        requests=len(removals),
        refused=sum(removal.status == 429 for removal in removals),
        most_in_a_second=most_in_a_second([removal.came for removal in removals]),
    )


def most_in_a_second(times: Sequence[float]) -> int:
    """Of times in order."""
    return max(number - bisect_left(times, moment - 1) + 1 for number, moment in enumerate(times))
