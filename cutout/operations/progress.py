"""How an operation reports its progress, whether or not it is displayed."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

# Called with the amount of work, if known. Within its block, call what it yields with each further amount that is done,
# from any thread.
Progress = Callable[[int | None], AbstractContextManager[Callable[[int], None]]]


@contextmanager
def unwatched(_: int | None) -> Iterator[Callable[[int], None]]:
    """For an operation whose progress nobody sees."""
    yield lambda _: None
