"""Explain: what happened to one upload."""

from http import HTTPStatus

from flask import Blueprint, abort, render_template, request
from flask.typing import ResponseReturnValue

from cutout.console.stack import Stack
from cutout.failures import Failure
from cutout.operations import explanation
from cutout.operations.comparison import Finding
from cutout.operations.progress import unwatched
from cutout.presentation.advice import advise
from cutout.presentation.answer import answer
from cutout.presentation.facts import facts, history, second, unread
from cutout.presentation.letter import describe, indent, rows


def make(stack: Stack) -> Blueprint:
    page = Blueprint("explain", __name__)

    @page.get("/explain")
    def show() -> ResponseReturnValue:
        """The explanation follows: it takes several calls. Links have the `key` as it is, spaces and all."""
        key = request.args.get("key") or request.args.get("asked", "").strip()
        return render_template("explain.html", key=key)

    @page.get("/explain/answer")
    def show_answer() -> ResponseReturnValue:
        deployed = stack.deployed
        try:
            key = explanation.read_key(deployed, request.args.get("key", ""))
        except Failure as failure:
            abort(HTTPStatus.BAD_REQUEST, str(failure))
        found = explanation.explain(deployed, key, None, unwatched)
        letter = found.letter
        return render_template(
            "explain/answer.html",
            found=found,
            answer=answer(found),
            facts=facts(deployed, found),
            history=[(second(moment), text) for moment, text in history(found)],
            unread=list(unread(found)),
            has_cutout=found.standing is not None and found.finding in (Finding.CURRENT, Finding.STALE),
            letter=letter,
            letter_rows=rows(describe(deployed, letter)) if letter else (),
            letter_body=indent(letter.body) if letter else "",
            meaning=advise(letter.code).meaning if letter else None,
        )

    return page
