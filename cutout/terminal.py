"""Output of commands: tables and progress for people, JSON for programs; and the question before an action."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

_WIDTH_OF_FILES = 160  # for tables that go to a file or another program


def console() -> Console:
    """For stdout; without colours if that is not a terminal."""
    width = None if sys.stdout.isatty() else _WIDTH_OF_FILES
    return Console(highlight=False, markup=False, width=width, soft_wrap=False)


def print_json(value: object) -> None:
    typer.echo(escape(json.dumps(value, indent=2, ensure_ascii=False)))


def escape(text: str) -> str:
    """Equivalent JSON in which characters that control a terminal, such as bidirectional marks, are escaped."""
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c).strip('"') for c in text)


def progress() -> Progress:
    """On stderr, and only if that is a terminal: count, rate and time left."""
    screen = Console(stderr=True, highlight=False, markup=False)
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(elapsed_when_finished=True),
        console=screen,
        disable=not screen.is_terminal,
        transient=True,
    )


@contextmanager
def bar(what: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """A progress bar; call what it yields to advance it."""
    with progress() as shown:
        task = shown.add_task(what, total=total)
        yield lambda number: shown.advance(task, number)


def agree(*, yes: bool, question: str = "Go on?") -> None:
    """Call after saying what would be done. Raises Exit without a terminal, Abort for a no."""
    if yes:
        return
    if not sys.stdin.isatty():
        typer.echo("Nothing was done: no terminal to ask on. Add --yes.", err=True)
        raise typer.Exit(2)  # wrong usage
    typer.confirm(question, abort=True, err=True)


def printable(text: object) -> str:
    """Text from elsewhere, safe for a terminal: control characters are escaped."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in str(text)
    )


def name_some(names: Sequence[str], most: int) -> str:
    """`a.jpg, b.jpg and 1,000 more`: the first ones, at most so many."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(map(printable, names[:most])) + more


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.1f}/s" if task.speed else "")
