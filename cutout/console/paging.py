"""A long list, a page at a time."""

from collections.abc import Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Paged(Generic[Item]):
    """`items` are those of the page `number`, counted from 1, or of the nearest that there is; `last` is the last."""

    def __init__(self, items: Sequence[Item], number: int, at_a_time: int) -> None:
        self.last = max(1, -(-len(items) // at_a_time))
        self.number = min(max(number, 1), self.last)
        self.items = items[at_a_time * (self.number - 1) : at_a_time * self.number]
