"""What happens in a simulated world besides the code's own steps, and how much may go wrong in it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Choice = tuple[Any, ...]  # what the scheduler decides: see options.py
Step = tuple[str, ...]  # what somebody outside does


@dataclass(frozen=True)
class World:
    """What happens in it, beside what the code does, and how much may go wrong.

    `setup` is done first. Each of `actors` then takes its steps in order, whenever the scheduler lets it; a step that
    begins with "rest" waits until nothing else goes on ("rest at", until nothing runs). Steps:
        put KEY BYTES [DELIVERIES], delete KEY, rollback KEY (to the version before),
        letter KEY (waits until there is one),
        replay KEY [DELIVERIES] (its letters, or the event of what stands there now),
        occupy KEY (somebody else's object under its output key),
        block CODE (the service refuses all, or S3 each "put" or "head"), unblock, pause, resume, watch,
        disable (the mapping, by hand),
        backlog SECONDS (for so long all slots are reserved), reopened (somebody has paused it and reopened it),
        counted (a credit was reserved today, and given back),
        at SECONDS (after the start it is so late), allow CREDITS (an operator allows so many more for that day)

    With a cap a day is told from the next one, so that its clock is not set back: see canonical.py.
    """

    name: str
    setup: tuple[Step, ...] = ()
    actors: tuple[tuple[Step, ...], ...] = ()
    faults: int = 2
    jumps: int = 1
    ticks: int = 0
    workers: int = 2  # execution environments at the same time
    batch: int = 1
    versioned: bool = True  # the input bucket
    watched: bool = False  # ReopenIntake runs
    calm: bool = False  # nothing pauses the intake: what is written into its item concerns nobody else
    service: Mapping[str, str] = field(default_factory=dict)  # what the paid call always answers for a key
    expected: Mapping[str, str] = field(default_factory=dict)  # how uploads end without faults, where not as cutouts
    kinds: frozenset[str] = frozenset({"failed", "lost", "repeat", "kill", "gone"})  # of faults
    patience: int = 2  # how often all waits for the clock before the next step of an actor
    seconds: float = 24 * 3600.0  # within which everything ends
    eager: bool = True  # calls that concern nobody else are made at once, and states get their one form
    tempo: float = 0.0  # seconds that each call takes
    daily: int | None = None  # the cap, in credits
    connects: float = 0.0  # seconds until a paid request is connected
