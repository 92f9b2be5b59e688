"""Works on many items in several threads, with few of them in memory."""

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from cutout.operations.deployment import THREADS

Item = TypeVar("Item")
Result = TypeVar("Result")

# Items in progress at a time: enough for all threads while the next page of a listing is fetched.
WINDOW = 16 * THREADS


def work_through(items: Iterable[Item], work: Callable[[Item], Result], note: Callable[[Result], None]) -> None:
    """Calls `work` with each item in several threads, and `note` with each result in this thread, in order.

    After an exception or Ctrl-C, calls that have begun are finished, and no others are begun.
    """
    threads = ThreadPoolExecutor(THREADS)
    on_their_way: deque[Future[Result]] = deque()
    try:
        for item in items:
            on_their_way.append(threads.submit(work, item))
            if len(on_their_way) == WINDOW:
                note(on_their_way.popleft().result())
        while on_their_way:
            note(on_their_way.popleft().result())
    finally:
        threads.shutdown(cancel_futures=True)
