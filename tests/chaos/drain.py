"""A backlog that waits while the intake is closed: is it worked off as fast as the account's rate allows?"""

import sys
import time
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType

from tests.chaos.bed import ENABLED, Bed, Figure, await_end, deployed, parser, picture, quick_queues, report

UNSCALED: Mapping[str, object] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Drained:
    """`seconds` from the opening of the intake to the last cutout, `busy` from the first request to the last one."""

    seconds: float
    busy: float
    cutouts: int
    requests: int
    refused: int
    most_in_a_second: int


@contextmanager
def backlog(uploads: int, *, rate: int, latency: float, scaled: Mapping[str, object] = UNSCALED) -> Iterator[Bed]:
    """A stack with that many uploads in its queue; the stand-in allows `rate` requests a second."""
    with deployed({ENABLED: False, **scaled}, parameters={"RequestsPerSecond": str(rate)}) as bed:
        bed.stand_in.change_settings(requests_per_second=rate, latency_seconds=latency)
        bed.sqs.purge_queue(QueueUrl=bed.outputs["UploadQueueUrl"])  # of the event by which S3 tests a notification
        with quick_queues(), ThreadPoolExecutor(8) as uploaders:
            list(uploaders.map(lambda n: bed.upload(f"{n}.jpg", picture(str(n))), range(uploads)))
        yield bed


def drain(bed: Bed, uploads: int, bound: float) -> Drained:
    """Gives up after three times `bound` seconds."""
    begun = time.monotonic()
    bed.open_intake()
    await_end(lambda: bed.stand_in.credits_charged() >= uploads, 3 * bound)
    await_end(lambda: len(bed.cutouts()) == uploads, bound)
    seconds = time.monotonic() - begun
    await_end(lambda: bed.waiting == 0, 30)
    removals = bed.stand_in.removals()
    times = [removal.came for removal in removals]
    return Drained(
        seconds=seconds,
        busy=times[-1] - times[0],
        cutouts=len(bed.cutouts()),
        requests=len(removals),
        refused=sum(removal.status == 429 for removal in removals),
        most_in_a_second=max(number - bisect_left(times, moment - 1) + 1 for number, moment in enumerate(times)),
    )


def main() -> int:
    options_of = parser(__doc__ or "", uploads=500)
    options_of.add_argument("--requests-per-second", type=int, default=5)
    options_of.add_argument("--latency", type=float, default=3, help="seconds in which the stand-in answers")
    options = options_of.parse_args()

    rate, count = options.requests_per_second, options.uploads
    with backlog(count, rate=rate, latency=options.latency) as bed:
        bound = 1.1 * count / rate
        drained = drain(bed, count, bound)
        figures = [
            Figure("uploads", count),
            Figure("cutouts", drained.cutouts, least=count),
            Figure("seconds until the last cutout", round(drained.seconds, 1), most=round(bound, 1)),
            Figure("requests", drained.requests),
            Figure("answered 429, in percent", round(100 * drained.refused / drained.requests, 2), most=1),
            Figure("most requests within a second", drained.most_in_a_second),
            Figure("credits charged", bed.stand_in.credits_charged(), most=count),
            Figure("letters", len(bed.take_letters()), most=0),
            Figure("messages left in the queue", bed.waiting, most=0),
        ]
        notes = [f"The stand-in allows {rate} requests a second and answers in {options.latency:g} s."]
        return report(f"Drain: {count} uploads", figures, bed, notes, as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
