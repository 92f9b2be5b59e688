"""Followed uploads in words: how they ended, what is ahead, and at the end the time and the cost."""

import functools
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cutout.operations.budget import Price
from cutout.operations.deployment import Deployment
from cutout.operations.files import Became, File
from cutout.operations.follow import Following
from cutout.operations.intake import Intake
from cutout.presentation.credits import word_credits
from cutout.presentation.intake import word_pause
from cutout.words import count, duration
from remove_background.errors import Billed

BAR_WIDTH = 30
_PLURALS = (Became.CUTOUT, Became.LETTER)


def follow(deployed: Deployment, files: Sequence[File], intake: Intake, out: Path | None = None) -> None:
    """Follow these to their ends, on stderr. Raises what `Following.follow` does; arguments as of `Following`."""
    screen = Console(stderr=True, highlight=False, markup=False)
    say = functools.partial(screen.print, soft_wrap=True)
    following = Following(
        deployed,
        intake,
        out,
        ended=lambda _: None,
        switched=lambda now: say(word_pause(now) if now.paused_by else "The intake is open again."),
        say=say,
    )
    with shown(following, screen):
        following.follow(files)


@contextmanager
def shown(following: Following, screen: Console) -> Iterator[None]:
    """Only on a terminal."""
    if not screen.is_terminal:
        yield
        return

    def draw() -> RenderableType:
        return render(following, time.monotonic())

    with Live(console=screen, get_renderable=draw, transient=True):
        yield


def render(following: Following, now: float) -> RenderableType:
    ended = following.became.total()
    rate, left = following.estimate.rate(now), following.estimate.seconds_left(now)
    line = Table.grid(padding=(0, 1))
    line.add_row(
        "Becoming cutouts",
        ProgressBar(following.total, ended, width=BAR_WIDTH),
        f"{ended:,}/{following.total:,}",
        "" if rate is None else f"{rate:.1f}/s",
        "" if left is None else f"{duration(left)} left",
    )
    return Group(line, Text(_word_state(following)))


def _word_state(following: Following) -> str:
    """`312 cutouts, 9 letters, 834 ahead in the queue`."""
    words = [
        count(number, kind) if kind in _PLURALS else f"{number:,} {kind.replace('_', ' ')}"
        for kind in Became
        if (number := following.became[kind]) or kind is Became.CUTOUT
    ]
    if following.ahead is not None:
        words.append(f"{following.ahead:,} ahead in the queue")
    return ", ".join(words)


def word_end(files: Sequence[File], seconds: float, price: Price | None = None) -> str:
    """`2,000 in 6m53s, 2,000 credits (200.00 USD), 4.8/s`, of files that have ended."""
    paid = sum(file.billed is Billed.YES for file in files)
    known = all(file.billed in (Billed.NO, Billed.YES) for file in files)
    credits_ = f"{'' if known else 'at least '}{word_credits(paid, price)}"
    return f"{len(files):,} in {duration(seconds)}, {credits_}, {len(files) / max(seconds, 1):.1f}/s"
