"""How fast a backlog is worked off, compared with the account's request rate; and how fast the local cloud is."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench import pictures
from bench.report import Goal, Part, Table, as_text, number
from testbed.backlog import Drained, backlog, drain
from testbed.harness import BACKOFF, WINDOW

# Scales time: an account's usual 5 requests per second, and Pixelcut's 3 seconds. The limits are the local cloud, which
# makes about 38 cutouts per second, and the machine's own delays, which are not scaled.
SCALE = 6
RATE, LATENCY_SECONDS = 5 * SCALE, 3 / SCALE
# The batching window and the back-off after a 429: scaled they are a third of a second, and settings are whole seconds.
SCALED = {WINDOW: 0, BACKOFF: 0}
BACKLOGS = (500, 2_000, 10_000)
QUICK_UPLOADS = 300  # with the stand-in answering at once
DEMO_SECONDS = 10
PICTURE = Path(__file__).with_name("throughput.svg")
ROOT = Path(__file__).parents[1]


def measure_backlog(uploads: int) -> Drained:
    with backlog(uploads, rate=RATE, latency=LATENCY_SECONDS, scaled=SCALED) as testbed:
        return drain(testbed, uploads, 2 * uploads / RATE)


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


def share_used(drained: Drained) -> float:
    """The share of the requests that the account permits while the backlog lasts."""
    return (drained.requests - drained.refused) / (RATE * drained.busy)


def measure() -> Part:
    found = {uploads: measure_backlog(uploads) for uploads in BACKLOGS}
    shares = {uploads: (share_used(drained), drained.refused / drained.requests) for uploads, drained in found.items()}
    pictures.draw_throughput(PICTURE, shares)
    few, many = found[BACKLOGS[0]].busy / BACKLOGS[0], found[BACKLOGS[-1]].busy / BACKLOGS[-1]
    first, whole = measure_demo()
    rows = [
        (
            f"{uploads:,}",
            number(drained.seconds),
            f"{shares[uploads][0]:.1%}",
            f"{shares[uploads][1]:.2%}",
            str(drained.most_in_a_second),
        )
        for uploads, drained in found.items()
    ]
    least, most = min(share for share, _ in shares.values()), max(share for _, share in shares.values())
    return Part(
        "Throughput",
        [
            Table(
                f"A backlog, at {RATE} requests a second and {LATENCY_SECONDS:g} s an answer (5 and 3 s, scaled):",
                ("uploads", "seconds until the last cutout", "rate used", "answered 429", "most within a second"),
                rows,
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
                "Share of the permitted rate used, in percent",
                100 * least,
                95,
                at_least=True,
                stands_in_the_way="at this rate the local cloud, the stand-in and the functions need nearly all of two "
                "cores, and are late where the machine is slow",
            ),
            Goal(
                "Requests answered 429, in percent",
                100 * most,
                1,
                stands_in_the_way="this machine runs everything, and delays some requests by more than the margin",
            ),
            Goal("Seconds per image, of the largest backlog over the smallest", many / few, 1.1),
            Goal(
                "`make run` to its first cutout, in seconds",
                first,
                DEMO_SECONDS,
                stands_in_the_way="how fast the machine is at the time",
            ),
        ],
        notes=[
            (
                "The rate is that from the first request to the last; the start of the environments, all at once on "
                "this machine, and the last answer come on top."
            ),
            (
                "The batching window of 2 s, and the back-off of up to 2 s after a 429, are scaled to 0: both are "
                "whole seconds."
            ),
            "What bounds the local cloud is moto: it is one process, and answers S3 and DynamoDB one call at a time.",
        ],
        picture=PICTURE.name,
    )


def main() -> None:
    if sizes := [int(size) for size in sys.argv[1:]]:
        for uploads in sizes:
            drained = measure_backlog(uploads)
            print(f"{uploads:,} uploads: {share_used(drained):.1%} of the rate used, {drained}")
        return
    print(as_text(measure()))


if __name__ == "__main__":
    main()
