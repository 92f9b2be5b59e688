"""Now: what the stack is doing, and the switch of its intake.

The page has parts, each in a template of its own. A tick says which state of each part it shows, and is answered with
the parts that are different now: what has not changed keeps its focus and its selection.
"""

import hashlib
from collections.abc import Mapping
from http import HTTPStatus
from urllib.parse import quote

from flask import Blueprint, Response, current_app, make_response, render_template, request, url_for
from flask.typing import ResponseReturnValue
from markupsafe import Markup

from cutout.console.changes import Changes
from cutout.console.confirmations import Confirmations
from cutout.console.stack import Stack
from cutout.console.switch import Plan, Switch
from cutout.console.watch import Seen, Watch
from cutout.operations import intake as stack_intake
from cutout.operations.attempts import Attempt
from cutout.presentation.intake import word_intake, word_plan_to_pause, word_plan_to_resume
from cutout.words import duration
from remove_background.intake import OPERATOR

# A page that was just opened waits this long for its numbers.
PATIENCE_SECONDS = 3.0
NEXT_LOOK_MILLISECONDS, NEXT_LOOK_AT_REST_MILLISECONDS = 1000, 2000
PARTS = ("trouble", "numbers", "intake", "recent")
# The parts of the page in which somebody is asked something are left alone.
ASKING = "asking"
MOST_REASON = 500  # characters


def make(stack: Stack, changes: Changes, watch: Watch) -> Blueprint:
    page = Blueprint("now", __name__)
    switch = Switch(stack, changes, watch)
    plans: Confirmations[Plan] = Confirmations()
    page.add_app_template_filter(duration)

    def render(seen: Seen) -> dict[str, Markup]:
        context = {
            "seen": seen,
            "now": seen.snapshot,
            "switch": switch,
            "word_intake": word_intake,
            "by_operator": OPERATOR,
            "ended": [_describe(attempt) for attempt in seen.snapshot.recent] if seen.snapshot else [],
        }
        return {part: Markup(render_template(f"now/{part}.html", **context)) for part in PARTS}  # noqa: S704  # they are escaped

    @page.get("/")
    def show() -> ResponseReturnValue:
        parts = render(watch.look(patience=PATIENCE_SECONDS))
        return render_template("now.html", parts=parts, state=_state)

    @page.get("/now")
    def look() -> ResponseReturnValue:
        seen = watch.look()
        changed = _changed(render(seen), request.args)
        answer = _answer_parts(changed)
        answer.headers["Next-Look-Milliseconds"] = (
            NEXT_LOOK_MILLISECONDS if seen.moves or switch.current else NEXT_LOOK_AT_REST_MILLISECONDS
        )
        return answer

    @page.get("/intake")
    def keep() -> ResponseReturnValue:
        """Nothing is to be changed."""
        return _answer_parts({"intake": render(watch.look())["intake"]})

    @page.post("/pause")
    def pause() -> ResponseReturnValue:
        reason = request.form.get("reason", "").strip()[:MOST_REASON]
        return ask(Plan("pause", reason), [word_plan_to_pause(stack.name)])

    @page.post("/resume")
    def resume() -> ResponseReturnValue:
        found = stack_intake.read(stack.deployed)
        return ask(Plan("resume"), list(word_plan_to_resume(stack.name, found)))

    def ask(plan: Plan, sentences: list[str]) -> ResponseReturnValue:
        asked = render_template("now/asking.html", plan=plan, sentences=sentences, id=plans.remember(plan))
        return _answer_parts({"intake": Markup(asked)}, state=ASKING)  # noqa: S704  # it is escaped

    @page.post("/intake/change")
    def change() -> ResponseReturnValue:
        plan = plans.take(request.form.get("id", ""))
        if plan is None or not switch.begin(plan):
            sentence = "Nothing was changed: this was confirmed before, or another change is being made."
            return render_template("trouble.html", sentence=sentence), HTTPStatus.CONFLICT
        watch.hurry()
        return _answer_parts({"intake": render(watch.look())["intake"]})

    return page


def _state(html: str) -> str:
    """Tells one state of a part from another."""
    return hashlib.blake2b(html.encode(), digest_size=8).hexdigest()


def _changed(parts: Mapping[str, Markup], shown: Mapping[str, str]) -> dict[str, Markup]:
    return {name: html for name, html in parts.items() if shown.get(name) not in (_state(html), ASKING)}


def _answer_parts(parts: Mapping[str, Markup], state: str | None = None) -> Response:
    if not parts:
        return make_response("", HTTPStatus.NO_CONTENT)
    return make_response(render_template("now/parts.html", parts=parts, state=lambda html: state or _state(html)))


def _describe(attempt: Attempt) -> dict[str, object]:
    _, _, key = (attempt.source or "").removeprefix("s3://").partition("/")
    moment = f"{attempt.time:%Y-%m-%d %H:%M:%S.%f} {attempt.source}"
    return {"attempt": attempt, "key": key, "url": _explain(key), "id": f"ended-{_state(moment)}"}


def _explain(key: str) -> str:
    if "explain.show" in current_app.view_functions:
        return url_for("explain.show", key=key)
    return f"/explain?key={quote(key, safe='')}"
