"""How an operation reports its progress, without knowing whether anybody looks."""

from collections.abc import Callable
from contextlib import AbstractContextManager

# Called with how much there is to do, where that is known; in its block, what it gives is called with how much more
# is done, from any thread.
Progress = Callable[[int | None], AbstractContextManager[Callable[[int], None]]]
