"""Now: what the stack is doing."""

from flask import Blueprint, render_template
from flask.typing import ResponseReturnValue

from cutout.console.changes import Changes
from cutout.console.stack import Stack


def make(stack: Stack, changes: Changes) -> Blueprint:
    page = Blueprint("now", __name__)

    @page.get("/")
    def show() -> ResponseReturnValue:
        return render_template("now.html")

    return page
