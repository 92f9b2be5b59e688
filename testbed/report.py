"""The findings of a run, as a table or as JSON, and whether a promise is broken."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from testbed.harness import Testbed


@dataclass(frozen=True, slots=True)
class Figure:
    """A line of a report; a promise is broken when `value` is above `most`, or below `least`."""

    name: str
    value: float
    most: float | None = None
    least: float | None = None

    @property
    def broken(self) -> bool:
        return (self.most is not None and self.value > self.most) or (
            self.least is not None and self.value < self.least
        )

    @property
    def promise(self) -> str:
        parts = [("at most", self.most), ("at least", self.least)]
        if self.most == 0:
            return "must be 0"
        return ", ".join(f"{word} {limit:g}" for word, limit in parts if limit is not None)


def report(title: str, figures: Sequence[Figure], testbed: Testbed, notes: Sequence[str], *, as_json: bool) -> int:
    """Prints the findings; returns the exit code: 1 if a promise is broken."""
    broken = [figure.name for figure in figures if figure.broken]
    if as_json:
        content = {
            "title": title,
            "figures": {figure.name: figure.value for figure in figures},
            "broken": broken,
            "notes": list(notes),
            "scaled": testbed.scaled,
        }
        json.dump(content, sys.stdout, indent=2)
        print()
        return int(bool(broken))
    console = Console(highlight=False, markup=False)
    table = Table("", "figure", "promise", "", title=title)
    for figure in figures:
        table.add_row(
            figure.name,
            f"{figure.value:g}",
            figure.promise,
            "BROKEN" if figure.broken else "kept" * bool(figure.promise),
        )
    console.print(table)
    for note in notes:
        console.print(f"  {note}")
    console.print("Scaled, or not as by default:")
    for line in testbed.scaled:
        console.print(f"  {line}")
    return int(bool(broken))


def parser(description: str, *, uploads: int) -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(description=description, allow_abbrev=False)
    found.add_argument("--uploads", type=int, default=uploads, help="default: %(default)s")
    found.add_argument("--json", action="store_true", help="print the report as JSON")
    return found
