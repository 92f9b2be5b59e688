"""Cutouts: the newest, by prefix and by a part of the key; one beside its original."""

from collections.abc import Iterator
from datetime import UTC
from http import HTTPStatus
from typing import Any, NamedTuple, Self

from flask import Blueprint, abort, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from cutout.console import looks
from cutout.console.paging import Paged
from cutout.console.safety import only_reads
from cutout.console.stack import Stack
from cutout.console.watch import Watch
from cutout.operations import objects, originals
from cutout.operations.entries import MOST, Entry, folders
from cutout.operations.listing import Listing, State
from cutout.operations.originals import Original, Standing
from remove_background.models import Cutout

ON_A_PAGE = 60
MOST_FOLDERS = 200  # that are shown
# A page that was just opened waits this long for something to show.
PATIENCE_SECONDS = 2.0
NEXT_LOOK_MILLISECONDS, NEXT_LOOK_AT_REST_MILLISECONDS = 1000, 2000


class Query(NamedTuple):
    """Which cutouts are looked at."""

    prefix: str
    text: str
    page: int

    @classmethod
    def read(cls) -> Self:
        given = request.args
        return cls(given.get("prefix", ""), given.get("search", "").strip(), max(1, given.get("page", 1, int)))

    def fields(self, **changes: object) -> dict[str, object]:
        """Of an address."""
        given = {"prefix": self.prefix, "search": self.text, "page": self.page if self.page > 1 else None}
        return {name: value or None for name, value in (given | changes).items()}

    @property
    def crumbs(self) -> Iterator[tuple[str, str]]:
        """The name and the prefix of each folder that leads here."""
        prefix = ""
        for part in self.prefix.split("/"):
            prefix += f"{part}/"
            if part:
                yield (f"{part}/", prefix) if self.prefix.startswith(prefix) else (f"{part}…", self.prefix)


def make(stack: Stack, watch: Watch) -> Blueprint:
    page = Blueprint("cutouts", __name__)
    listing = Listing(lambda: stack.deployed, stack.forget, watch.activity)
    stack.at_end(listing.end)

    def look(patience: float = 0) -> tuple[State, int]:
        """The state, and when to look again, in milliseconds."""
        moves = watch.look().moves
        state = listing.look(patience=patience)
        return state, NEXT_LOOK_MILLISECONDS if moves or state.is_reading else NEXT_LOOK_AT_REST_MILLISECONDS

    @page.get("/cutouts")
    def show() -> ResponseReturnValue:
        state, _ = look(PATIENCE_SECONDS)
        return render_template("cutouts.html", **_describe(listing, state), **_describe_state(state))

    @page.get("/cutouts/grid")
    def grid() -> ResponseReturnValue:
        state, milliseconds = look()
        is_new = request.args.get("version") != str(listing.version)
        html = render_template("cutouts/grid.html", **_describe(listing, state)) if is_new else ""
        return looks.answer(html, milliseconds)

    @page.get("/cutouts/state")
    def state() -> ResponseReturnValue:
        state, milliseconds = look()
        described = _describe_state(state)
        is_new = request.args.get("digest") != described["digest"]
        return looks.answer(render_template("cutouts/state.html", **described) if is_new else "", milliseconds)

    @page.post("/cutouts/renew")
    @only_reads
    def renew() -> ResponseReturnValue:
        listing.renew()
        state, _ = look()
        if "HX-Request" in request.headers:
            return render_template("cutouts/state.html", **_describe_state(state))
        return redirect(url_for("cutouts.show"), HTTPStatus.SEE_OTHER)

    @page.get("/cutouts/one")
    def one() -> ResponseReturnValue:
        look()
        key = request.args.get("key") or abort(HTTPStatus.BAD_REQUEST, "The address of a cutout has its key.")
        deployed = stack.deployed
        found = objects.head(deployed.s3, deployed.output_bucket, key)
        if found is None:
            listing.drop(key)
            abort(HTTPStatus.NOT_FOUND, f"Nothing stands under {key}: the cutout was deleted, or never there.")
        original = originals.find(deployed, key, Cutout.from_metadata(found["ETag"], found["Metadata"]))
        return render_template(
            "cutouts/one.html",
            key=key,
            entry=Entry(key, found["LastModified"].astimezone(UTC), found["ContentLength"]),
            original=original,
            standing=_word_standing(original),
            **_find_neighbours(listing, key),
        )

    return page


def _describe(listing: Listing, state: State) -> dict[str, Any]:
    """What the grid shows."""
    query, version = Query.read(), listing.version
    keys = listing.entries.find(query.prefix, query.text)
    paged = Paged(keys, query.page, ON_A_PAGE)
    query = query._replace(page=paged.number)
    below = folders(keys, query.prefix)
    return {
        "query": query,
        "version": version,
        "tiles": [(entry, f"tile-{looks.digest(entry)}") for entry in map(listing.entries.get, paged.items) if entry],
        "number": len(keys),
        "size": listing.entries.size_of(keys),
        "last_page": paged.last,
        "folders": sorted(below.items())[:MOST_FOLDERS],
        "more_folders": max(0, len(below) - MOST_FOLDERS),
        "is_read": state.listed is not None,
        # On other pages cutouts would move away under the hand.
        "is_live": query.page == 1 or state.listed is None,
    }


def _describe_state(state: State) -> dict[str, Any]:
    return {"state": state, "digest": looks.digest(state), "most": MOST}


def _find_neighbours(listing: Listing, key: str) -> dict[str, Any]:
    query = Query.read()
    keys = listing.entries.find(query.prefix, query.text)
    at = keys.index(key) if key in keys else None
    return {
        "query": query,
        "at": at,
        "number": len(keys),
        "newer": keys[at - 1] if at else None,
        "older": keys[at + 1] if at is not None and at + 1 < len(keys) else None,
    }


def _word_standing(original: Original) -> str:
    match original.standing:
        case Standing.SAME:
            return "It is current: it was made of the image that stands under the original's key."
        case Standing.CHANGED:
            return "It is not current: another image stands under the original's key. The two may not fit."
        case Standing.GONE:
            return "Its original is gone: nothing stands under its key."
        case Standing.ELSEWHERE:
            return f"Its original is in another bucket than this stack's, {original.bucket}."
        case Standing.UNKNOWN:
            return "Its original was not found. The cutout names it only by a hash, as its key is very long."
        case Standing.NOT_A_CUTOUT:
            return "It is not a cutout of this stack: it does not name its original."
