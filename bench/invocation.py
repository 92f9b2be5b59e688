"""Wall-clock and CPU time of ten images, compared with the naive handler and with our handler on one thread."""

import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeAlias, get_args

from bench import child, pictures, prices, services
from bench.child import SOURCE, Handler, Log
from bench.report import Goal, Part, Table, as_text, number

IMAGES = 10
# Seconds in which the API answers.
QUICK, FAIR, SLOW = 0.0, 0.2, 3.0
LATENCIES = (QUICK, FAIR, SLOW)
HANDLERS: tuple[Handler, ...] = get_args(Handler)
RESULT_BYTES = 500_000
PICTURE = Path(__file__).with_name("invocation.svg")

Runs: TypeAlias = Mapping[tuple[Handler, float], Log]


def measure_runs(handlers: tuple[Handler, ...] = HANDLERS, latencies: tuple[float, ...] = LATENCIES) -> Runs:
    source, result = SOURCE.read_bytes(), services.png(RESULT_BYTES)

    def run(handler: Handler, latency: float, batches: int) -> Log:
        with (
            tempfile.TemporaryDirectory(prefix="cutout-bench-") as folder,
            services.serving(Path(folder), source=source, result=result) as served,
        ):
            served.api_seconds = latency
            return child.run(served, handler, images=IMAGES, batches=batches)

    runs: dict[tuple[Handler, float], Log] = {}
    for latency in latencies:
        # Ten images at three seconds, one after the other, take half a minute. These handlers mostly wait: they run
        # side by side, and only two batches, the first of which is reported separately.
        idle = [handler for handler in handlers if latency == SLOW and handler != "ours"]
        for handler in handlers:
            if handler not in idle:
                runs[handler, latency] = run(handler, latency, 4)
        with ThreadPoolExecutor(len(handlers)) as together:
            logs = together.map(lambda handler: run(handler, latency, 2), idle)  # noqa: B023 over when it changes
            runs |= {(handler, latency): log for handler, log in zip(idle, logs, strict=True)}
    return runs


def measure(runs: Runs | None = None) -> Part:
    runs = runs or measure_runs()
    pictures.draw_invocations(PICTURE, runs, LATENCIES, HANDLERS)
    warm = [
        (
            f"{handler}, API at {latency:g} s",
            number(log.wall),
            number(1000 * log.cpu / IMAGES),
            number(log.cpu / runs["naive", latency].cpu),
        )
        for (handler, latency), log in runs.items()
    ]
    first = [(handler, *_first(runs, handler)) for handler in HANDLERS]
    ours, naive = (min(_first_cpu(runs, handler)) for handler in ("ours", "naive"))
    return Part(
        "An invocation of ten",
        [
            Table("Ten images, warm:", ("", "wall, s", "CPU per image, ms", "CPU, naive = 1"), warm),
            Table(
                "The start of the process, and the first ten:",
                ("", "CPU until imported, s", "CPU of the first ten, s", "both, s"),
                first,
            ),
        ],
        [
            Goal("Wall for ten at 3 s, over one answer of the API", runs["ours", SLOW].wall / SLOW, 1.2),
            Goal(
                "CPU per image, over the naive handler's, at the worst of the three",
                max(runs["ours", latency].cpu / runs["naive", latency].cpu for latency in LATENCIES),
                1 / 3,
            ),
            Goal(
                "CPU of the start and the first ten, over the naive handler's",
                ours / naive,
                1 / 2,
            ),
        ],
        [
            (
                "One process on this machine stands in for AWS and the API, over TLS; AWS answers after "
                f"{services.AWS_SECONDS * 1000:g} ms; the function runs in another process. The image has "
                f"{SOURCE.stat().st_size / 1000:.0f} kB, the result {RESULT_BYTES / 1000:.0f} kB. "
                "The request rate is set to 1,000 a second."
            ),
            (
                "Ours waits up to 0.15 s for the slots of its requests, which are reserved ahead: half of its wall at "
                "0 s, and ten times that one after another. The first request after a pause is sent at once."
            ),
            (
                f"A function of {prices.LAMBDA_MB} MB has {prices.LAMBDA_CORES:.2f} of a core: on Lambda the CPU takes "
                f"{1 / prices.LAMBDA_CORES:.1f} times as long as here."
            ),
        ],
        PICTURE.name,
    )


def _first(runs: Runs, handler: Handler) -> tuple[str, str, str]:
    logs = [log for (name, _), log in runs.items() if name == handler]
    imported = min(log.start_cpu for log in logs)
    first = min(log.first.cpu for log in logs)
    return number(imported), number(first), number(min(_first_cpu(runs, handler)))


def _first_cpu(runs: Runs, handler: Handler) -> list[float]:
    return [log.start_cpu + log.first.cpu for (name, _), log in runs.items() if name == handler]


if __name__ == "__main__":
    print(as_text(measure()))
