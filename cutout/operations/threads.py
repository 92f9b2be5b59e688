"""Works on many items in several threads, with few of them in memory."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import TypeVar

from cutout.operations.deployment import THREADS

Item = TypeVar("Item")
Result = TypeVar("Result")

# Items in progress at a time: enough for all threads while the next page of a listing is fetched.
WINDOW = 16 * THREADS


def map_in_order(
    items: Iterable[Item], work: Callable[[Item], Result], threads: int = THREADS, window: int = WINDOW
) -> Generator[Result]:
    """Calls `work` with each item in several threads, and yields the results in order.

    After an exception, Ctrl-C or `close`, calls that have begun are finished, and no others are begun.
    """
    pool = ThreadPoolExecutor(threads)
    on_their_way: deque[Future[Result]] = deque()
    try:
        for item in items:
            on_their_way.append(pool.submit(work, item))
            if len(on_their_way) == window:
                yield on_their_way.popleft().result()
        while on_their_way:
            yield on_their_way.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def work_through(items: Iterable[Item], work: Callable[[Item], Result], note: Callable[[Result], None]) -> None:
    """The same; calls `note` with each result in this thread."""
    with closing(map_in_order(items, work)) as results:
        for result in results:
            note(result)
