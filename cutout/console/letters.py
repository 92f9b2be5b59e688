"""Letters: why uploads did not become cutouts, and what is to become of them."""

import threading
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from flask import Blueprint, abort, make_response, render_template, request
from flask.typing import ResponseReturnValue

from cutout.console import looks
from cutout.console.changes import Changes
from cutout.console.letter_jobs import Jobs
from cutout.console.letter_list import LetterList, Letters
from cutout.console.paging import Paged
from cutout.console.stack import Stack
from cutout.operations import budget
from cutout.operations import credits as balance
from cutout.operations import intake as stack_intake
from cutout.operations.letter_job import Action
from cutout.operations.selection import Chosen
from cutout.presentation.advice import advise
from cutout.presentation.letter import Line, describe, indent, rows
from cutout.presentation.letter_job import WORDS, word_action, word_end
from cutout.presentation.letters import word_discard, word_replay, word_unread

_PAGE = 50
_MOVING_MILLISECONDS, _STILL_MILLISECONDS = 1000, 4000


def make(stack: Stack, changes: Changes) -> Blueprint:  # noqa: C901  # it is the views that are many
    page = Blueprint("letters", __name__)
    queue = threading.Lock()  # who works through the dead-letter queue hides its letters from others
    letters = LetterList(stack, queue)
    jobs = Jobs(stack, changes, letters, queue)
    stack.at_end(letters.stop)  # a job may wait for them
    stack.at_end(jobs.end)
    stack.at_end(letters.end)

    @page.context_processor
    def name_parts() -> dict[str, Any]:
        return {
            "letters": letters.letters,
            "reading": letters.reading,
            "trouble": letters.trouble,
            "job": jobs.job,
            "job_key": _job_key(jobs),
            "Action": Action,
            "advise": advise,
            "word_action": word_action,
            "word_end": word_end,
            "word_unread": word_unread,
            "words": WORDS,
        }

    @page.get("/letters")
    def show() -> ResponseReturnValue:
        letters.look()
        return render_template("letters.html", opened=_opened(letters.letters, {request.args.get("code", ""): 1}))

    @page.get("/letters/state")
    def show_state() -> ResponseReturnValue:
        """What changes by itself; and the events by which the page renews its other parts."""
        if "renew" in request.args:
            letters.renew()
        letters.look()
        moving = letters.reading or (jobs.job and not jobs.job.is_over)
        shown = looks.digest(letters.letters.version, letters.reading, letters.trouble, _job_key(jobs), _progress(jobs))
        now = {"version": str(letters.letters.version), "job": _job_key(jobs)}
        events = [name for name, key in now.items() if request.args.get(name) != key]
        is_new = shown != request.args.get("shown")
        html = render_template("letters/state.html", shown=shown, is_live=True) if is_new else ""
        response = looks.answer(html, _MOVING_MILLISECONDS if moving else _STILL_MILLISECONDS)
        if events:
            response.headers["HX-Trigger"] = ", ".join(events)
        return response

    @page.get("/letters/groups")
    def show_groups() -> ResponseReturnValue:
        opened = dict(_read_opened(text) for text in request.args.getlist("open"))
        return render_template("letters/groups.html", opened=_opened(letters.letters, opened))

    @page.get("/letters/page")
    def show_page() -> ResponseReturnValue:
        code = request.args.get("code", "")
        number = request.args.get("page", 1, int)
        opened = _opened(letters.letters, {code: number})
        if code not in opened:
            abort(HTTPStatus.NOT_FOUND, "No letter has this code any more.")
        return render_template("letters/page.html", group=letters.letters.groups[code], shown=opened[code])

    @page.get("/letters/letter")
    def show_letter() -> ResponseReturnValue:
        letter = letters.letters.find(request.args.get("id", ""))
        if letter is None:
            abort(HTTPStatus.NOT_FOUND, "This letter is not there any more. Renew the list.")
        return render_template(
            "letters/letter.html", rows=rows(describe(stack.deployed, letter)), body=indent(letter.body)
        )

    @page.post("/letters/offer")
    def offer() -> ResponseReturnValue:
        """Says what would be done, and what it may cost."""
        jobs.refuse_second()
        action, chosen = _choose(letters.letters, jobs)
        deployed = stack.deployed
        if action is Action.REPLAY:
            is_paused = stack_intake.read(deployed).paused_by is not None
            caps, price = budget.look(deployed), budget.price(deployed)
            sentences = word_replay(chosen, balance.read(deployed), is_paused=is_paused, caps=caps, price=price)
        else:
            sentences = word_discard(chosen, deployed.input_bucket if action is Action.DELETE else None)
        return render_template(
            "letters/offer.html",
            title=word_action(action, len(chosen.ids)),
            sentences=sentences,
            offer=jobs.offer(action, chosen),
        )

    @page.post("/letters/start")
    def start() -> ResponseReturnValue:
        jobs.start(request.form.get("offer", ""))
        response = make_response(render_template("letters/job.html"))
        response.headers["HX-Retarget"] = "#job"
        response.headers["HX-Trigger"] = "begun"
        return response

    @page.post("/letters/cancel")
    def cancel() -> ResponseReturnValue:
        jobs.cancel()
        return render_template("letters/job.html")

    @page.get("/letters/job")
    def show_job() -> ResponseReturnValue:
        return render_template("letters/job.html")

    return page


def _job_key(jobs: Jobs) -> str:
    return f"{jobs.job.began:%H%M%S%f}-{jobs.job.state}" if jobs.job else ""


def _progress(jobs: Jobs) -> int:
    return len(jobs.job.done.met) if jobs.job else 0


def _choose(letters: Letters, jobs: Jobs) -> tuple[Action, Chosen]:
    form = request.form
    if form.get("scope") == "rest" and jobs.job:
        action, chosen = jobs.job.action, letters.choose(ids=jobs.job.rest)
    else:
        if form.get("action") not in set(Action):
            abort(HTTPStatus.BAD_REQUEST, "It is not said what to do with the letters.")
        action = Action(form["action"])
        match form.get("scope"):
            case "all":
                chosen = letters.choose()
            case "code":
                chosen = letters.choose(code=form.get("code", ""))
            case _:
                chosen = letters.choose(ids=set(form.getlist("id")))
    if not chosen.ids:
        abort(HTTPStatus.BAD_REQUEST, "No letter is chosen, or none of them is there any more.")
    return action, chosen


def _read_opened(text: str) -> tuple[str, int]:
    """`2:malformed_image`"""
    number, _, code = text.partition(":")
    return code, int(number) if number.isdecimal() else 1


def _opened(letters: Letters, pages: Mapping[str, int]) -> Mapping[str, Paged[Line]]:
    """The groups that are shown open, by code, each with its page."""
    groups = letters.groups
    return {code: Paged(groups[code].lines, number, _PAGE) for code, number in pages.items() if code in groups}
