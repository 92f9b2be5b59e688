"""How the pages write numbers and times, which are UTC. Each is a filter of the templates."""

from datetime import datetime

from cutout.presentation.facts import second
from cutout.terminal import printable
from cutout.words import duration


def grouped(value: float) -> str:
    return f"{value:,.0f}"


def minute(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}"


def clock(moment: datetime) -> str:
    return f"{moment:%H:%M:%S}"


FILTERS = {one.__name__: one for one in (grouped, second, minute, clock, duration, printable)}
