"""How long a person waits for the cutout of one upload."""

import statistics
import sys
import time

from bench.report import Goal, Part, Table, as_text, number
from cutout.operations.objects import head
from testbed.harness import Testbed, await_end, deployed, picture

SECONDS = (1, 3)  # in which the API answers
UPLOADS = 6
WARM, COLD = 0.5, 1.0  # what may come on top
LOOK_SECONDS, REST_SECONDS, MOST_SECONDS = 0.01, 1, 60


def wait_for_cutout(testbed: Testbed, name: str) -> float:
    """Seconds from the upload until the cutout can be had."""
    body = picture(name)
    begun = time.monotonic()
    testbed.upload(f"{name}.jpg", body)
    while head(testbed.s3, testbed.output, f"{name}.png") is None:
        if time.monotonic() - begun > MOST_SECONDS:
            sys.exit(f"{name}.jpg has no cutout after {MOST_SECONDS} s.")
        time.sleep(LOOK_SECONDS)
    return time.monotonic() - begun


def _await_rest(testbed: Testbed) -> None:
    """The next upload comes alone, too; and no message is lost to a kill, and comes back late."""
    if not await_end(lambda: testbed.waiting == 0, MOST_SECONDS):
        sys.exit(f"{testbed.waiting} messages are left after {MOST_SECONDS} s.")
    time.sleep(REST_SECONDS)


def measure_waits(latency: float) -> tuple[list[float], list[float]]:
    """What came on top of the API's answer: warm, and where the environment had to start."""
    warm, cold = [], []
    with deployed({}, parameters={}) as testbed:
        testbed.stand_in.change_settings(latency_seconds=latency)
        for number_ in range(UPLOADS):
            _await_rest(testbed)  # at first, of the event by which S3 tests a notification
            testbed.cloud.kill_environments()
            cold.append(wait_for_cutout(testbed, f"cold-{number_}") - latency)
            _await_rest(testbed)
            warm.append(wait_for_cutout(testbed, f"warm-{number_}") - latency)
    return warm, cold


def measure() -> Part:
    found = {latency: measure_waits(latency) for latency in SECONDS}
    rows, goals = [], []
    for latency, (warm, cold) in found.items():
        for name, waits, most in (("warm", warm, WARM), ("the environment has to start", cold, COLD)):
            median = statistics.median(waits)
            rows.append((f"{latency} s, {name}", number(latency + median), number(median), number(max(waits))))
            goals.append(
                Goal(
                    f"One upload, {name}, on top of an answer in {latency} s, in seconds",
                    median,
                    most,
                    stands_in_the_way="how fast the machine is at the time",
                )
            )
    return Part(
        "One upload alone",
        [
            Table(
                f"From the upload to its cutout, on the local cloud, {UPLOADS} times:",
                ("the API answers in", "median, s", "of it not the API's", "at worst"),
                rows,
            )
        ],
        goals,
        [
            (
                "S3 says that an event is typically delivered within seconds, and sometimes takes a minute: here it is "
                "there at once."
            ),
            "The local cloud's environments have a whole core; see the invocation of ten for Lambda's share.",
        ],
    )


if __name__ == "__main__":
    print(as_text(measure()))
