"""`cutout status`: is it working, what waits, what failed, what is left to spend."""

import functools
from collections import Counter
from dataclasses import asdict
from datetime import UTC, datetime

from rich.box import SIMPLE
from rich.table import Table

from cutout.commands.options import STACK_NAME, AsJson, EndpointUrl, StackName
from cutout.operations import credits as balance
from cutout.operations import deployment, queues, selection
from cutout.operations import intake as stack_intake
from cutout.operations.dead_letters import HIDDEN, HIDDEN_UNTIL
from cutout.operations.intake import Intake
from cutout.presentation.intake import intake_as_json
from cutout.terminal import bar, console, print_json
from remove_background.intake import OPERATOR


def status(stack_name: StackName = STACK_NAME, endpoint_url: EndpointUrl = None, as_json: AsJson = False) -> None:
    """Show the intake, the queue, the letters by code, and the credits left.

    Counts of the queue are SQS's, which are approximate. To count letters they are read, which hides them for
    the moment.

    Example: cutout status --stack-name cutout-production
    """
    deployed = deployment.find(stack_name, endpoint_url)
    intake = stack_intake.read(deployed)
    queue = queues.count(deployed.sqs, deployed.upload_queue)
    letters: Counter[str] = Counter()
    read = functools.partial(bar, "Reading letters")
    hidden = selection.read_all(deployed, lambda letter: letters.update([letter.code]), read).hidden
    credits_left = balance.read(deployed)
    if as_json:
        known = isinstance(credits_left, float)
        print_json(
            {
                "stack": stack_name,
                "intake": {"open": intake.paused_by is None} | intake_as_json(intake),
                "queue": asdict(queue),
                "letters": dict(letters.most_common()),
                "letters_hidden": hidden,
                "credits": credits_left if known else None,
                "credits_unknown_because": None if known else credits_left,
            }
        )
        return
    table = Table(show_header=False, box=SIMPLE)
    table.add_row("Stack", stack_name)
    table.add_row("Intake", _word_intake(intake))
    table.add_row("Queue", f"{queue.waiting:,} wait, {queue.in_work:,} in flight, {queue.delayed:,} delayed")
    table.add_row("Letters", _word_letters(letters, hidden))
    table.add_row("Credits", f"{credits_left:,.0f} left" if isinstance(credits_left, float) else credits_left)
    screen = console()
    screen.print(table)
    if letters:
        screen.print("`cutout letters list` shows the letters, and what to do with each.")
    if hidden:
        screen.print(HIDDEN_UNTIL)


def _word_letters(letters: Counter[str], hidden: int) -> str:
    lines = [f"{count:,} {code}" for code, count in letters.most_common()]
    if hidden:
        lines.append(f"{'and ' if lines else ''}{hidden:,} {HIDDEN}")
    return "\n".join(lines) or "none"


def _word_intake(intake: Intake) -> str:
    if intake.paused_by is None:
        return "open"
    since = f" since {datetime.fromtimestamp(intake.since, UTC):%Y-%m-%d %H:%M} UTC" if intake.since else ""
    why = f": {intake.reason}" if intake.reason else ""
    then = "`cutout resume` reopens it." if intake.paused_by == OPERATOR else "It is reopened when the cause is gone."
    return f"paused by the {intake.paused_by}{since}{why}. {then}"
