"""The ledger: idempotency records of paid calls, in DynamoDB. Nothing is paid twice while its result can be had.

One item per output key, since two uploads may have the same one: while one is in flight the other waits, and learns of
the conflict before it is paid for. Times are in seconds since the epoch.

    source, etag, sequencer  the upload that the item is about: the URI of its key, its bytes, and its event
    holder                   fencing token: each claim writes a new one, and what follows the claim requires it
    lease                    until when the holder may be paying
    writing_until            until when any delivery that has claimed or reused a result may still write its cutout
    others_until             the same of those before the last claim
    result_url, valid_until  the paid result
    modified                 when its source was put there, until it is known that it was not replaced meanwhile; else 0
    billed                   the worst that the calls for this upload have cost
    charges                  its calls that were or may have been charged, of which none has become a cutout
    failed_as                the error code with which the last of them failed, or its result did
    reuses                   how often its paid result was handed out again
    ended_at, ended_as       when its first letter was written, and its error code: what was sent later may pay again
    letter_...               when the letter of one event was written, whichever upload the item is about by now: what
                             was sent before it has ended, what was sent later is a replay; of the latest events
    expires                  when DynamoDB may delete the item

Every claim but the first is conditional on the item being just as it was seen (optimistic locking), and every write
after a claim on its fencing token. So a call that the SDK repeats, or that arrives late, finds itself not wanted.

Powertools' idempotency is not used: it deletes its record when the call fails, keeps results for one fixed time, and
cannot forget one that turned out to be gone.
"""

import hashlib
import logging
import time
import uuid
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeAlias

from .aws_errors import AwsError, error_code, refused_item
from .deadline import Deadline
from .errors import Billed, ChargedInVain, CutoutError, InProgress, ResultGone, StorageUnavailable, UnexpectedError
from .models import Cutout, Paid
from .uploads import Outcome, Upload

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

# A result_url is valid for an hour. Its last minutes may not suffice for the download.
RESULT_SECONDS = 3600 - 300
# Seconds that an item is kept: a letter may be replayed for as long.
KEPT_SECONDS = 14 * 24 * 3600
# Seconds by which a lease outlives the invocation that holds it.
LEASE_MARGIN = 5.0
# Calls that are charged for an upload and bring no cutout. After the second, a third would be paid for in vain.
MAX_CHARGES = 2
# A charged upload makes other uploads of its output key wait this long: they would take the item, and
# what is known about its charges, from each other.
UNSETTLED_SECONDS = 3600
# How often a paid result is handed out again: failures end an upload sooner, but a function may be killed each time.
MAX_REUSES = 10
# An item keeps the times of letters, of about 35 bytes each: an output key whose uploads become letters without an end
# would outgrow DynamoDB's 400 KB. Of more than MANY_LETTERS those older than LETTER_SECONDS are dropped, as second
# deliveries of their uploads hardly come any more; of more than MOST_LETTERS the oldest, however old.
MANY_LETTERS, MOST_LETTERS = 50, 300
LETTER_SECONDS = 3600

_Value: TypeAlias = str | float

log = logging.getLogger(__name__)


class Ledger:
    def __init__(
        self,
        dynamodb: "DynamoDBClient",
        table: str,
        note_credit: Callable[[Billed], object],
        note_stopped: Callable[[Upload], object],
    ) -> None:
        """`note_credit` is called for each credit charged, with what earlier calls for its upload have cost.

        `note_stopped` is called for an upload during whose paid call the function was stopped.
        """
        self._dynamodb = dynamodb
        self._table = table
        self._note_credit = note_credit
        self._note_stopped = note_stopped

    def pay_once(
        self,
        output_key: str,
        upload: Upload,
        *,
        sent: float,
        modified: float,
        pay: Callable[[], str],
        confirm: Callable[[], object],
        deadline: Deadline,
        standing: Cutout | None = None,
    ) -> Paid | Outcome:
        """The result of an upload: the one that was paid for while it is valid, else that of a new `pay()`.

        `sent` is when the upload was first sent to the queue. `modified` is when it was put there, where that must be
        compared before a new result is used, and else 0. `confirm()` looks whether the upload is what stands under
        its key now; its Outcome, if that is what it returns, is the upload's. `standing` is the cutout that was found.
        DUPLICATE is returned for an upload whose letter was written already.

        Raises InProgress while another invocation pays for it, or for another upload of the same output key;
        StorageUnavailable before anything is paid; UnexpectedError, final, after MAX_CHARGES calls that were killed;
        ResultGone, final, when a result expired and no other call may be charged; ChargedInVain, final, when
        MAX_CHARGES calls failed, or another upload of the same bytes has become a letter since this one was sent; and
        what `pay` raises: its `billed` includes what earlier calls have cost, and it is final after MAX_CHARGES.
        """
        asked = time.time()
        claim = self._claim(output_key, upload, sent, asked, confirm, standing, deadline)
        if not isinstance(claim, _Claim):
            return claim
        try:
            result_url = pay()
        except CutoutError as error:
            charged = _is_charge(error)
            error.billed = claim.billed.or_worse(error.billed)
            error.is_final = charged and claim.charges >= MAX_CHARGES
            values: dict[str, _Value] = {":billed": error.billed, ":charges": claim.charges - (not charged)}
            failed_as = ""
            if charged:
                failed_as, values[":code"] = ", failed_as = :code", error.code
            self._write(
                output_key,
                f"SET billed = :billed, charges = :charges{failed_as} REMOVE lease",
                values,
                holder=claim.holder,
            )
            raise
        self._note_credit(claim.billed)
        # If this fails, the result is used nevertheless, and the lease expires by itself.
        self._write(
            output_key,
            "SET result_url = :url, valid_until = :until, billed = :billed, modified = :modified REMOVE lease",
            {":url": result_url, ":until": asked + RESULT_SECONDS, ":billed": Billed.YES, ":modified": modified},
            holder=claim.holder,
        )
        return Paid(result_url, modified)

    def note_unreplaced(self, output_key: str, paid: Paid) -> None:
        """The source of a paid result was not replaced while that was made: nobody need compare it again."""
        self._update(
            output_key,
            "SET modified = :none",
            {":none": 0.0, ":url": paid.result_url},
            condition="result_url = :url",
        )

    def forget(self, output_key: str, upload: Upload, result_url: str, code: str) -> bool:
        """A paid result is gone or broken: the next attempt pays again, unless this returns that it must not.

        `code` is that of the error which says so.
        """
        item = self._update(
            output_key,
            "SET failed_as = :code REMOVE result_url, valid_until",
            {":url": result_url, ":code": code},
            condition="result_url = :url",
        )
        seen = Seen.read(item)
        # If another delivery has forgotten it, the call of that delivery may be running.
        return seen.is_about(upload) and seen.lease is None and seen.charges >= MAX_CHARGES

    def close(
        self, output_key: str, upload: Upload, account: "Account", error: CutoutError, *, sent: float, written: float
    ) -> None:
        """Record that the upload's letter is written: events sent before have ended, and a later one may pay.

        `error` is what the letter says. `sent` is when the upload was first sent to the queue; a replay sends it anew.
        `written` is when the letter was about to be written: one that is sent back at once is sent later than that, as
        AWS's clocks agree.
        Of several letters for what was sent once the first one counts: that one may have been sent back since.
        Nothing is closed if the upload has been claimed since its account was read; where that failed, since `written`.
        """
        letter, source = {"#letter": _letter_of(upload)}, {"#source": "source"}
        # By this clock, which may be behind that of SQS.
        values: dict[str, _Value] = {":now": max(written, sent), ":sent": sent}
        of_upload: dict[str, _Value] = {":source": upload.uri, ":etag": upload.etag}
        is_first = "(attribute_not_exists(#letter) OR #letter < :sent)"
        if account.holder or not account.is_known:
            names: dict[str, str] = {}
            of_claim: dict[str, _Value] = {":holder": account.holder or ""}
            unclaimed = "holder = :holder"
            if not account.holder:
                names, of_claim = source, of_upload | {":claimed": int(written + KEPT_SECONDS)}
                unclaimed = (
                    "#source = :source AND etag = :etag AND expires <= :claimed AND attribute_not_exists(lease)"
                    " AND attribute_not_exists(result_url)"
                )
            item = self._update(
                output_key,
                "SET ended_at = if_not_exists(ended_at, :now), ended_as = if_not_exists(ended_as, :code),"
                " #letter = :now",
                {**values, **of_claim, ":code": error.code},
                condition=f"{unclaimed} AND {is_first}",
                names=letter | names,
            )
            if not item or Seen.read(item).is_about(upload):
                self._drop_letters(output_key, Seen.read(item))
                return
        elif error.billed is Billed.NO:
            return
        # Another upload has claimed the item, which then says nothing else about this one.
        item = self._update(
            output_key,
            "SET #letter = :now",
            values | of_upload,
            condition=f"attribute_exists(holder) AND (#source <> :source OR etag <> :etag) AND {is_first}",
            names=letter | source,
        )
        self._drop_letters(output_key, Seen.read(item))

    def _drop_letters(self, output_key: str, seen: "Seen") -> None:
        """An item may have 400 KB, and each write costs by its size."""
        if len(seen.letters) <= MANY_LETTERS:
            return
        by_age = sorted(seen.letters, key=seen.letters.__getitem__)
        # The others of very many go with the next letters: an expression has its limits, too.
        dropped = by_age[: -MANY_LETTERS // 2][:MANY_LETTERS]
        if len(by_age) <= MOST_LETTERS:
            long_ago = time.time() - LETTER_SECONDS
            dropped = [name for name in dropped if seen.letters[name] < long_ago]
        if not dropped:
            return
        names = {f"#letter{number}": name for number, name in enumerate(dropped)}
        self._update(
            output_key,
            f"REMOVE {', '.join(names)}",
            {":holder": seen.holder or ""},
            condition="holder = :holder",
            names=names,
        )

    def check_nothing_in_flight(self, output_key: str) -> None:
        """Raises InProgress while a delivery that began earlier may still write a cutout under the key.

        Bytes A, then B, then A again: the cutout of A stands there, but a delivery of B that looked at the source
        before may be about to replace it. The second upload of A has ended only when that is impossible.
        """
        try:
            item = self._get(output_key)
        except AwsError as error:
            raise _unavailable(error) from None
        if Seen.read(item).writing_until >= time.time():
            raise InProgress("An earlier delivery for this output key is in flight.")

    def read(self, output_key: str, upload: Upload, *, retried: bool) -> "Account":
        """What the calls for an upload have cost. Raises nothing: if it is unknown, it is `maybe`.

        What another upload of the output key left says nothing about one that was `retried`.
        """
        try:
            item = self._get(output_key)
        except AwsError as error:
            log.error("The ledger could not be read (%s).", error_code(error))
            return Account(Billed.MAYBE, None, is_known=False)
        seen = Seen.read(item)
        if seen.is_about(upload):
            return Account(seen.worst_billed, seen.holder)
        return Account(Billed.MAYBE if item and retried else Billed.NO, None)

    def _claim(
        self,
        output_key: str,
        upload: Upload,
        sent: float,
        now: float,
        confirm: Callable[[], object],
        standing: Cutout | None,
        deadline: Deadline,
    ) -> "Paid | Outcome | _Claim":
        """A result that is still valid, how the upload has ended already, or the right to pay."""
        holder = uuid.uuid4().hex
        first = _Claim(holder, Billed.NO, 1, 0.0)
        values = {":settled": now + KEPT_SECONDS - UNSETTLED_SECONDS}
        seen = self._try(output_key, upload, first, deadline, _NOTHING_TO_LOSE, values)
        if seen is None or seen.holder == holder:  # the second: it was applied, and the SDK repeated it
            return first
        if sent <= seen.letters.get(_letter_of(upload), 0.0):
            return Outcome.DUPLICATE
        mine = seen.is_about(upload)
        replayed = seen.ended_at is not None and sent > seen.ended_at
        if mine and seen.ended_at is not None and not replayed and seen.charges and not seen.is_valid(now):
            raise ChargedInVain(_LETTER_BEFORE, seen.ended_as)
        if mine and seen.is_valid(now):
            return self._reuse(output_key, upload, seen, deadline, replayed=replayed)
        if seen.is_leased(now) or (not seen.is_of_key(upload) and (seen.is_valid(now) or seen.is_unsettled(now))):
            raise InProgress("Another upload or delivery for this output key is in flight.")
        if mine:
            claim = self._claim_again(upload, seen, sent, holder)
        else:
            claim = _Claim(holder, Billed.NO, 1, seen.writing_until)
            if seen.is_of_key(upload) and (ended := self._give_way(seen, now, confirm, standing)):
                return ended
        again = self._try(output_key, upload, claim, deadline, *seen.unchanged(upload))
        if again is not None and again.holder != holder:
            raise InProgress("Another upload or delivery for this output key is in flight.")
        return claim

    def _give_way(
        self, seen: "Seen", now: float, confirm: Callable[[], object], standing: Cutout | None
    ) -> Outcome | None:
        """How an upload that would claim over other bytes of its key has ended; None if it may claim.

        They were paid for, and give way to these only if these stand under the key now. Raises InProgress while they
        may still be written: S3 compares cutouts by their bytes, so that they could replace the cutout of these when
        the same one stood there before.
        """
        found = confirm()
        if isinstance(found, Outcome):
            return found
        if seen.writing_until >= now and not seen.is_written(standing, now):
            raise InProgress("Other bytes of the same key are in flight.")
        return None

    def _claim_again(self, upload: Upload, seen: "Seen", sent: float, holder: str) -> "_Claim":
        """The claim after others of the same upload. Raises what ends it, final, after MAX_CHARGES."""
        if sent > seen.claimed_at + UNSETTLED_SECONDS:  # sent anew, long after what was paid for it has ended
            has_cutout = seen.result_url and seen.ended_at is None
            return _Claim(holder, Billed.NO if has_cutout else seen.worst_billed, 1, seen.writing_until)
        if seen.lease is not None:
            self._note_stopped(upload)
        charges = 1 if seen.ended_at is not None else seen.charges + 1
        if charges > MAX_CHARGES:
            raise _in_vain(seen)
        return _Claim(holder, seen.worst_billed, charges, seen.writing_until)

    def _reuse(self, output_key: str, upload: Upload, seen: "Seen", deadline: Deadline, *, replayed: bool) -> Paid:
        until = max(seen.writing_until, _end_of(deadline))
        item = self._update(
            output_key,
            f"SET writing_until = :until, reuses = :one, charges = :one REMOVE {_OF_A_LETTER}"
            if replayed
            else "SET writing_until = :until ADD reuses :one",
            {":until": until, ":one": 1, ":url": seen.result_url},
            # Another delivery may have taken it up meanwhile, and may write for longer than this one.
            condition="result_url = :url AND writing_until <= :until",
            names={"#letter": _letter_of(upload)} if replayed else None,
        )
        if not item:  # no delivery would know that this one may still write; the result stays paid for
            raise StorageUnavailable("DynamoDB did not let the function take up the paid result.")
        after = Seen.read(item)
        if after.result_url != seen.result_url or after.writing_until > until:
            raise InProgress("Another upload or delivery for this output key is in flight.")
        if _number(item, "reuses") > MAX_REUSES:
            raise _stopped("had made this upload's cutout", Billed.YES)
        return Paid(seen.result_url, _number(item, "modified"))

    def _try(
        self,
        output_key: str,
        upload: Upload,
        claim: "_Claim",
        deadline: Deadline,
        condition: str,
        of_condition: Mapping[str, str | float],
    ) -> "Seen | None":
        """Write the claim if the condition holds; else, what was there. Raises StorageUnavailable."""
        lease = _end_of(deadline)
        values: dict[str, str | float] = {
            ":source": upload.uri,
            ":etag": upload.etag,
            ":sequencer": upload.sequencer or "",
            ":holder": claim.holder,
            ":lease": lease,
            ":until": max(claim.writing_until, lease),
            ":others": claim.writing_until,
            ":billed": claim.billed,
            ":charges": claim.charges,
            ":expires": int(time.time() + KEPT_SECONDS),
            **of_condition,
        }
        try:
            self._dynamodb.update_item(
                TableName=self._table,
                Key=key_of(output_key),
                UpdateExpression="SET #source = :source, etag = :etag, sequencer = :sequencer, holder = :holder,"
                " lease = :lease, writing_until = :until, others_until = :others, billed = :billed, charges = :charges,"
                f" expires = :expires REMOVE result_url, valid_until, reuses, failed_as, {_OF_A_LETTER}",
                ConditionExpression=condition,
                ExpressionAttributeNames={"#source": "source", "#letter": _letter_of(upload)},
                ExpressionAttributeValues=_values(values),
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except AwsError as error:
            if (item := refused_item(error)) is None:
                raise _unavailable(error) from None
            return Seen.read(item)
        return None

    def _get(self, output_key: str) -> Mapping[str, Any]:
        answer = self._dynamodb.get_item(TableName=self._table, Key=key_of(output_key), ConsistentRead=True)
        return answer.get("Item", {})

    def _write(self, output_key: str, expression: str, values: dict[str, _Value], *, holder: str) -> None:
        """Fenced: nothing is written once another claim has been made."""
        self._update(output_key, expression, values | {":holder": holder}, condition="holder = :holder")

    def _update(
        self,
        output_key: str,
        expression: str,
        values: Mapping[str, _Value],
        *,
        condition: str,
        names: Mapping[str, str] | None = None,
    ) -> Mapping[str, Any]:
        """The item after the update, or as it is where the condition fails; empty where DynamoDB does."""
        optional: dict[str, Any] = {"ExpressionAttributeNames": names} if names else {}
        try:
            answer = self._dynamodb.update_item(
                TableName=self._table,
                Key=key_of(output_key),
                UpdateExpression=expression,
                ConditionExpression=condition,
                ExpressionAttributeValues=_values(values),
                ReturnValues="ALL_NEW",
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
                **optional,
            )
        except AwsError as error:
            if (item := refused_item(error)) is not None:
                return item
            log.error("The ledger could not be written (%s).", error_code(error))
            return {}
        return answer.get("Attributes", {})


class Account(NamedTuple):
    """The worst that the calls for an upload have cost, and the fencing token of the last of its claims.

    Where the ledger could not be read, it is not known whether there was a claim.
    """

    billed: Billed
    holder: str | None
    is_known: bool = True


class _Claim(NamedTuple):
    """The right to pay: `billed` is what earlier calls have cost, `charges` how many they are with this one.

    `writing_until`: until when earlier deliveries may still write.
    """

    holder: str
    billed: Billed
    charges: int
    writing_until: float


class Seen(NamedTuple):
    """An item as it was found."""

    source: str | None
    etag: str | None
    holder: str | None
    lease: float | None
    writing_until: float
    others_until: float
    result_url: str
    valid_until: float
    billed: Billed
    charges: int
    failed_as: str
    reuses: int
    sequencer: str
    ended_at: float | None
    ended_as: str
    letters: Mapping[str, float]
    expires: float

    @classmethod
    def read(cls, item: Mapping[str, Any]) -> Self:
        return cls(
            source=item.get("source", {}).get("S"),
            etag=item.get("etag", {}).get("S"),
            holder=item.get("holder", {}).get("S"),
            lease=_number(item, "lease") if "lease" in item else None,
            writing_until=_number(item, "writing_until"),
            others_until=_number(item, "others_until"),
            result_url=item.get("result_url", {}).get("S", ""),
            valid_until=_number(item, "valid_until"),
            billed=Billed(item.get("billed", {}).get("S", Billed.NO)),
            charges=int(_number(item, "charges")),
            failed_as=item.get("failed_as", {}).get("S", ""),
            reuses=int(_number(item, "reuses")),
            sequencer=item.get("sequencer", {}).get("S", ""),
            ended_at=_number(item, "ended_at") if "ended_at" in item else None,
            ended_as=item.get("ended_as", {}).get("S", ""),
            letters={name: _number(item, name) for name in item if name.startswith(_LETTER)},
            expires=_number(item, "expires"),
        )

    def is_about(self, upload: Upload) -> bool:
        return self.is_of_key(upload) and self.etag == upload.etag

    def is_of_key(self, upload: Upload) -> bool:
        return self.source == upload.uri

    def is_valid(self, now: float) -> bool:
        return bool(self.result_url) and self.valid_until >= now

    def is_written(self, standing: Cutout | None, now: float) -> bool:
        """Whether its cutout stands there, written by the only delivery that can have had a result of it."""
        alone = self.others_until < now and self.reuses == 0 and self.sequencer != ""
        found = standing and (standing.source_etag, standing.source_sequencer)
        return alone and found == (self.etag, self.sequencer)

    def is_leased(self, now: float) -> bool:
        return self.lease is not None and self.lease >= now

    def is_unsettled(self, now: float) -> bool:
        """Whether it was charged a moment ago: a delivery of it may still arrive, even after its letter."""
        return self.charges > 0 and self.claimed_at >= now - UNSETTLED_SECONDS

    @property
    def claimed_at(self) -> float:
        return self.expires - KEPT_SECONDS

    @property
    def worst_billed(self) -> Billed:
        """The holder of the lease is paying, or was killed during the call."""
        return self.billed if self.lease is None else self.billed.or_worse(Billed.MAYBE)

    def unchanged(self, upload: Upload) -> tuple[str, dict[str, str | float]]:
        """The condition that what concerns the upload is unchanged since the item was read, and its values."""
        conditions = [
            "holder = :seen_holder",
            "writing_until = :seen_until",
            f"attribute_{'not_' * (self.lease is None)}exists(lease)",
        ]
        values: dict[str, str | float] = {":seen_holder": self.holder or "", ":seen_until": self.writing_until}
        if letter := self.letters.get(_letter_of(upload)):
            conditions.append("#letter = :seen_letter")
            values[":seen_letter"] = letter
        else:
            conditions.append("attribute_not_exists(#letter)")
        if self.result_url:
            conditions.append("result_url = :seen_url")
            values[":seen_url"] = self.result_url
        else:
            conditions.append("attribute_not_exists(result_url)")
        if self.reuses:
            conditions.append("reuses = :seen_reuses")
            values[":seen_reuses"] = self.reuses
        else:
            conditions.append("attribute_not_exists(reuses)")
        return " AND ".join(conditions), values


# No item yet, or the item of another upload that was not claimed for an hour: nothing of it is in flight any more, and
# deliveries that looked at the source before have ended.
_NOTHING_TO_LOSE = (
    "attribute_not_exists(holder) OR"
    " ((#source <> :source OR etag <> :etag) AND attribute_not_exists(lease) AND expires < :settled"
    " AND attribute_not_exists(#letter))"
)
_LETTER = "letter_"
_OF_A_LETTER = "ended_at, ended_as, #letter"
_LETTER_BEFORE = (
    "The same image was uploaded under this key before, was charged for, and became a letter. "
    "Send either letter back to try again."
)


def _is_charge(error: CutoutError) -> bool:
    """Whether a call that failed was, or may well have been, charged. A 5xx says that it failed."""
    return error.billed is Billed.YES or error.counts_as_charge


def _end_of(deadline: Deadline) -> float:
    """When the invocation has certainly ended."""
    return time.time() + deadline.remaining() + LEASE_MARGIN


def _stopped(after: str, billed: Billed) -> UnexpectedError:
    error = UnexpectedError(
        f"Each time after Pixelcut {after}, the function was stopped before it was written, or DynamoDB failed. "
        "Its log says why: look for `Task timed out`, `OutOfMemory`, `Runtime.ExitError` or `ledger`."
    )
    error.billed, error.is_final = billed, True
    return error


def _in_vain(seen: Seen) -> CutoutError:
    """Why no other call may be charged for an upload. Its letter was not written when the last of them failed."""
    if seen.result_url:
        return _expired()
    if seen.lease is not None or not seen.failed_as:
        return _stopped("was asked for this upload's cutout, or was about to be", seen.worst_billed)
    error = ChargedInVain(
        "Two calls for this upload were charged, or may have been, and it has no cutout.", seen.failed_as
    )
    error.billed = seen.billed
    return error


def _expired() -> ResultGone:
    error = ResultGone("The paid result expired before it could become a cutout, and the call before brought none.")
    error.is_final = True
    return error


def _unavailable(error: Exception) -> StorageUnavailable:
    return StorageUnavailable(f"DynamoDB did not let the function look into the ledger ({error_code(error)}).")


def _number(item: Mapping[str, Any], name: str) -> float:
    return float(item[name]["N"]) if name in item else 0.0


def key_of(output_key: str) -> dict[str, Any]:
    return {"id": {"S": f"cutout:{output_key}"}}


def _letter_of(upload: Upload) -> str:
    """The attribute that says when the letter of this upload was written."""
    event = "\n".join((upload.uri, upload.etag, upload.sequencer or "none"))
    return _LETTER + hashlib.sha256(event.encode(errors="surrogatepass")).hexdigest()[:16]


def _values(values: Mapping[str, _Value]) -> dict[str, Any]:
    return {name: _value(value) for name, value in values.items()}


def _value(value: _Value) -> dict[str, Any]:
    return {"S": str(value)} if isinstance(value, str) else {"N": str(value)}
