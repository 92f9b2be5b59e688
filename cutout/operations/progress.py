"""How an operation reports its progress, whether or not it is displayed."""

from collections.abc import Callable
from contextlib import AbstractContextManager

# Called with the amount of work, if known. Within its block, call what it yields with each further amount that is done,
# from any thread.
Progress = Callable[[int | None], AbstractContextManager[Callable[[int], None]]]
