"""What sending files would do, in sentences: for `cutout upload`, and for the console's page."""

from collections import Counter
from collections.abc import Sequence

from rich.filesize import decimal

from cutout.operations.budget import Price
from cutout.operations.files import File
from cutout.presentation.credits import word_credits, word_left, word_money
from cutout.words import count

# How many of possibly thousands are named.
SHOWN = 20


def word_hopeless(number: int) -> str:
    can = "can never become a cutout, and is" if number == 1 else "can never become cutouts, and are"
    return f"{count(number, 'file')} {can} left out:"


def word_left_out(left_out: Counter[str]) -> list[str]:
    return [f"Left out of folders: {number:,} {why}." for why, number in left_out.items()]


def word_total(files: Sequence[File], bucket: str) -> str:
    size = decimal(sum(file.size for file in files))
    more = " and so on" if files[1:] else ""
    return f"To be sent: {count(len(files), 'file')}, {size}, to s3://{bucket}/{files[0].key}{more}."


def word_shared(shared: Sequence[Sequence[File]]) -> list[str]:
    """Of files that would share their cutouts."""
    sentences = []
    for sharing in shared[:SHOWN]:
        names = ", ".join(file.key for file in sharing[:SHOWN])
        sentences.append(f"Only one of these can become {sharing[0].output_key}, the others letters: {names}.")
    if shared[SHOWN:]:
        sentences.append(f"So it is with {len(shared) - SHOWN:,} more cutouts. Names that differ keep them apart.")
    return sentences


def word_cost(paid: int, left: float | str, price: Price | None = None) -> str:
    """`left` are the credits, or a sentence that says why they are unknown."""
    cost = f"That may cost up to {word_credits(paid, price)}"
    if not isinstance(left, str) and left < paid:
        money = word_money(left, price)
        return f"{cost}; only {left:,.0f}{money} are left. Once they are used up, the intake pauses, and uploads wait."
    return f"{cost}; {word_left(left, price)}"
