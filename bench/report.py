"""The parts of the benchmark as text: tables, and goals met or missed."""

import datetime as dt
import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version

from bench.child import Handler

PACKAGES = ("boto3", "aws-lambda-powertools", "requests", "moto")


@dataclass(frozen=True, slots=True)
class Goal:
    """`value` should be at most `bound`, or with `at_least` no less; `stands_in_the_way` says why it is not."""

    name: str
    value: float
    bound: float
    unit: str = ""
    at_least: bool = False
    stands_in_the_way: str = ""

    @property
    def met(self) -> bool:
        return self.value >= self.bound if self.at_least else self.value <= self.bound

    @property
    def verdict(self) -> str:
        if self.met:
            return "met"
        share = abs(self.value - self.bound) / self.bound
        missed = f"missed by {share:.0%}" if share >= 0.01 else "missed by less than 1%"
        return f"{missed}: {self.stands_in_the_way}" if self.stands_in_the_way else missed


@dataclass(frozen=True, slots=True)
class Peak:
    """A handler's peak memory, for this many results of this many megabytes."""

    handler: Handler
    images: int
    megabytes: int
    peak_mb: float


@dataclass(frozen=True, slots=True)
class Table:
    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Part:
    """One chapter of RESULTS.md; `picture` is a file beside it."""

    title: str
    tables: Sequence[Table]
    goals: Sequence[Goal] = ()
    notes: Sequence[str] = field(default=())
    picture: str | None = None


def number(value: float) -> str:
    """With three significant digits, and never in scientific notation."""
    if value == 0:
        return "0"
    places = max(0, 2 - int(f"{value:e}".rpartition("e")[2]))
    return f"{value:,.{places}f}"


def as_text(part: Part) -> str:
    return "\n\n".join(_blocks(part)) + "\n"


def as_page(parts: Iterable[Part]) -> str:
    """RESULTS.md: the date, versions and machine of the measurement, then each part."""
    made = [
        "# Measured figures",
        (
            f"Made by `make bench` on {dt.datetime.now(dt.UTC):%Y-%m-%d} with {', '.join(versions())}, on {machine()}. "
            "Ratios and counts are what to compare: seconds are those of a shared machine. "
            "Of repeated measurements, the least is reported."
        ),
    ]
    return "\n\n".join(made + [block for part in parts for block in _blocks(part)]) + "\n"


def versions() -> list[str]:
    return [f"Python {platform.python_version()}", *(f"{package} {version(package)}" for package in PACKAGES)]


def machine() -> str:
    """The machine that the figures depend on, without its name."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return f"{os.cpu_count()} cores, {memory:.0f} GB, {platform.system()} {platform.release()}, {platform.machine()}"


def _blocks(part: Part) -> list[str]:
    blocks = [f"## {part.title}"]
    for table in part.tables:
        blocks += [table.caption, _table(table.head, table.rows)]
    if part.picture:
        blocks.append(f"![{part.title}]({part.picture})")
    if part.goals:
        rows = [(goal.name, _value(goal), _bound(goal), goal.verdict) for goal in part.goals]
        blocks.append(_table(("Goal", "Measured", "Bound", ""), rows))
    if part.notes:
        blocks.append("\n".join(f"- {note}" for note in part.notes))
    return blocks


def _value(goal: Goal) -> str:
    return f"{number(goal.value)} {goal.unit}".rstrip()


def _bound(goal: Goal) -> str:
    return f"{'at least' if goal.at_least else 'at most'} {number(goal.bound)} {goal.unit}".rstrip()


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns of figures, after the first, are right-aligned."""
    figures = [all(cell[:1].isdigit() for cell in column if cell) for column in zip(*rows, strict=True)]
    lines = [head, ["---", *("---:" if right else "---" for right in figures[1:])], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
