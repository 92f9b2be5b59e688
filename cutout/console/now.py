"""Now: what the stack is doing, and the switch of its intake.

The page has parts, each in a template of its own. A tick says which state of each part it shows, and is answered with
the parts that are different now: what has not changed keeps its focus and its selection.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

from flask import Blueprint, render_template, request, url_for
from flask.typing import ResponseReturnValue
from markupsafe import Markup

from cutout.console import looks
from cutout.console.changes import Changes
from cutout.console.confirmations import Confirmations
from cutout.console.stack import Stack
from cutout.console.switch import Plan, Switch
from cutout.console.watch import Seen, Watch
from cutout.operations import budget, queues
from cutout.operations import intake as stack_intake
from cutout.operations.attempts import Attempt
from cutout.presentation.caps import word_turn
from cutout.presentation.credits import word_credits, word_money
from cutout.presentation.intake import word_intake, word_plan_to_pause, word_plan_to_resume, word_way_on
from cutout.words import count
from remove_background.intake import OPERATOR

# A page that was just opened waits this long for its numbers.
PATIENCE_SECONDS = 3.0
NEXT_LOOK_MILLISECONDS, NEXT_LOOK_AT_REST_MILLISECONDS = 1000, 2000
PARTS = ("trouble", "numbers", "caps", "intake", "recent")
# The state of a part in which somebody is asked something: it is left alone.
ASKING = "asking"
MOST_REASON = 500  # characters


def make(stack: Stack, changes: Changes, watch: Watch) -> Blueprint:
    page = Blueprint("now", __name__)
    now = _Now(watch, Switch(stack, changes, watch))

    @page.get("/")
    def show() -> ResponseReturnValue:
        return render_template("now.html", parts=now.render(watch.look(patience=PATIENCE_SECONDS)), state=looks.digest)

    @page.get("/now")
    def look() -> ResponseReturnValue:
        seen = watch.look()
        shown = request.args
        changed = {name: part for name, part in now.render(seen).items() if _differs(part, shown.get(name))}
        moves = seen.moves or now.switch.current
        return looks.answer(_parts(changed), NEXT_LOOK_MILLISECONDS if moves else NEXT_LOOK_AT_REST_MILLISECONDS)

    _add_switch(page, stack, now)
    return page


def _add_switch(page: Blueprint, stack: Stack, now: "_Now") -> None:
    plans: Confirmations[Plan] = Confirmations()

    def ask(plan: Plan, *sentences: str) -> str:
        asked = render_template("now/asking.html", plan=plan, sentences=sentences, id=plans.remember(plan))
        return _parts({"intake": Markup(asked)}, state=ASKING)  # noqa: S704  # it is escaped

    @page.get("/intake")
    def keep() -> ResponseReturnValue:
        """Nobody wants to change it any more."""
        return _parts(now.render_intake())

    @page.post("/pause")
    def pause() -> ResponseReturnValue:
        reason = request.form.get("reason", "").strip()[:MOST_REASON]
        then = "It stays paused until it is resumed. Uploads in flight are finished."
        return ask(Plan("pause", reason), word_plan_to_pause(stack.name), then)

    @page.post("/resume")
    def resume() -> ResponseReturnValue:
        deployed = stack.deployed
        sentences = list(word_plan_to_resume(stack.name, stack_intake.read(deployed)))
        if uploads := queues.count(deployed.sqs, deployed.upload_queue).total:
            cost = word_credits(uploads, budget.price(deployed))
            sentences.append(f"{count(uploads, 'upload')} in the queue may cost {cost}.")
        return ask(Plan("resume"), *sentences)

    @page.post("/intake/change")
    def change() -> ResponseReturnValue:
        plan = plans.take(request.form.get("id", ""))
        if plan is None or not now.switch.begin(plan):
            sentence = "Nothing was changed: this was confirmed before, or another change is being made."
            return render_template("trouble.html", sentence=sentence), HTTPStatus.CONFLICT
        return _parts(now.render_intake())


@dataclass(frozen=True)
class _Now:
    watch: Watch
    switch: Switch

    def render(self, seen: Seen) -> dict[str, Markup]:
        """Each part, by its name."""
        context = {
            "seen": seen,
            "now": seen.snapshot,
            "switch": self.switch,
            "word_intake": word_intake,
            "by_operator": OPERATOR,
            "word_money": word_money,
            "word_turn": word_turn,
            "word_way_on": word_way_on,
            "ended": [_describe(attempt) for attempt in seen.snapshot.recent] if seen.snapshot else [],
        }
        return {part: Markup(render_template(f"now/{part}.html", **context)) for part in PARTS}  # noqa: S704  # escaped

    def render_intake(self) -> dict[str, Markup]:
        return {"intake": self.render(self.watch.look())["intake"]}


def _parts(parts: Mapping[str, Markup], state: str | None = None) -> str:
    """Those that replace some of the page. Their `state` follows from what they are, unless it is given."""
    return render_template("now/parts.html", parts=parts, state=lambda part: state or looks.digest(part))


def _differs(part: str, shown: str | None) -> bool:
    return shown not in (ASKING, looks.digest(part))


def _describe(attempt: Attempt) -> dict[str, object]:
    """The id keeps the focus on its link when the list changes."""
    _, _, key = (attempt.source or "").removeprefix("s3://").partition("/")
    return {
        "attempt": attempt,
        "key": key,
        "url": url_for("explain.show", key=key),
        "id": f"ended-{looks.digest(attempt.time, attempt.source)}",
    }
