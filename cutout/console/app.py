"""The console as a WSGI application."""

from http import HTTPStatus

from flask import Blueprint, Flask, jsonify, render_template, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException

from cutout.console import cutouts, explain, letters, now, pictures, upload, zips
from cutout.console.changes import Changes
from cutout.console.formats import FILTERS
from cutout.console.safety import Gate
from cutout.console.stack import Stack
from cutout.console.watch import Watch
from cutout.failures import describe, is_told
from cutout.words import count

MOST_FORM_BYTES = 1_048_576
# The first view of each page, and the page's name.
PAGES = (
    ("now.show", "Now"),
    ("upload.show", "Upload"),
    ("cutouts.show", "Cutouts"),
    ("letters.show", "Letters"),
    ("explain.show", "Explain"),
)


def make_app(stack: Stack, gate: Gate, changes: Changes, *, read_only: bool) -> Flask:
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = app.config["MAX_FORM_MEMORY_SIZE"] = MOST_FORM_BYTES
    app.url_map.merge_slashes = False  # a redirect would answer what asks for another path
    gate.guard(app)
    for page in _pages(stack, changes):
        app.register_blueprint(page)
    app.register_error_handler(Exception, lambda error: _answer_error(stack, error))
    app.jinja_env.globals.update(stack_name=stack.name, read_only=read_only, count=count, pages=PAGES)
    app.jinja_env.filters.update(FILTERS)
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    return app


def _pages(stack: Stack, changes: Changes) -> list[Blueprint]:
    watch = Watch(stack)  # one for all pages and windows
    return [
        now.make(stack, changes, watch),
        upload.make(stack, changes, watch),
        cutouts.make(stack, watch),
        pictures.make(stack),
        zips.make(stack),
        letters.make(stack, changes),
        explain.make(stack),
    ]


def _answer_error(stack: Stack, error: Exception) -> ResponseReturnValue:
    """A sentence, as a page, as a part of one, or as JSON."""
    if isinstance(error, HTTPException):
        sentence, status = error.description or str(error), error.code or HTTPStatus.INTERNAL_SERVER_ERROR
    elif is_told(error):
        stack.forget()
        sentence, status = describe(error), HTTPStatus.BAD_GATEWAY
    else:
        raise error
    if request.accept_mimetypes.best == "application/json":
        return jsonify(error=sentence), status
    template = "trouble.html" if "HX-Request" in request.headers else "error.html"
    return render_template(template, sentence=sentence), status
