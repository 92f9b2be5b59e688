"""Upload: takes files that are dropped onto the page, checks them, sends them, and shows what becomes of each.

The browser names the files, and sends the head of each. It is told what would be sent and what that may cost. Once a
person has agreed, it sends one file a request.
"""

import struct
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import IO, Any, cast

from flask import Blueprint, abort, jsonify, render_template, request
from flask.typing import ResponseReturnValue

from cutout.console import batches as known
from cutout.console.batches import Batch, Batches, Dropped
from cutout.console.changes import Changes
from cutout.console.stack import Stack
from cutout.console.upload_follower import Follower
from cutout.console.watch import Watch
from cutout.failures import is_told
from cutout.operations import budget, output_keys
from cutout.operations import credits as balance
from cutout.operations import files as rules
from cutout.operations import intake as stack_intake
from cutout.operations.files import Became, File, SameKey, WrongFile, WrongPrefix
from cutout.operations.preflight import is_hopeless
from cutout.operations.send import GIVEN_UP
from cutout.presentation import sending as words
from cutout.presentation.advice import advise
from cutout.presentation.caps import word_plan
from cutout.presentation.intake import word_pause
from remove_background.preflight import HEAD_BYTES, MAX_BYTES

MOST_FILES = 100_000
MOST_LIST_BYTES = 67_108_864
# The heads of 48 files, each with its number and its length.
HEADS_AT_A_TIME = 48
_FRAME = struct.Struct(">II")
MOST_HEADS_BYTES = HEADS_AT_A_TIME * (HEAD_BYTES + _FRAME.size)
NEXT_LOOK_MILLISECONDS, NEXT_LOOK_AT_REST_MILLISECONDS = 1000, 5000


def make(stack: Stack, changes: Changes, watch: Watch) -> Blueprint:
    page = Blueprint("upload", __name__)
    uploads = _Uploads(stack, changes, Follower(stack, watch), Batches())

    @page.get("/upload")
    def show() -> ResponseReturnValue:
        agreed = uploads.batches.agreed
        chosen = uploads.batches.get(request.args.get("batch", ""))
        shown = chosen if chosen in agreed else next(iter(agreed), None)
        limits = {"head_bytes": HEAD_BYTES, "heads_at_a_time": HEADS_AT_A_TIME, "most_files": MOST_FILES}
        return render_template("upload.html", shown=shown, batches=agreed, prefix=uploads.needed_prefix(), **limits)

    @page.post("/upload/check")
    def check() -> ResponseReturnValue:
        request.max_content_length = MOST_LIST_BYTES
        batch, kept = uploads.check(*_read_list(request.get_json()))
        return jsonify(id=batch.id, kept=kept, wanted=sorted(batch.unread))

    @page.post("/upload/heads")
    def heads() -> ResponseReturnValue:
        request.max_content_length = MOST_HEADS_BYTES
        uploads.judge(uploads.find(), request.get_data())
        return "", HTTPStatus.NO_CONTENT

    @page.get("/upload/offer")
    def offer() -> ResponseReturnValue:
        return render_template("upload_offer.html", **uploads.offer(uploads.find()))

    @page.post("/upload/agree")
    def agree() -> ResponseReturnValue:
        uploads.agree(batch := uploads.find())
        return jsonify(unsent=batch.unsent)

    @page.post("/upload/file")
    def file() -> ResponseReturnValue:
        file = uploads.send(uploads.find_agreed(), request.args.get("number", -1, int))
        return jsonify(sent=file.upload is not None, reason=file.reason)

    @page.post("/upload/end")
    def end() -> ResponseReturnValue:
        uploads.note_end(uploads.find_agreed())
        return "", HTTPStatus.NO_CONTENT

    @page.post("/upload/again")
    def again() -> ResponseReturnValue:
        return jsonify(unsent=uploads.begin_again(uploads.find_agreed()))

    @page.get("/upload/changes")
    def look() -> ResponseReturnValue:
        batch = uploads.find_agreed()
        answer = jsonify(uploads.describe(batch, request.args.get("since", -1, int)))
        moves = uploads.follower.is_waiting or batch.unsent
        answer.headers["Next-Look-Milliseconds"] = NEXT_LOOK_MILLISECONDS if moves else NEXT_LOOK_AT_REST_MILLISECONDS
        return answer

    return page


@dataclass(frozen=True)
class _Uploads:
    stack: Stack
    changes: Changes
    follower: Follower
    batches: Batches

    def needed_prefix(self) -> str:
        """Nothing while AWS does not say: the page also shows what was sent before."""
        try:
            return self.stack.deployed.settings["INPUT_PREFIX"]
        except Exception as error:
            if not is_told(error):
                raise
            self.stack.forget()
            return ""

    def find(self) -> Batch:
        """The one that the request names."""
        batch = self.batches.get(request.args.get("batch", ""))
        if batch is None:
            abort(HTTPStatus.NOT_FOUND, "The console does not know these files any more. Drop them again.")
        return batch

    def find_agreed(self) -> Batch:
        batch = self.find()
        if not batch.is_agreed:
            abort(HTTPStatus.CONFLICT, "Nobody has agreed to send these files.")
        return batch

    def check(self, prefix: str, dropped: list[Dropped]) -> tuple[Batch, list[int]]:
        """Also returns the numbers of those that are not left out. The batch has them in this order."""
        deployed = self.stack.deployed
        output_key = output_keys.output_key(deployed)
        try:
            prefix = rules.as_folder(prefix, deployed.settings["INPUT_PREFIX"])
            found, left_out = rules.find_dropped(((one.path, one.size) for one in dropped), prefix, output_key)
        except WrongPrefix as wrong:
            abort(HTTPStatus.BAD_REQUEST, f"Choose another folder: {wrong}")
        except SameKey as same:
            abort(HTTPStatus.BAD_REQUEST, f"{same.fact} Drop them one after the other, into a folder each.")
        except WrongFile as wrong:
            abort(HTTPStatus.BAD_REQUEST, str(wrong))
        kept = [number for number, file in enumerate(found) if file]
        files, modified = [file for file in found if file], [dropped[number].modified for number in kept]
        if not files:
            abort(HTTPStatus.BAD_REQUEST, "It holds no files, hidden ones aside.")
        interrupted = self.batches.find_interrupted(files, modified)
        if interrupted:
            known.adopt(files, modified, interrupted)
        batch = Batch(files, modified, left_out, prefix, datetime.now(UTC), interrupted)
        # What the size alone rules out needs no head.
        batch.unread = {n for n, file in enumerate(files) if file.upload is None and not is_hopeless(file, b"")}
        self.batches.add(batch)
        return batch, kept

    def judge(self, batch: Batch, heads: bytes) -> None:
        try:
            for number, head in _read_frames(heads):
                batch.unread.remove(number)
                if head:  # what the browser cannot read is reported when it is sent
                    is_hopeless(batch.files[number], head)
        except (struct.error, KeyError):
            abort(HTTPStatus.BAD_REQUEST, "These are not the heads of the files that were named. Drop them again.")

    def offer(self, batch: Batch) -> dict[str, Any]:
        """What would be done."""
        if batch.unread or batch.is_agreed:
            abort(HTTPStatus.CONFLICT, "These files are being checked still, or were agreed to.")
        deployed = self.stack.deployed
        unsent, promising = [batch.files[number] for number in batch.unsent], batch.promising
        hopeless = [file for file in batch.files if file.code and file.became is Became.NOT_SENT]
        intake = stack_intake.read(deployed)
        return {
            "batch": batch,
            "unsent": unsent,
            "sent": len(promising) - len(unsent),
            "hopeless": hopeless[: words.SHOWN],
            "more_hopeless": len(hopeless[words.SHOWN :]),
            "word_hopeless": words.word_hopeless(len(hopeless)),
            "left_out": words.word_left_out(batch.left_out),
            "total": words.word_total(unsent, deployed.input_bucket) if unsent else None,
            "shared": words.word_shared(rules.find_shared_cutouts(promising)),
            "pause": word_pause(intake) if intake.paused_by else None,
            "cost": words.word_cost(len(unsent), balance.read(deployed), budget.price(deployed)),
            "plan": word_plan(budget.look(deployed), len(unsent)),
        }

    def agree(self, batch: Batch) -> None:
        if not self.batches.agree(batch):
            abort(HTTPStatus.CONFLICT, "These files are being checked still, or were agreed to.")
        unsent = [batch.files[number] for number in batch.unsent]
        size = sum(file.size for file in unsent)
        self.changes.note("upload", batch=batch.id, prefix=batch.prefix, count=len(unsent), bytes=size)

    def send(self, batch: Batch, number: int) -> File:
        if not 0 <= number < len(batch.files):
            abort(HTTPStatus.BAD_REQUEST, "No file has this number.")
        file = batch.files[number]
        if file.upload is not None:
            return file
        if file.size > MAX_BYTES or not batch.begin_to_send(number):
            abort(HTTPStatus.CONFLICT, "It is just being sent, or is not to be sent.")
        try:
            if request.content_length != file.size:
                file.reason = "Its size has changed since it was checked. Drop it again."
                abort(HTTPStatus.CONFLICT, file.reason)
            if batch.sender.is_given_up:
                abort(HTTPStatus.SERVICE_UNAVAILABLE, GIVEN_UP)
            # waitress has the whole body, in memory or in a temporary file, so that botocore can read it twice.
            body = cast("IO[bytes]", request.environ["wsgi.input"])
            batch.sender.send(self.stack.deployed, file, lambda: nullcontext(body))
        finally:
            batch.end_to_send(number)
        if file.upload:
            self.follower.add(file)
        else:
            self.stack.forget()
        if batch.is_sent:
            self.note_end(batch)
        return file

    def begin_again(self, batch: Batch) -> list[int]:
        """The numbers of those to be sent."""
        unsent = batch.unsent
        batch.renew_sender()
        if unsent:
            self.changes.note("upload again", batch=batch.id, count=len(unsent))
        return unsent

    def note_end(self, batch: Batch) -> None:
        if batch.note_once():
            unsent = len(batch.unsent)
            self.changes.note("upload ended", batch=batch.id, count=len(batch.promising) - unsent, not_sent=unsent)

    def describe(self, batch: Batch, since: int) -> dict[str, Any]:
        seen = self.follower.look()
        numbers, position = batch.changes(since)
        intake = seen.snapshot.intake if seen.snapshot else None
        tiles = [_describe(number, batch.files[number]) for number in numbers]
        codes = {tile["code"] for tile in tiles if tile["state"] == Became.LETTER}
        return {
            "position": position,
            "tiles": tiles,
            "advice": {code: {"meaning": advise(code).meaning, "remedy": advise(code).remedy} for code in codes},
            "pause": word_pause(intake) if intake and intake.paused_by else None,
            "trouble": self.follower.trouble or seen.trouble,
        }


def _read_list(answer: Any) -> tuple[str, list[Dropped]]:  # noqa: ANN401  # JSON
    try:
        dropped = [Dropped(path, size, modified) for path, size, modified in answer["files"]]
        prefix = answer["prefix"]
        right = isinstance(prefix, str) and len(dropped) <= MOST_FILES and all(map(_is_right, dropped))
    except (KeyError, TypeError, ValueError):
        right = False
    if not right:
        abort(HTTPStatus.BAD_REQUEST, f"This is not a list of at most {MOST_FILES:,} files.")
    return prefix, dropped


def _is_right(dropped: Dropped) -> bool:
    path, size, modified = dropped
    named = isinstance(path, str) and all(path.split("/"))
    return named and isinstance(size, int) and size >= 0 and isinstance(modified, int)


def _read_frames(heads: bytes) -> Iterator[tuple[int, bytes]]:
    """The number of each file, and its head. Raises struct.error."""
    at = 0
    while at < len(heads):
        number, length = _FRAME.unpack_from(heads, at)
        (head,) = struct.unpack_from(f"{length}s", heads, at + _FRAME.size)
        at += _FRAME.size + length
        yield number, head


def _describe(number: int, file: File) -> dict[str, Any]:
    return {
        "number": number,
        "path": str(file.path),
        "key": file.key,
        "output_key": file.output_key,
        "state": _word(file),
        "code": file.code,
        "reason": file.reason,
    }


def _word(file: File) -> str:
    if file.became is not Became.NOT_SENT:
        return file.became
    return "left_out" if file.code else "failed" if file.reason else file.became
