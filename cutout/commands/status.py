"""`cutout status`: is it working, what waits, what failed, what is left to spend."""

import functools
import time
from collections import Counter
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from botocore.exceptions import BotoCoreError, ClientError
from rich.box import SIMPLE
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from cutout.commands.options import STACK_NAME, AsJson, EndpointUrl, StackName
from cutout.failures import describe
from cutout.operations import budget, deployment, queues, selection
from cutout.operations import credits as balance
from cutout.operations import intake as stack_intake
from cutout.operations.budget import Budget, Price
from cutout.operations.dead_letters import HIDDEN, HIDDEN_UNTIL
from cutout.operations.deployment import Deployment
from cutout.operations.intake import Intake
from cutout.operations.progress import Progress
from cutout.operations.queues import Counts
from cutout.presentation.caps import caps_as_json, price_as_json, rows
from cutout.presentation.credits import word_money
from cutout.presentation.intake import intake_as_json, word_intake, word_way_on
from cutout.terminal import bar, console, print_json

WATCH_SECONDS = 5.0
# Watching should not disturb: letters are read (which hides them) and Pixelcut is asked only this often; letters also
# when their number has changed.
REREAD_SECONDS = 60.0
# Of more letters only about so many are read: each thousand takes two hundred calls.
MOST_LETTERS = 300


@dataclass(frozen=True)
class Found:
    intake: Intake
    queue: Counts
    letters: Counter[str]
    hidden: int
    unread: int  # letters beyond MOST_LETTERS, by SQS's approximate count
    credits_left: float | str
    caps: Budget | str | None  # None without a cap; a sentence says why they are not known
    price: Price | None


def status(
    watch: Annotated[bool, typer.Option("--watch", help="Renew it every few seconds until Ctrl-C.")] = False,
    stack_name: StackName = STACK_NAME,
    endpoint_url: EndpointUrl = None,
    as_json: AsJson = False,
) -> None:
    """Show the intake, the queue, the letters by code, the credits left, and what is left of the caps.

    Of a cap, credits are reserved that are charged, on their way, or not known to be either.

    SQS's counts of the queue are approximate. Counting letters by code means reading them, which hides them for a
    moment. Of more than 300 letters only some are read, and the rest is SQS's count: `cutout letters list` counts
    all of them by code.

    Example: cutout status --stack-name cutout-production
    """
    if watch and as_json:
        raise typer.BadParameter("either --watch or --json.", param_hint="--watch")
    deployed = deployment.find(stack_name, endpoint_url)
    if watch:
        _watch(deployed)
        return
    found = _read(deployed, functools.partial(bar, "Reading letters"))
    if as_json:
        print_json(_as_json(stack_name, found))
    else:
        console().print(_render(stack_name, found))


def _read(deployed: Deployment, progress: Progress) -> Found:
    intake = stack_intake.read(deployed)
    queue = queues.count(deployed.sqs, deployed.upload_queue)
    letters, hidden, unread = _count_letters(deployed, progress)
    caps, price = budget.look(deployed), budget.price(deployed)
    return Found(intake, queue, letters, hidden, unread, balance.read(deployed), caps, price)


def _count_letters(deployed: Deployment, progress: Progress) -> tuple[Counter[str], int, int]:
    """By code; how many are hidden; and how many were left unread."""
    letters: Counter[str] = Counter()

    def is_enough() -> bool:
        return letters.total() >= MOST_LETTERS

    read = selection.read_all(deployed, lambda letter: letters.update([letter.code]), progress, is_enough)
    return letters, read.hidden, read.missing if is_enough() else 0


def _watch(deployed: Deployment) -> None:
    screen = console()
    watching = _Watching(deployed)
    try:
        with Live(console=screen, auto_refresh=False) as live:
            while True:
                shown = Group(watching.look(), f"At {datetime.now(UTC):%H:%M:%S} UTC. Ctrl-C ends it.")
                if screen.is_terminal:
                    live.update(shown, refresh=True)
                else:
                    screen.print(shown)
                time.sleep(WATCH_SECONDS)
    except KeyboardInterrupt:
        pass


class _Watching:
    def __init__(self, deployed: Deployment) -> None:
        self._deployed = deployed
        self._found: Found | None = None
        self._number_of_letters: Counts | None = None
        self._reread_due = 0.0

    def look(self) -> Group:
        """The current state; if AWS does not answer, the last one, and why. Raises boto3's error if there is none."""
        trouble = []
        try:
            found = self._found = self._read()
        except (BotoCoreError, ClientError) as error:
            if self._found is None:
                raise
            found, trouble = self._found, [Text(f"As it was: {describe(error)}")]
        return Group(_render(self._deployed.stack_name, found), *trouble)

    def _read(self) -> Found:
        deployed, found = self._deployed, self._found
        number = queues.count(deployed.sqs, deployed.dead_letter_queue)
        if found is None or time.monotonic() > self._reread_due:
            found = _read(deployed, _no_bar)
            self._reread_due = time.monotonic() + REREAD_SECONDS
        else:
            changed = number != self._number_of_letters
            letters, hidden, unread = (
                _count_letters(deployed, _no_bar) if changed else (found.letters, found.hidden, found.unread)
            )
            intake, queue = stack_intake.read(deployed), queues.count(deployed.sqs, deployed.upload_queue)
            caps = budget.look(deployed)
            found = Found(intake, queue, letters, hidden, unread, found.credits_left, caps, found.price)
        self._number_of_letters = number
        return found


def _no_bar(_: int | None) -> Any:  # noqa: ANN401  # as Progress
    return nullcontext(lambda _: None)


def _as_json(stack_name: str, found: Found) -> dict[str, Any]:
    known = isinstance(found.credits_left, float)
    return {
        "stack": stack_name,
        "intake": {"open": found.intake.paused_by is None} | intake_as_json(found.intake),
        "queue": asdict(found.queue),
        "letters": dict(found.letters.most_common()),
        "letters_hidden": found.hidden,
        "letters_unread": found.unread,
        "credits": found.credits_left if known else None,
        "credits_unknown_because": None if known else found.credits_left,
        "credit_price": price_as_json(found.price),
        "caps": caps_as_json(found.caps) if isinstance(found.caps, Budget) else None,
        "caps_unknown_because": found.caps if isinstance(found.caps, str) else None,
    }


def _render(stack_name: str, found: Found) -> Group:
    queue, left = found.queue, found.credits_left
    table = Table(show_header=False, box=SIMPLE)
    table.add_row("Stack", stack_name)
    table.add_row("Intake", _word_intake(found.intake))
    table.add_row("Queue", f"{queue.waiting:,} wait, {queue.in_work:,} in flight, {queue.delayed:,} delayed")
    table.add_row("Letters", _word_letters(found))
    table.add_row("Credits", f"{left:,.0f} left{word_money(left, found.price)}" if isinstance(left, float) else left)
    if isinstance(found.caps, str):
        table.add_row("Caps", found.caps)
    elif found.caps:
        for label, text in rows(found.caps, found.price):
            table.add_row(label, text)
    lines = []
    if found.unread:
        lines.append("`cutout letters list` counts all letters by code, and says what each code means.")
    elif found.letters:
        lines.append("`cutout letters list` shows the letters, and what to do with each.")
    if found.hidden:
        lines.append(HIDDEN_UNTIL)
    return Group(table, *lines)


def _word_letters(found: Found) -> str:
    lines = [f"{count:,} {code}" for code, count in found.letters.most_common()]
    if found.unread:
        lines.append(f"and about {found.unread:,} that were not read")
    if found.hidden:
        lines.append(f"{'and ' if lines else ''}{found.hidden:,} {HIDDEN}")
    return "\n".join(lines) or "none"


def _word_intake(intake: Intake) -> str:
    return f"{word_intake(intake)}. {word_way_on(intake)}" if intake.paused_by else word_intake(intake)
