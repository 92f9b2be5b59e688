"""Runs all parts of the benchmark, prints them, and writes RESULTS.md beside this file."""

from collections.abc import Iterator
from pathlib import Path

from bench import calls, cold_start, commands, invocation, latency, memory, money, throughput
from bench.report import Part, as_page, as_text

RESULTS = Path(__file__).with_name("RESULTS.md")


def measure() -> Iterator[Part]:
    yield cold_start.measure()
    runs, counted = invocation.measure_runs(), calls.count()
    yield invocation.measure(runs)
    yield memory.measure()
    yield latency.measure()
    yield throughput.measure()
    yield money.measure(runs, counted)
    yield calls.measure(counted)
    yield commands.measure()


def main() -> None:
    parts = []
    for part in measure():
        print(as_text(part), flush=True)
        parts.append(part)
    RESULTS.write_text(as_page(parts), encoding="utf-8")


if __name__ == "__main__":
    main()
