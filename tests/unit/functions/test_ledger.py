"""Nothing is paid twice while its result can be had, nothing is paid for in vain more than twice, and nothing that was
billed is forgotten.

Numbers of seconds are written out: a test that imported them would follow a wrong one.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from botocore.exceptions import EndpointConnectionError, ReadTimeoutError
from botocore.stub import Stubber

from remove_background.aws import Clients
from remove_background.deadline import Deadline
from remove_background.errors import (
    Billed,
    ChargedInVain,
    CutoutError,
    InProgress,
    OutOfTime,
    RateLimitExceeded,
    ResultGone,
    ServiceUnavailable,
    StorageUnavailable,
    UnexpectedAnswer,
    UnexpectedError,
)
from remove_background.ledger import Account, Ledger
from remove_background.ledger import _letter_of as letter_of
from remove_background.models import Cutout, Paid, cutout_metadata
from remove_background.uploads import Outcome, Upload

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

KEY = "photo.png"
IN_FLIGHT = r"^Another upload or delivery for this output key is in flight\.$"
START = 1_800_000_000.0
MakeUpload = Callable[..., Upload]


class KilledError(BaseException):
    """The function is killed: nothing after the call that it was in is done."""


@dataclass
class Clock:
    """The time of the ledger and of its deadlines, and of nothing else."""

    now: float = START

    def move(self, seconds: float) -> None:
        self.now += seconds


class Till:
    """Pays, counts the calls, and fails on demand."""

    def __init__(self) -> None:
        self.calls = 0
        self.error: BaseException | None = None

    def __call__(self) -> str:
        self.calls += 1
        if self.error:
            raise self.error
        return f"https://result/{self.calls}"


@dataclass
class Network:
    """The way to DynamoDB. It loses one answer after the call was applied, and the SDK then repeats the call."""

    client: "DynamoDBClient"
    loses_answer_to: str | None = None  # a part of the call's UpdateExpression
    meanwhile: Callable[[], object] = lambda: None  # what happens before the call is repeated
    before_call: Callable[[int], object] = lambda _: None
    calls: list[str] = field(default_factory=list)
    conditions: list[str] = field(default_factory=list)

    def update_item(self, **call: Any) -> Any:  # noqa: ANN401
        self.calls.append(call["UpdateExpression"])
        self.conditions.append(call["ConditionExpression"])
        self.before_call(len(self.calls))
        if self.loses_answer_to and self.loses_answer_to in call["UpdateExpression"]:
            self.loses_answer_to = None
            self.client.update_item(**call)
            self.meanwhile()
        return self.client.update_item(**call)

    def get_item(self, **call: Any) -> Any:  # noqa: ANN401
        return self.client.get_item(**call)


@dataclass
class Desk:
    """Deliveries of uploads, and the object under their key."""

    clock: Clock
    till: Till
    network: Network
    noted: list[Billed] = field(default_factory=list)
    stopped: list[Upload] = field(default_factory=list)
    standing: Upload | None = None  # None: whatever is asked about
    confirmed: list[Upload] = field(default_factory=list)
    cutout: Cutout | None = None  # that was found

    @property
    def ledger(self) -> Ledger:
        return Ledger(cast("DynamoDBClient", self.network), "ledger", self.noted.append, self.stopped.append)

    def confirm(self, upload: Upload) -> object:
        self.confirmed.append(upload)
        return Outcome.SUPERSEDED if self.standing and self.standing.etag != upload.etag else "the source"

    def pay(
        self,
        upload: Upload,
        *,
        output_key: str = KEY,
        sent: float = START,
        pay: Callable[[], str] | None = None,
        confirm: Callable[[], object] | None = None,
        seconds: float = 60,
    ) -> str | Outcome:
        """The result_url."""
        paid = self.pay_for(upload, output_key, sent=sent, pay=pay, confirm=confirm, seconds=seconds)
        return paid if isinstance(paid, Outcome) else paid.result_url

    def pay_for(
        self,
        upload: Upload,
        output_key: str = KEY,
        *,
        sent: float = START,
        modified: float = 0.0,
        pay: Callable[[], str] | None = None,
        confirm: Callable[[], object] | None = None,
        seconds: float = 60,
    ) -> Paid | Outcome:
        return self.ledger.pay_once(
            output_key,
            upload,
            sent=sent,
            modified=modified,
            pay=pay or self.till,
            confirm=confirm or (lambda: self.confirm(upload)),
            standing=self.cutout,
            deadline=Deadline(seconds),
        )

    def pay_in_vain(
        self, upload: Upload, error: CutoutError, *, sent: float = START, seconds: float = 60
    ) -> CutoutError:
        """The error as it comes out of a call that fails with it."""
        self.till.error, error.is_final = error, False
        with pytest.raises(type(error)) as caught:
            self.pay(upload, sent=sent, seconds=seconds)
        self.till.error = None
        assert caught.value is error
        return error

    def be_killed(self, upload: Upload, *, sent: float = START) -> None:
        self.till.error = KilledError()
        with pytest.raises(KilledError):
            self.pay(upload, sent=sent)
        self.till.error = None

    def close(
        self, upload: Upload, error: CutoutError | None = None, account: Account | None = None, *, sent: float = START
    ) -> None:
        """Its letter is written now."""
        account = account or self.ledger.read(KEY, upload, retried=True)
        self.ledger.close(KEY, upload, account, error or no_result_url(), sent=sent, written=self.clock.now)

    def item(self) -> dict[str, Any]:
        found = self.network.client.get_item(TableName="ledger", Key={"id": {"S": f"cutout:{KEY}"}})
        return dict(found["Item"])


def refused() -> CutoutError:
    return RateLimitExceeded("Later.")


def failed() -> CutoutError:
    """A 5xx: it may be charged, and says that it failed."""
    error = ServiceUnavailable("Pixelcut answered 503.")
    error.billed = Billed.MAYBE
    return error


def answer_lost() -> CutoutError:
    error = failed()
    error.counts_as_charge = True
    return error


def no_result_url() -> CutoutError:
    error = UnexpectedAnswer("200 without a result_url.")
    error.billed = Billed.YES
    return error


CHARGED = pytest.mark.parametrize(
    ("fail", "billed"), [(answer_lost, Billed.MAYBE), (no_result_url, Billed.YES)], ids=["lost", "200"]
)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("remove_background.ledger.time", SimpleNamespace(time=lambda: clock.now))
    monkeypatch.setattr("remove_background.deadline.time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


@pytest.fixture
def desk(clients: Clients, clock: Clock) -> Desk:
    return Desk(clock, Till(), Network(clients.dynamodb))


# What was paid for


def test_a_paid_result_is_reused_until_shortly_before_its_hour_ends(desk: Desk, make_upload: MakeUpload) -> None:
    assert desk.pay(make_upload()) == "https://result/1"
    desk.clock.move(3300)
    # A duplicate, a replay or a re-upload of the same bytes under the same key:
    assert desk.pay(make_upload(version_id="v2", sequencer="00FF")) == "https://result/1"
    desk.clock.move(1)
    assert desk.pay(make_upload()) == "https://result/2"


def test_the_hour_of_a_result_begins_before_the_call(desk: Desk, make_upload: MakeUpload) -> None:
    def pay() -> str:
        desk.clock.move(30)
        return "https://result/slow"

    assert desk.pay(make_upload(), pay=pay) == "https://result/slow"
    desk.clock.move(3300 - 30 + 1)
    assert desk.pay(make_upload()) == "https://result/1"


def test_a_result_is_handed_out_with_when_its_source_was_put_there_until_that_was_compared(
    desk: Desk, make_upload: MakeUpload
) -> None:
    """As the delivery that paid has seen it before its call, not the one that takes the result up."""
    paid = desk.pay_for(make_upload(), modified=START - 9)
    assert paid == Paid("https://result/1", START - 9)
    assert desk.pay_for(make_upload(), modified=START) == paid
    desk.ledger.note_unreplaced(KEY, paid)
    assert desk.pay_for(make_upload(), modified=START) == Paid("https://result/1", 0.0)


def test_that_one_result_was_compared_says_nothing_about_the_next(desk: Desk, make_upload: MakeUpload) -> None:
    first = desk.pay_for(make_upload(), modified=START - 9)
    assert isinstance(first, Paid)
    desk.ledger.forget(KEY, make_upload(), first.result_url, "result_gone")
    second = desk.pay_for(make_upload(), modified=START - 3)
    desk.ledger.note_unreplaced(KEY, first)
    assert desk.pay_for(make_upload()) == second == Paid("https://result/2", START - 3)


def test_what_was_to_be_compared_ends_with_its_result(desk: Desk, make_upload: MakeUpload) -> None:
    desk.pay_for(make_upload(), modified=START - 9)
    desk.ledger.forget(KEY, make_upload(), "https://result/1", "result_gone")
    for _ in range(2):
        assert desk.pay_for(make_upload()) == Paid("https://result/2")


def test_other_bytes_and_other_output_keys_are_paid_for(desk: Desk, make_upload: MakeUpload) -> None:
    for output_key, upload in (("a", make_upload()), ("a", make_upload(etag="b")), ("b", make_upload("b.jpg"))):
        desk.pay(upload, output_key=output_key)
        desk.clock.move(66)
    assert desk.till.calls == 3


def test_a_success_takes_two_calls_to_the_ledger(desk: Desk, make_upload: MakeUpload) -> None:
    before: list[int] = []
    desk.pay(make_upload(), pay=lambda: before.append(len(desk.network.calls)) or "https://result")  # type: ignore[func-returns-value]
    assert (before, len(desk.network.calls)) == ([1], 2)


def test_while_one_delivery_pays_the_other_waits(desk: Desk, make_upload: MakeUpload) -> None:
    def pay() -> str:
        with pytest.raises(InProgress, match=IN_FLIGHT):
            desk.pay(make_upload())
        return "https://result/of-the-first"

    assert desk.pay(make_upload(), pay=pay) == "https://result/of-the-first"
    assert desk.till.calls == 0


@pytest.mark.parametrize("other", [{"key": "photo.gif"}, {"bucket": "other"}])
def test_another_upload_of_an_output_key_waits_until_the_first_is_its_cutout(
    desk: Desk, make_upload: MakeUpload, other: dict[str, str]
) -> None:
    def pay() -> str:
        with pytest.raises(InProgress):
            desk.pay(make_upload(**other))
        return "https://result/of-the-first"

    url = desk.pay(make_upload(), pay=pay)
    with pytest.raises(InProgress):
        desk.pay(make_upload(**other))
    assert desk.pay(make_upload()) == url
    desk.clock.move(3600)
    with pytest.raises(InProgress):
        desk.pay(make_upload(**other))
    desk.clock.move(1)
    assert desk.pay(make_upload(**other)) == "https://result/1"
    assert desk.confirmed == []  # that is about one key only


@pytest.mark.parametrize("other", [{"key": "photo.gif"}, {"etag": "other"}, {"key": "photo.gif", "etag": "other"}])
def test_an_hour_after_another_upload_a_success_takes_two_calls_again(
    desk: Desk, make_upload: MakeUpload, other: dict[str, str]
) -> None:
    desk.pay(make_upload(**other))
    desk.clock.move(3601)
    desk.network.calls.clear()
    assert desk.pay(make_upload()) == "https://result/2"
    assert (len(desk.network.calls), desk.confirmed) == (2, [])


def test_another_upload_of_an_output_key_may_pay_once_the_first_was_refused(
    desk: Desk, make_upload: MakeUpload
) -> None:
    desk.pay_in_vain(make_upload(), refused())
    assert desk.pay(make_upload("photo.gif")) == "https://result/2"
    assert desk.confirmed == []


@pytest.mark.parametrize("seconds", [0, 65, 66, 3600])
def test_another_upload_of_an_output_key_waits_an_hour_for_one_that_was_killed(
    desk: Desk, make_upload: MakeUpload, seconds: float
) -> None:
    desk.be_killed(make_upload())
    desk.clock.move(seconds)
    with pytest.raises(InProgress):
        desk.pay(make_upload("photo.gif"))
    desk.clock.now = START + 3601
    assert desk.pay(make_upload("photo.gif")) == "https://result/2"


def test_another_upload_of_an_output_key_waits_an_hour_for_one_that_was_charged_in_vain(
    desk: Desk, make_upload: MakeUpload
) -> None:
    desk.pay_in_vain(make_upload(), no_result_url())
    with pytest.raises(InProgress):
        desk.pay(make_upload("photo.gif"))
    desk.close(make_upload())
    with pytest.raises(InProgress):  # a duplicate of it, sent before its letter, may still come
        desk.pay(make_upload("photo.gif"))
    desk.clock.move(3601)
    assert desk.pay(make_upload("photo.gif")) == "https://result/2"


def test_another_upload_of_an_output_key_waits_for_a_result_whose_letter_was_written(
    desk: Desk, make_upload: MakeUpload
) -> None:
    desk.pay(make_upload())
    desk.close(make_upload())
    with pytest.raises(InProgress):
        desk.pay(make_upload("photo.gif"))  # a replay of the first may take it up


def test_two_uploads_of_an_output_key_that_kill_the_function_pay_twice_each(
    desk: Desk, make_upload: MakeUpload
) -> None:
    uploads = [make_upload("photo.jpg"), make_upload("photo.gif")]
    letters: list[str] = []
    desk.till.error = KilledError()
    for _ in range(200):
        for upload in list(uploads):
            with pytest.raises((KilledError, InProgress, UnexpectedError)) as caught:
                desk.pay(upload, sent=START)
            if isinstance(caught.value, UnexpectedError):
                desk.close(upload)
                uploads.remove(upload)
                letters.append(upload.key)
            desk.clock.move(66)
    assert (sorted(letters), desk.till.calls) == (["photo.gif", "photo.jpg"], 4)


def test_items_are_kept_for_fourteen_days(desk: Desk, make_upload: MakeUpload) -> None:
    desk.pay(make_upload())
    item = desk.item()
    assert float(item["expires"]["N"]) == START + 1_209_600
    assert "lease" not in item


# Which of two uploads of a key may claim


def test_a_newer_upload_claims_over_the_result_of_the_bytes_that_it_replaced(
    desk: Desk, make_upload: MakeUpload
) -> None:
    old, new = make_upload(etag="old"), make_upload(etag="new")
    assert desk.pay(old) == "https://result/1"
    assert desk.confirmed == []
    desk.standing = new
    with pytest.raises(InProgress, match="Other bytes"):
        desk.pay(new)
    desk.clock.now = START + 65
    with pytest.raises(InProgress, match="Other bytes"):
        desk.pay(new)
    desk.clock.now = START + 65.1
    assert desk.pay(new) == "https://result/2"
    assert desk.confirmed == [new] * 3


def test_an_older_upload_never_claims_over_the_result_of_a_newer_one(desk: Desk, make_upload: MakeUpload) -> None:
    old, new = make_upload(etag="old"), make_upload(etag="new")
    desk.standing = new
    assert desk.pay(new) == "https://result/1"
    assert desk.pay(old) is Outcome.SUPERSEDED
    assert desk.pay(new) == "https://result/1"
    assert desk.till.calls == 1


def test_an_older_upload_claims_over_a_newer_one_once_its_bytes_are_current_again(
    desk: Desk, make_upload: MakeUpload
) -> None:
    old, new = make_upload(etag="old"), make_upload(etag="new")
    desk.pay(new)
    desk.clock.move(66)
    desk.standing = old  # the newer version was deleted
    assert desk.pay(old) == "https://result/2"
    assert desk.pay(new) is Outcome.SUPERSEDED


def test_the_source_is_confirmed_after_the_other_result_was_seen(desk: Desk, make_upload: MakeUpload) -> None:
    desk.pay(make_upload(etag="old"))
    desk.clock.move(66)  # what was in flight is over
    desk.network.calls.clear()
    calls: list[int] = []
    desk.pay(make_upload(etag="new"), confirm=lambda: calls.append(len(desk.network.calls)))
    assert calls == [1]


def test_other_bytes_wait_for_a_live_lease_whatever_is_current(desk: Desk, make_upload: MakeUpload) -> None:
    old, new = make_upload(etag="old"), make_upload(etag="new")
    desk.be_killed(old)
    desk.clock.move(65)
    with pytest.raises(InProgress):
        desk.pay(new)
    assert desk.confirmed == []
    desk.clock.move(1)
    assert desk.pay(new) == "https://result/2"
    assert desk.confirmed == [new]


def test_an_older_upload_does_not_pay_after_a_newer_one_was_refused(desk: Desk, make_upload: MakeUpload) -> None:
    """It has looked at its source before that was overwritten, and may be late by as much as an invocation lasts."""
    old, new = make_upload(etag="old"), make_upload(etag="new")
    desk.pay_in_vain(new, refused())
    desk.standing = new
    desk.clock.move(3600)
    assert desk.pay(old) is Outcome.SUPERSEDED
    assert desk.till.calls == 1
    desk.clock.move(1)  # whoever comes now has just looked
    assert desk.pay(old) == "https://result/2"
    assert desk.confirmed == [old]


@pytest.mark.parametrize("seconds", [66, 3601])
def test_an_older_upload_does_not_take_the_lease_that_a_newer_one_left_behind(
    desk: Desk, make_upload: MakeUpload, seconds: float
) -> None:
    old, new = make_upload(etag="old"), make_upload(etag="new")
    desk.be_killed(new)
    desk.clock.move(seconds)
    desk.standing = new
    assert desk.pay(old) is Outcome.SUPERSEDED
    assert desk.till.calls == 1


def test_other_bytes_claim_only_while_the_holder_is_unchanged(desk: Desk, make_upload: MakeUpload) -> None:
    old, new = make_upload(etag="old"), make_upload(etag="new")
    desk.be_killed(old)
    desk.clock.move(66)
    with pytest.raises(InProgress):
        desk.pay(new, confirm=lambda: desk.be_killed(old))
    assert desk.till.calls == 2


def test_other_bytes_claim_only_while_the_lease_is_unchanged(desk: Desk, make_upload: MakeUpload) -> None:
    old, new = make_upload(etag="old"), make_upload(etag="new")

    def end_late() -> None:
        """The first was slow, not killed: its call ends, and its lease goes."""
        desk.network.client.update_item(
            TableName="ledger", Key={"id": {"S": f"cutout:{KEY}"}}, UpdateExpression="REMOVE lease"
        )

    desk.be_killed(old)
    desk.clock.move(66)
    with pytest.raises(InProgress):
        desk.pay(new, confirm=end_late)
    assert desk.till.calls == 1


def test_other_bytes_claim_only_while_the_result_is_unchanged(desk: Desk, make_upload: MakeUpload) -> None:
    old, new = make_upload(etag="old"), make_upload(etag="new")
    desk.pay(old)
    with pytest.raises(InProgress):
        desk.pay(new, confirm=lambda: desk.ledger.forget(KEY, old, "https://result/1", "result_gone"))
    assert desk.till.calls == 1


def test_an_upload_claims_again_only_while_there_is_still_no_result(desk: Desk, make_upload: MakeUpload) -> None:
    def keep(number_of_call: int) -> None:
        """The first delivery was slow, not killed: its result arrives between the look and the claim."""
        if number_of_call == 2:
            desk.network.client.update_item(
                TableName="ledger",
                Key={"id": {"S": f"cutout:{KEY}"}},
                UpdateExpression="SET result_url = :url, valid_until = :until",
                ExpressionAttributeValues={":url": {"S": "https://result/1"}, ":until": {"N": str(START + 3300)}},
            )

    desk.be_killed(make_upload())
    desk.clock.move(66)
    desk.network.calls.clear()
    desk.network.before_call = keep
    with pytest.raises(InProgress):
        desk.pay(make_upload())
    desk.network.before_call = lambda _: None
    assert desk.pay(make_upload()) == "https://result/1"
    assert desk.till.calls == 1


def test_one_of_two_deliveries_that_find_an_expired_lease_pays(desk: Desk, make_upload: MakeUpload) -> None:
    def overtake(number_of_call: int) -> None:
        if number_of_call == 2:
            desk.network.before_call = lambda _: None
            desk.be_killed(make_upload())

    desk.be_killed(make_upload())
    desk.clock.move(66)
    desk.network.calls.clear()
    desk.network.before_call = overtake
    with pytest.raises(InProgress):
        desk.pay(make_upload())
    assert desk.till.calls == 2


def test_a_result_of_other_bytes_is_not_mistaken_for_that_of_a_killed_call(desk: Desk, make_upload: MakeUpload) -> None:
    old, new = make_upload(etag="old"), make_upload(etag="new")
    desk.pay(old)
    desk.clock.move(66)  # what was in flight is over
    desk.be_killed(new)
    desk.clock.move(66)
    assert desk.pay(new) == "https://result/3"


# The lease


def test_a_killed_upload_can_be_paid_for_five_seconds_after_its_time_is_over(
    desk: Desk, make_upload: MakeUpload
) -> None:
    desk.be_killed(make_upload())
    desk.clock.move(60 + 5)
    with pytest.raises(InProgress):
        desk.pay(make_upload())
    desk.clock.move(1)
    assert desk.pay(make_upload()) == "https://result/2"


def test_a_lease_lasts_for_the_time_that_is_left(desk: Desk, make_upload: MakeUpload) -> None:
    deadline = Deadline(60)
    desk.clock.move(20)
    with pytest.raises(KilledError):
        desk.ledger.pay_once(
            KEY,
            make_upload(),
            sent=START,
            modified=0,
            pay=_killed,
            confirm=lambda: desk.confirm(make_upload()),
            deadline=deadline,
        )
    assert float(desk.item()["lease"]["N"]) == START + 65


def _killed() -> str:
    raise KilledError


def test_a_lease_lasts_as_long_as_the_invocation_however_long_the_source_took_to_confirm(
    desk: Desk, make_upload: MakeUpload
) -> None:
    desk.pay(make_upload(etag="old"))
    desk.clock.move(66)  # what was in flight is over
    with pytest.raises(KilledError):
        desk.pay(make_upload(etag="new"), pay=_killed, confirm=lambda: desk.clock.move(40))
    assert float(desk.item()["lease"]["N"]) == START + 66 + 65


def test_nothing_is_claimed_without_time_to_pay(desk: Desk, make_upload: MakeUpload) -> None:
    deadline = Deadline(60)
    desk.clock.move(61)
    with pytest.raises(OutOfTime):
        desk.ledger.pay_once(
            KEY,
            make_upload(),
            sent=START,
            modified=0,
            pay=desk.till,
            confirm=lambda: desk.confirm(make_upload()),
            deadline=deadline,
        )
    assert desk.pay(make_upload()) == "https://result/1"


# Calls that the SDK repeats


def test_recording_a_result_again_after_another_claim_changes_nothing(desk: Desk, make_upload: MakeUpload) -> None:
    old, new = make_upload(etag="old"), make_upload(etag="new")
    items: list[dict[str, Any]] = []

    def claim() -> None:
        desk.clock.move(66)
        desk.be_killed(new)
        items.append(desk.item())

    desk.network.loses_answer_to, desk.network.meanwhile = "result_url = :url", claim
    assert desk.pay(old) == "https://result/1"
    assert [desk.item()] == items
    assert desk.ledger.read(KEY, new, retried=True).billed is Billed.MAYBE
    desk.clock.move(66)
    assert desk.pay(new) == "https://result/3"


@pytest.mark.parametrize("etag", ["old", "new"])
def test_recording_a_failure_again_after_another_claim_keeps_the_new_lease(
    desk: Desk, make_upload: MakeUpload, etag: str
) -> None:
    items: list[dict[str, Any]] = []

    def claim() -> None:
        desk.clock.move(66)
        desk.be_killed(make_upload(etag=etag))
        items.append(desk.item())

    desk.network.loses_answer_to, desk.network.meanwhile = "SET billed = :billed", claim
    desk.pay_in_vain(make_upload(etag="old"), refused())
    assert [desk.item()] == items
    with pytest.raises(InProgress):
        desk.pay(make_upload(etag=etag))


def test_a_late_result_does_not_replace_that_of_another_claim(desk: Desk, make_upload: MakeUpload) -> None:
    def pay_slowly() -> str:
        desk.clock.move(66)
        assert desk.pay(make_upload()) == "https://result/1"
        return "https://result/late"

    assert desk.pay(make_upload(), pay=pay_slowly) == "https://result/late"
    assert desk.pay(make_upload()) == "https://result/1"


def test_a_claim_counts_although_its_answer_was_lost(desk: Desk, make_upload: MakeUpload) -> None:
    desk.network.loses_answer_to = "lease = :lease"
    assert desk.pay(make_upload()) == "https://result/1"
    assert desk.noted == [Billed.NO]


def test_a_claim_over_an_expired_lease_counts_although_its_answer_was_lost(desk: Desk, make_upload: MakeUpload) -> None:
    desk.be_killed(make_upload())
    desk.clock.move(66)
    desk.network.calls.clear()
    desk.network.before_call = lambda number: setattr(
        desk.network, "loses_answer_to", "lease = :lease" if number == 2 else None
    )
    assert desk.pay(make_upload()) == "https://result/2"
    assert desk.noted == [Billed.MAYBE]


# Calls that are charged and bring no cutout


@CHARGED
def test_a_second_charge_without_a_result_is_final(
    desk: Desk, make_upload: MakeUpload, fail: Callable[[], CutoutError], billed: Billed
) -> None:
    assert [desk.pay_in_vain(make_upload(), fail()).is_final for _ in range(2)] == [False, True]
    with pytest.raises(ChargedInVain) as caught:  # before its letter was written
        desk.pay(make_upload())
    assert (caught.value.is_final, caught.value.billed) == (True, billed)
    assert desk.till.calls == 2


def test_a_function_that_is_killed_each_time_pays_twice(desk: Desk, make_upload: MakeUpload) -> None:
    for _ in range(2):
        desk.be_killed(make_upload())
        desk.clock.move(66)
    with pytest.raises(UnexpectedError) as stopped:
        desk.pay(make_upload())
    assert str(stopped.value) == (
        "Each time after Pixelcut was asked for this upload's cutout, or was about to be, the function was stopped "
        "before it was written, or DynamoDB failed. "
        "Its log says why: look for `Task timed out`, `OutOfMemory`, `Runtime.ExitError` or `ledger`."
    )
    assert (stopped.value.is_final, stopped.value.billed) == (True, Billed.MAYBE)
    assert desk.till.calls == 2


@pytest.mark.parametrize("fail", [answer_lost, no_result_url])
def test_what_an_upload_has_cost_is_not_forgotten_after_an_hour(
    desk: Desk, make_upload: MakeUpload, fail: Callable[[], CutoutError]
) -> None:
    billed = desk.pay_in_vain(make_upload(), fail()).billed
    desk.clock.move(3601)
    assert desk.pay_in_vain(make_upload(), refused()).billed is billed
    desk.clock.move(3601)
    assert desk.pay_in_vain(make_upload(), fail()).is_final
    desk.close(make_upload())
    desk.clock.move(3601)
    assert desk.pay(make_upload()) is Outcome.DUPLICATE


@CHARGED
def test_charges_of_different_kinds_add_up(
    desk: Desk, make_upload: MakeUpload, fail: Callable[[], CutoutError], billed: Billed
) -> None:
    desk.be_killed(make_upload())
    desk.clock.move(66)
    assert desk.pay_in_vain(make_upload(), fail()).is_final


@CHARGED
def test_an_upload_that_was_charged_twice_keeps_its_reason_though_its_letter_could_not_be_written(
    desk: Desk, make_upload: MakeUpload, fail: Callable[[], CutoutError], billed: Billed
) -> None:
    desk.be_killed(make_upload())
    desk.clock.move(66)
    last = desk.pay_in_vain(make_upload(), fail())
    assert last.is_final
    with pytest.raises(ChargedInVain) as caught:
        desk.pay(make_upload())
    assert str(caught.value) == "Two calls for this upload were charged, or may have been, and it has no cutout."
    assert (caught.value.code, caught.value.is_final, caught.value.billed) == (last.code, True, billed)
    assert desk.till.calls == 2


def test_an_upload_whose_results_are_gone_keeps_that_reason_though_its_letter_could_not_be_written(
    desk: Desk, make_upload: MakeUpload
) -> None:
    for number in (1, 2):
        desk.pay(make_upload())
        desk.ledger.forget(KEY, make_upload(), f"https://result/{number}", "result_gone")
    with pytest.raises(ChargedInVain) as caught:
        desk.pay(make_upload())
    assert (caught.value.code, caught.value.billed) == ("result_gone", Billed.YES)


def test_an_upload_whose_reason_was_not_kept_was_stopped(desk: Desk, make_upload: MakeUpload) -> None:
    """As in an item that an earlier version of the function has written."""
    for _ in range(2):
        desk.pay_in_vain(make_upload(), no_result_url())
    desk.network.client.update_item(
        TableName="ledger", Key={"id": {"S": f"cutout:{KEY}"}}, UpdateExpression="REMOVE failed_as"
    )
    with pytest.raises(UnexpectedError, match="the function was stopped before it was written"):
        desk.pay(make_upload())


def test_an_upload_that_was_killed_last_does_not_have_the_reason_of_the_call_before(
    desk: Desk, make_upload: MakeUpload
) -> None:
    desk.pay_in_vain(make_upload(), no_result_url())
    desk.be_killed(make_upload())
    desk.clock.move(66)
    with pytest.raises(UnexpectedError, match="the function was stopped before it was written") as stopped:
        desk.pay(make_upload())
    assert stopped.value.billed is Billed.YES


@pytest.mark.parametrize("fail", [refused, failed])
def test_a_call_that_is_not_charged_gives_the_charge_back(
    desk: Desk, make_upload: MakeUpload, fail: Callable[[], CutoutError]
) -> None:
    assert [desk.pay_in_vain(make_upload(), fail()).is_final for _ in range(5)] == [False] * 5
    desk.be_killed(make_upload())
    desk.clock.move(66)
    assert not desk.pay_in_vain(make_upload(), fail()).is_final
    assert desk.pay_in_vain(make_upload(), answer_lost()).is_final
    assert desk.till.calls == 8


def test_no_third_call_is_paid_after_two_results_are_gone(desk: Desk, make_upload: MakeUpload) -> None:
    for number, is_final in ((1, False), (2, True)):
        assert desk.pay(make_upload()) == f"https://result/{number}"
        assert desk.ledger.forget(KEY, make_upload(), f"https://result/{number}", "result_gone") is is_final


def test_no_third_call_is_paid_after_a_lost_answer_and_a_result_that_is_gone(
    desk: Desk, make_upload: MakeUpload
) -> None:
    desk.pay_in_vain(make_upload(), answer_lost())
    assert desk.pay(make_upload()) == "https://result/2"
    assert desk.ledger.forget(KEY, make_upload(), "https://result/2", "result_gone")


def test_no_third_call_is_paid_after_a_second_result_expired(desk: Desk, make_upload: MakeUpload) -> None:
    """As when the output bucket refuses for hours."""
    for number in (1, 2):
        assert desk.pay(make_upload()) == f"https://result/{number}"
        desk.clock.move(3301)
    with pytest.raises(ResultGone) as gone:
        desk.pay(make_upload())
    assert str(gone.value) == (
        "The paid result expired before it could become a cutout, and the call before brought none."
    )
    assert (gone.value.is_final, gone.value.billed) == (True, Billed.YES)
    assert desk.till.calls == 2


def test_a_function_killed_after_a_result_expired_counts_as_stopped(desk: Desk, make_upload: MakeUpload) -> None:
    desk.pay(make_upload())
    desk.clock.move(3301)
    desk.be_killed(make_upload())
    desk.clock.move(66)
    with pytest.raises(UnexpectedError, match="was stopped") as stopped:
        desk.pay(make_upload())
    assert stopped.value.billed is desk.ledger.read(KEY, make_upload(), retried=True).billed is Billed.YES


def test_an_upload_that_stopped_the_function_is_recorded(desk: Desk, make_upload: MakeUpload) -> None:
    desk.pay_in_vain(make_upload(), refused())
    desk.be_killed(make_upload())
    with pytest.raises(InProgress):
        desk.pay(make_upload())
    assert desk.stopped == []
    desk.clock.move(66)
    desk.be_killed(make_upload(sequencer="00FF"))
    assert desk.stopped == [make_upload(sequencer="00FF")]
    desk.clock.move(66)
    with pytest.raises(UnexpectedError):
        desk.pay(make_upload())
    assert len(desk.stopped) == 2


def test_a_result_that_another_delivery_has_forgotten_is_not_final_while_that_one_pays(
    desk: Desk, make_upload: MakeUpload
) -> None:
    desk.pay(make_upload())
    assert not desk.ledger.forget(KEY, make_upload(), "https://result/1", "result_gone")

    def pay() -> str:
        assert not desk.ledger.forget(KEY, make_upload(), "https://result/1", "result_gone")
        return "https://result/second"

    assert desk.pay(make_upload(), pay=pay) == "https://result/second"
    assert desk.ledger.forget(KEY, make_upload(), "https://result/1", "result_gone")
    assert desk.ledger.forget(KEY, make_upload(), "https://result/second", "result_gone")


def test_charges_of_other_bytes_do_not_count(desk: Desk, make_upload: MakeUpload) -> None:
    old, new = make_upload(etag="old"), make_upload(etag="new")
    for upload in (old, new):
        desk.clock.move(66)
        assert not desk.pay_in_vain(upload, answer_lost()).is_final
        assert desk.pay_in_vain(upload, answer_lost()).is_final
        assert not desk.ledger.forget(KEY, make_upload(etag="another"), "https://result/0", "result_gone")


def test_a_newer_result_is_not_forgotten_for_an_older_one(desk: Desk, make_upload: MakeUpload) -> None:
    desk.pay(make_upload())
    desk.ledger.forget(KEY, make_upload(), "https://result/1", "result_gone")
    new = desk.pay(make_upload())
    desk.ledger.forget(KEY, make_upload(), "https://result/1", "result_gone")
    assert desk.pay(make_upload()) == new


def test_an_upload_gets_a_letter_if_the_function_is_killed_at_each_write_of_its_result(
    desk: Desk, make_upload: MakeUpload
) -> None:
    assert [desk.pay(make_upload()) for _ in range(1 + 10)] == ["https://result/1"] * 11
    with pytest.raises(
        UnexpectedError, match="after Pixelcut had made this upload's cutout, the function was stopped"
    ) as stopped:
        desk.pay(make_upload())
    assert (stopped.value.is_final, stopped.value.billed) == (True, Billed.YES)


def test_a_new_result_may_be_reused_as_often_as_the_first(desk: Desk, make_upload: MakeUpload) -> None:
    for number in (1, 2):
        assert {desk.pay(make_upload()) for _ in range(11)} == {f"https://result/{number}"}
        desk.ledger.forget(KEY, make_upload(), f"https://result/{number}", "result_gone")


@pytest.mark.parametrize("sent", [START, START + 1])
def test_a_result_that_is_replaced_while_it_is_claimed_for_reuse_is_not_used(
    desk: Desk, make_upload: MakeUpload, sent: float
) -> None:
    items: list[dict[str, Any]] = []

    def replace(number_of_call: int) -> None:
        if number_of_call == 2:
            desk.network.before_call = lambda _: None
            desk.ledger.forget(KEY, make_upload(), "https://result/1", "result_gone")
            desk.be_killed(make_upload(), sent=sent)
            items.append(desk.item())

    desk.pay(make_upload())
    if sent > START:
        desk.close(make_upload())
    desk.network.calls.clear()
    desk.network.before_call = replace
    with pytest.raises(InProgress, match=IN_FLIGHT):
        desk.pay(make_upload(), sent=sent)
    assert [desk.item()] == items


def test_a_result_is_not_reused_if_the_reuse_cannot_be_recorded(desk: Desk, make_upload: MakeUpload) -> None:
    """Without its claim, no delivery would know that this one may still write a cutout."""

    def fail(number_of_call: int) -> None:
        if number_of_call == 2:
            raise ReadTimeoutError(endpoint_url="https://dynamodb")

    desk.pay(make_upload())
    desk.network.calls.clear()
    desk.network.before_call = fail
    with pytest.raises(StorageUnavailable) as caught:
        desk.pay(make_upload())
    assert str(caught.value) == "DynamoDB did not let the function take up the paid result."
    assert desk.pay(make_upload()) == "https://result/1"


# Letters, duplicates and replays


@pytest.mark.parametrize("sent", [START - 100, START + 10])
def test_an_event_sent_before_its_letter_was_written_is_a_duplicate(
    desk: Desk, make_upload: MakeUpload, sent: float
) -> None:
    desk.pay_in_vain(make_upload(), answer_lost())
    desk.clock.move(10)
    desk.close(make_upload())
    desk.clock.move(100)
    assert desk.pay(make_upload(), sent=sent) is Outcome.DUPLICATE
    assert desk.till.calls == 1


def test_an_event_without_a_sequencer_sent_before_its_letter_is_a_duplicate_too(
    desk: Desk, make_upload: MakeUpload
) -> None:
    desk.pay_in_vain(make_upload(sequencer=None), answer_lost())
    desk.close(make_upload(sequencer=None))
    assert desk.pay(make_upload(sequencer=None)) is Outcome.DUPLICATE


def test_a_letter_that_is_sent_back_at_once_is_a_replay(desk: Desk, make_upload: MakeUpload) -> None:
    """It may be sent back before the ledger knows that it was written."""
    desk.pay_in_vain(make_upload(), no_result_url())
    desk.clock.move(10)
    account = desk.ledger.read(KEY, make_upload(), retried=True)
    desk.ledger.close(KEY, make_upload(), account, no_result_url(), sent=START, written=START + 8)
    assert desk.pay(make_upload(), sent=START + 9) == "https://result/2"


@pytest.mark.parametrize(("sent", "billed"), [(START + 3600, Billed.YES), (START + 3601, Billed.NO)])
def test_an_upload_sent_again_an_hour_after_the_last_claim_starts_afresh(
    desk: Desk, make_upload: MakeUpload, sent: float, billed: Billed
) -> None:
    """Its cutout was made, and has been deleted since."""
    desk.pay(make_upload())
    desk.clock.move(4000)
    assert desk.pay_in_vain(make_upload(), refused(), sent=sent).billed is billed
    assert desk.pay_in_vain(make_upload(), answer_lost(), sent=sent).is_final is (billed is Billed.YES)


@CHARGED
@pytest.mark.parametrize("letter", [True, False])
def test_what_an_upload_without_a_cutout_has_cost_is_not_forgotten_when_it_is_sent_anew(
    desk: Desk, make_upload: MakeUpload, fail: Callable[[], CutoutError], billed: Billed, *, letter: bool
) -> None:
    for _ in range(2):
        desk.pay_in_vain(make_upload(), fail())
    if letter:
        desk.close(make_upload())
    desk.clock.move(4000)
    assert desk.pay_in_vain(make_upload(), refused(), sent=START + 3601).billed is billed
    assert desk.ledger.read(KEY, make_upload(), retried=False).billed is billed
    assert not desk.pay_in_vain(make_upload(), answer_lost(), sent=START + 3601).is_final


def test_a_result_that_became_a_letter_is_not_forgotten_when_that_is_sent_back(
    desk: Desk, make_upload: MakeUpload
) -> None:
    desk.pay(make_upload())
    desk.close(make_upload())  # as it could not be fetched
    desk.clock.move(4000)
    assert desk.pay_in_vain(make_upload(), refused(), sent=START + 3601).billed is Billed.YES


def test_an_upload_sent_again_does_not_hide_what_an_earlier_delivery_may_write(
    desk: Desk, make_upload: MakeUpload
) -> None:
    desk.pay(make_upload())
    desk.clock.move(3300)
    desk.pay(make_upload(), seconds=600)
    desk.clock.move(301)
    desk.pay(make_upload(), sent=START + 3601)
    check_in_flight_until(desk, START + 3300 + 605)


def test_a_duplicate_of_a_letter_stays_one_although_there_is_a_paid_result(desk: Desk, make_upload: MakeUpload) -> None:
    desk.pay(make_upload())
    desk.close(make_upload())
    assert desk.pay(make_upload()) is Outcome.DUPLICATE


def test_a_replay_may_be_charged_twice_again(desk: Desk, make_upload: MakeUpload) -> None:
    for sent in (START, START + 1, START + 3):
        assert [desk.pay_in_vain(make_upload(), no_result_url(), sent=sent).is_final for _ in range(2)] == [False, True]
        desk.close(make_upload())
        desk.clock.move(2)
    assert desk.till.calls == 6


def test_a_replay_after_kills_may_be_killed_twice_again(desk: Desk, make_upload: MakeUpload) -> None:
    for sent in (START, START + 500):
        desk.clock.now = sent
        for _ in range(2):
            desk.be_killed(make_upload(), sent=sent)
            desk.clock.move(66)
        with pytest.raises(UnexpectedError):
            desk.pay(make_upload(), sent=sent)
        desk.close(make_upload())
    assert desk.till.calls == 4


def test_a_replay_reuses_a_result_as_often_as_the_first_upload(desk: Desk, make_upload: MakeUpload) -> None:
    desk.pay(make_upload())
    for sent in (START, START + 1):
        assert {desk.pay(make_upload(), sent=sent) for _ in range(10)} == {"https://result/1"}
        with pytest.raises(UnexpectedError):
            desk.pay(make_upload(), sent=sent)
        desk.close(make_upload())
        desk.clock.move(2)


def test_a_replay_may_pay_once_more_when_the_result_that_it_reused_is_gone(desk: Desk, make_upload: MakeUpload) -> None:
    desk.pay_in_vain(make_upload(), answer_lost())
    desk.pay(make_upload())
    desk.close(make_upload())  # the second result could not be fetched
    desk.clock.move(2)
    assert desk.pay(make_upload(), sent=START + 1) == "https://result/2"
    assert not desk.ledger.forget(KEY, make_upload(), "https://result/2", "result_gone")
    assert desk.pay(make_upload(), sent=START + 1) == "https://result/3"
    assert desk.ledger.forget(KEY, make_upload(), "https://result/3", "result_gone")


def test_another_upload_of_the_same_bytes_gets_its_own_letter_without_a_charge(
    desk: Desk, make_upload: MakeUpload
) -> None:
    first, second = make_upload(sequencer="01"), make_upload(sequencer="02")
    for _ in range(2):
        desk.pay_in_vain(first, no_result_url())
    desk.close(first)
    with pytest.raises(ChargedInVain) as caught:
        desk.pay(second)
    assert caught.value.code == "unexpected_answer"
    assert str(caught.value) == (
        "The same image was uploaded under this key before, was charged for, and became a letter. "
        "Send either letter back to try again."
    )
    assert caught.value.is_final
    assert desk.till.calls == 2
    assert desk.ledger.read(KEY, second, retried=False).billed is Billed.YES
    assert desk.pay(first) is Outcome.DUPLICATE


def test_another_upload_of_the_same_bytes_is_paid_for_when_the_first_was_not_charged(
    desk: Desk, make_upload: MakeUpload
) -> None:
    first, second = make_upload(sequencer="01"), make_upload(sequencer="02")
    desk.pay_in_vain(first, failed())
    desk.close(first)
    assert desk.pay(second) == "https://result/2"


def test_each_upload_of_the_same_bytes_gets_one_letter(desk: Desk, make_upload: MakeUpload) -> None:
    uploads = [make_upload(sequencer=f"0{number}") for number in range(3)]
    for _ in range(2):
        desk.pay_in_vain(uploads[0], no_result_url())
    desk.close(uploads[0])
    for upload in uploads[1:]:
        with pytest.raises(ChargedInVain):
            desk.pay(upload)
        desk.close(upload)
    assert {desk.pay(upload) for upload in uploads} == {Outcome.DUPLICATE}


def test_uploads_without_a_sequencer_cannot_be_told_apart(desk: Desk, make_upload: MakeUpload) -> None:
    for _ in range(2):
        desk.pay_in_vain(make_upload(sequencer=None), no_result_url())
    desk.close(make_upload(sequencer=None))
    assert desk.pay(make_upload(sequencer=None)) is Outcome.DUPLICATE


def test_a_valid_result_serves_the_other_upload_although_one_has_its_letter(
    desk: Desk, make_upload: MakeUpload
) -> None:
    first, second = make_upload(sequencer="01"), make_upload(sequencer="02")
    desk.pay(first)
    desk.close(first)
    assert desk.pay(second) == "https://result/1"
    assert desk.pay(first) is Outcome.DUPLICATE
    assert desk.till.calls == 1


def test_a_second_letter_does_not_hold_up_a_replay_of_the_first(desk: Desk, make_upload: MakeUpload) -> None:
    first, second = make_upload(sequencer="01"), make_upload(sequencer="02")
    desk.pay_in_vain(first, no_result_url())
    desk.close(first)
    desk.clock.move(10)
    desk.close(second)
    assert desk.pay(first, sent=START + 5) == "https://result/2"


def test_the_letter_of_a_replay_ends_its_second_delivery(desk: Desk, make_upload: MakeUpload) -> None:
    """The first one failed at S3 until it became a letter again, and claimed nothing."""
    desk.pay_in_vain(make_upload(), no_result_url())
    desk.close(make_upload())
    desk.clock.move(10)
    desk.close(make_upload(), sent=START + 5)
    assert desk.pay(make_upload(), sent=START + 5) is Outcome.DUPLICATE
    assert desk.pay(make_upload(), sent=START + 11) == "https://result/2"


def test_the_letter_of_a_replay_ends_its_second_delivery_though_another_upload_has_claimed_the_item(
    desk: Desk, make_upload: MakeUpload
) -> None:
    first, second = make_upload("photo.gif"), make_upload("photo.jpg")
    desk.pay_in_vain(first, no_result_url())
    lose_the_item(desk, first, second, 0)
    desk.clock.move(10)
    sent = desk.clock.now - 5
    desk.close(first, sent=sent)
    assert desk.pay(first, sent=sent) is Outcome.DUPLICATE
    assert desk.pay(first, sent=desk.clock.now + 1) == "https://result/3"


@pytest.mark.parametrize("taken", [True, False])
def test_a_second_letter_of_what_was_sent_once_does_not_end_its_replay(
    desk: Desk, make_upload: MakeUpload, *, taken: bool
) -> None:
    first, second = make_upload("photo.gif"), make_upload("photo.jpg")
    desk.pay_in_vain(first, no_result_url())
    desk.close(first)
    if taken:
        lose_the_item(desk, first, second, 0)
    replayed = desk.clock.now + 5
    desk.clock.move(10)
    desk.close(first)
    assert desk.pay(first, sent=replayed) == f"https://result/{2 + taken}"


@pytest.mark.parametrize("of", ["one upload", "another upload"])
def test_an_item_keeps_the_newest_of_many_letters(desk: Desk, make_upload: MakeUpload, of: str) -> None:
    """An output key whose uploads become letters without an end would have an item too large to be written."""
    uploads = [make_upload(sequencer=f"{number:02}") for number in range(51)]
    desk.pay_in_vain(make_upload("photo.gif") if of == "another upload" else uploads[0], no_result_url())
    for number, upload in enumerate(uploads):
        desk.clock.move(200)
        desk.close(upload)
        assert len(letter_times(desk)) == (number + 1 if number < 50 else 25)
    assert letter_times(desk) == [desk.clock.now - 200 * number for number in reversed(range(25))]
    assert desk.item()["holder"]


def test_letters_of_the_last_hour_are_kept(desk: Desk, make_upload: MakeUpload) -> None:
    """Deliveries that were sent before them may still come."""
    desk.pay_in_vain(make_upload("photo.gif"), no_result_url())
    for number in range(51):
        desk.clock.move(80)
        desk.close(make_upload(sequencer=f"{number:02}"))
    # They span 4,000 s: the first five are older than an hour.
    assert letter_times(desk) == [desk.clock.now - 80 * number for number in reversed(range(46))]


def test_an_item_has_no_more_than_300_letters(desk: Desk, make_upload: MakeUpload) -> None:
    desk.pay_in_vain(make_upload("photo.gif"), no_result_url())
    for number in range(301):
        desk.clock.move(1)
        desk.close(make_upload(sequencer=f"{number:03}"))
        if number == 299:
            assert len(letter_times(desk)) == 300
    assert letter_times(desk) == [desk.clock.now - number for number in reversed(range(251))]


def test_many_letters_that_are_all_kept_cost_no_call(desk: Desk, make_upload: MakeUpload) -> None:
    desk.pay_in_vain(make_upload("photo.gif"), no_result_url())
    for number in range(60):
        desk.close(make_upload(sequencer=f"{number:02}"))
    assert not [call for call in desk.network.calls if call.startswith("REMOVE #letter")]


def letter_times(desk: Desk) -> list[float]:
    return sorted(float(value["N"]) for name, value in desk.item().items() if name.startswith("letter_"))


@pytest.mark.parametrize("reused", [True, False])
def test_nothing_is_left_of_a_letter_that_was_replayed(desk: Desk, make_upload: MakeUpload, *, reused: bool) -> None:
    if reused:
        desk.pay(make_upload())
    else:
        desk.pay_in_vain(make_upload(), no_result_url())
    desk.close(make_upload())
    desk.pay(make_upload(), sent=START + 1)
    assert not [name for name in desk.item() if name.startswith(("ended_", "letter_"))]


def test_the_letter_of_an_upload_does_not_end_another_one(desk: Desk, make_upload: MakeUpload) -> None:
    old, new = make_upload(etag="old"), make_upload(etag="new")
    desk.pay(new)
    desk.close(old)
    desk.close(make_upload("photo.gif", etag="new"))
    assert desk.pay(new) == "https://result/1"


def test_the_letter_of_the_previous_bytes_does_not_end_an_upload(desk: Desk, make_upload: MakeUpload) -> None:
    old, new = make_upload(etag="old"), make_upload(etag="new")
    desk.pay_in_vain(old, answer_lost())
    desk.close(old)
    desk.clock.move(66)  # what was in flight is over
    assert desk.pay(new) == "https://result/2"
    assert desk.pay(new) == "https://result/2"


# What was billed


def test_a_failed_call_may_be_repeated_at_once(desk: Desk, make_upload: MakeUpload) -> None:
    desk.pay_in_vain(make_upload(), refused())
    assert desk.pay(make_upload()) == "https://result/2"


def test_billed_is_no_after_a_refusal(desk: Desk, make_upload: MakeUpload) -> None:
    assert desk.pay_in_vain(make_upload(), refused()).billed is Billed.NO
    assert desk.ledger.read(KEY, make_upload(), retried=True).billed is Billed.NO


def test_billed_is_maybe_while_a_call_is_in_flight_and_after_it_was_killed(desk: Desk, make_upload: MakeUpload) -> None:
    desk.be_killed(make_upload())
    assert desk.ledger.read(KEY, make_upload(), retried=True).billed is Billed.MAYBE
    desk.clock.move(66)
    assert desk.pay_in_vain(make_upload(), refused()).billed is Billed.MAYBE


@CHARGED
def test_billed_includes_what_earlier_calls_have_cost(
    desk: Desk, make_upload: MakeUpload, fail: Callable[[], CutoutError], billed: Billed
) -> None:
    desk.pay_in_vain(make_upload(), fail())
    assert desk.ledger.read(KEY, make_upload(), retried=True).billed is billed
    assert desk.pay_in_vain(make_upload(), refused()).billed is billed
    assert desk.ledger.read(KEY, make_upload(), retried=True).billed is billed


def test_billed_is_yes_after_a_paid_result_has_expired(desk: Desk, make_upload: MakeUpload) -> None:
    desk.pay(make_upload())
    desk.clock.move(3301)
    assert desk.pay_in_vain(make_upload(), refused()).billed is Billed.YES


def test_billed_is_maybe_after_another_upload_took_the_key(desk: Desk, make_upload: MakeUpload) -> None:
    desk.pay(make_upload(etag="old"))
    desk.clock.move(66)  # what was in flight is over
    desk.pay(make_upload(etag="new"))
    assert desk.ledger.read(KEY, make_upload(etag="old"), retried=True).billed is Billed.MAYBE


@pytest.mark.parametrize("seconds", [66, 3301])
def test_billed_of_the_previous_upload_does_not_survive_a_claim(
    desk: Desk, make_upload: MakeUpload, seconds: float
) -> None:
    old, new = make_upload(etag="old"), make_upload(etag="new")
    desk.pay(old)
    desk.clock.move(seconds)
    assert desk.pay_in_vain(new, refused()).billed is Billed.NO
    assert desk.ledger.read(KEY, new, retried=True).billed is Billed.NO


def test_billed_of_the_previous_upload_does_not_survive_a_claim_that_is_killed(
    desk: Desk, make_upload: MakeUpload
) -> None:
    old, new = make_upload(etag="old"), make_upload(etag="new")
    desk.pay(old)
    desk.clock.move(66)  # what was in flight is over
    desk.be_killed(new)
    assert desk.ledger.read(KEY, new, retried=True).billed is Billed.MAYBE


def test_billed_can_be_read(
    clients: Clients, desk: Desk, make_upload: MakeUpload, caplog: pytest.LogCaptureFixture
) -> None:
    assert desk.ledger.read(KEY, make_upload(), retried=True).billed is Billed.NO
    desk.pay(make_upload())
    assert desk.ledger.read(KEY, make_upload(), retried=True).billed is Billed.YES
    assert (
        Ledger(clients.dynamodb, "nowhere", print, print).read(KEY, make_upload(), retried=True).billed is Billed.MAYBE
    )
    assert set(caplog.messages) == {"The ledger could not be read (ResourceNotFoundException)."}


def test_billed_is_no_for_a_first_attempt_whatever_another_upload_left(desk: Desk, make_upload: MakeUpload) -> None:
    desk.pay(make_upload())
    assert desk.ledger.read(KEY, make_upload(etag="other"), retried=False).billed is Billed.NO
    assert desk.ledger.read(KEY, make_upload(etag="other"), retried=True).billed is Billed.MAYBE
    assert desk.ledger.read(KEY, make_upload(), retried=False).billed is Billed.YES


def test_each_credit_is_noted_with_what_was_billed_before(desk: Desk, make_upload: MakeUpload) -> None:
    desk.pay_in_vain(make_upload(), answer_lost())
    assert desk.noted == []
    url = desk.pay(make_upload())
    assert desk.pay(make_upload()) == url  # the same result: nothing is charged
    desk.clock.move(3301)
    desk.close(make_upload())
    desk.pay(make_upload(), sent=desk.clock.now + 1)
    desk.pay(make_upload("other.jpg"), output_key="other.png")
    assert desk.noted == [Billed.MAYBE, Billed.YES, Billed.NO]


# What may still be written


def check_in_flight_until(desk: Desk, time: float) -> None:
    desk.clock.now = time
    with pytest.raises(InProgress) as caught:
        desk.ledger.check_nothing_in_flight(KEY)
    assert str(caught.value) == "An earlier delivery for this output key is in flight."
    desk.clock.now = time + 1
    desk.ledger.check_nothing_in_flight(KEY)


def test_a_delivery_may_write_until_five_seconds_after_its_time_is_over(desk: Desk, make_upload: MakeUpload) -> None:
    desk.ledger.check_nothing_in_flight(KEY)
    desk.pay(make_upload())
    check_in_flight_until(desk, START + 65)


def test_a_delivery_that_was_killed_may_write_until_its_lease_ends(desk: Desk, make_upload: MakeUpload) -> None:
    desk.be_killed(make_upload())
    check_in_flight_until(desk, START + 65)


def test_a_delivery_that_reuses_a_result_may_write_it(desk: Desk, make_upload: MakeUpload) -> None:
    desk.pay(make_upload())
    desk.clock.now = START + 1000
    desk.ledger.check_nothing_in_flight(KEY)
    desk.pay(make_upload())
    check_in_flight_until(desk, START + 1065)


def test_a_replay_that_reuses_a_result_may_write_it(desk: Desk, make_upload: MakeUpload) -> None:
    desk.pay(make_upload())
    desk.close(make_upload())
    desk.clock.now = START + 1000
    desk.pay(make_upload(), sent=START + 999)
    check_in_flight_until(desk, START + 1065)


def test_a_shorter_delivery_does_not_hide_a_longer_one(desk: Desk, make_upload: MakeUpload) -> None:
    desk.pay(make_upload())
    desk.pay(make_upload(), seconds=10)
    check_in_flight_until(desk, START + 65)


def test_a_shorter_replay_does_not_hide_a_longer_delivery(desk: Desk, make_upload: MakeUpload) -> None:
    desk.pay(make_upload())
    desk.close(make_upload())
    desk.pay(make_upload(), sent=START + 1, seconds=10)
    check_in_flight_until(desk, START + 65)


def test_a_claim_that_fails_does_not_hide_a_delivery_that_has_a_result(desk: Desk, make_upload: MakeUpload) -> None:
    desk.pay(make_upload(etag="the same"))
    desk.ledger.forget(KEY, make_upload(etag="the same"), "https://result/1", "result_gone")
    desk.pay_in_vain(make_upload(etag="the same"), refused(), seconds=10)
    check_in_flight_until(desk, START + 65)


def test_whether_something_is_in_flight_must_be_known(clients: Clients) -> None:
    with pytest.raises(StorageUnavailable, match="ResourceNotFoundException"):
        Ledger(clients.dynamodb, "nowhere", print, print).check_nothing_in_flight(KEY)


def test_the_ledger_is_read_consistently(clients: Clients, desk: Desk, make_upload: MakeUpload) -> None:
    with Stubber(clients.dynamodb) as stub:
        asked = {"TableName": "ledger", "Key": {"id": {"S": f"cutout:{KEY}"}}, "ConsistentRead": True}
        for _ in range(2):
            stub.add_response("get_item", {}, asked)
        desk.ledger.check_nothing_in_flight(KEY)
        assert desk.ledger.read(KEY, make_upload(), retried=True).billed is Billed.NO


# A ledger that fails


def test_nothing_is_paid_when_the_ledger_cannot_be_read(clients: Clients, make_upload: MakeUpload) -> None:
    till = Till()
    with pytest.raises(StorageUnavailable, match="ResourceNotFoundException"):
        Ledger(clients.dynamodb, "nowhere", print, print).pay_once(
            KEY, make_upload(), sent=START, modified=0, pay=till, confirm=lambda: None, deadline=Deadline(60)
        )
    assert till.calls == 0


@pytest.mark.parametrize("number", [1, 2])
def test_nothing_is_paid_when_the_ledger_cannot_be_written(desk: Desk, make_upload: MakeUpload, number: int) -> None:
    def fail(number_of_call: int) -> None:
        if number_of_call == number:
            raise ReadTimeoutError(endpoint_url="https://dynamodb?X-Amz-Signature=5ec4e7")

    desk.be_killed(make_upload())
    desk.clock.move(66)
    desk.network.calls.clear()
    desk.network.before_call = fail
    with pytest.raises(StorageUnavailable, match=r"\(ReadTimeoutError\)"):
        desk.pay(make_upload())
    assert desk.till.calls == 1


def test_a_paid_result_is_used_though_the_ledger_cannot_be_written(
    clients: Clients, desk: Desk, make_upload: MakeUpload, caplog: pytest.LogCaptureFixture
) -> None:
    def pay() -> str:
        clients.dynamodb.delete_table(TableName="ledger")
        return "https://result/5ec4e7"

    assert desk.pay(make_upload(), pay=pay) == "https://result/5ec4e7"
    assert set(caplog.messages) == {"The ledger could not be written (ResourceNotFoundException)."}
    assert "5ec4e7" not in caplog.text


def test_losing_the_key_to_another_upload_is_not_an_error(
    desk: Desk, make_upload: MakeUpload, caplog: pytest.LogCaptureFixture
) -> None:
    desk.pay(make_upload())
    desk.close(make_upload(etag="other"))
    assert caplog.text == ""


def test_a_throttled_ledger_keeps_the_upload(clients: Clients, make_upload: MakeUpload) -> None:
    with Stubber(clients.dynamodb) as stub:
        stub.add_client_error("update_item", "ThrottlingException", http_status_code=400)
        with pytest.raises(StorageUnavailable, match="ThrottlingException"):
            Ledger(clients.dynamodb, "ledger", print, print).pay_once(
                KEY, make_upload(), sent=START, modified=0, pay=Till(), confirm=lambda: None, deadline=Deadline(60)
            )


def test_a_letter_is_not_closed_again_once_its_replay_has_claimed(desk: Desk, make_upload: MakeUpload) -> None:
    """The SDK repeats the update whose answer was lost, and meanwhile an operator has replayed the letter."""
    for _ in range(2):
        desk.pay_in_vain(make_upload(), answer_lost())
    account = desk.ledger.read(KEY, make_upload(), retried=True)
    desk.close(make_upload(), answer_lost(), account)
    desk.pay_in_vain(make_upload(), answer_lost(), sent=START + 1)
    desk.close(make_upload(), answer_lost(), account)
    assert "ended_at" not in desk.item()
    assert desk.pay_in_vain(make_upload(), answer_lost(), sent=START + 1).is_final


@pytest.mark.parametrize(
    "found", ["its cutout", "none", "of another event", "of no event", "of other bytes", "a duplicate reused it"]
)
def test_other_bytes_need_not_wait_for_a_cutout_that_its_only_delivery_has_written(
    desk: Desk, make_upload: MakeUpload, found: str
) -> None:
    old = make_upload(etag="old", sequencer="" if found == "of no event" else "01")
    new = make_upload(etag="new", sequencer="02")
    desk.pay(old)
    if found == "a duplicate reused it":
        desk.pay(old)
    stands = {"of another event": make_upload(etag="old", sequencer="00"), "of other bytes": new}.get(found, old)
    desk.cutout = None if found == "none" else Cutout.from_metadata('"etag"', cutout_metadata(stands))
    if found == "its cutout":
        assert desk.pay(new) == "https://result/2"
    else:
        with pytest.raises(InProgress, match=r"^Other bytes of the same key are in flight\.$"):
            desk.pay(new)


@pytest.mark.parametrize("before", ["a letter", "a result that is gone"])
@pytest.mark.parametrize(("seconds", "waits"), [(64, True), (65, True), (66, False)])
def test_other_bytes_wait_for_what_was_in_flight_before_the_delivery_that_wrote_the_cutout(
    desk: Desk, make_upload: MakeUpload, before: str, seconds: float, *, waits: bool
) -> None:
    old, new = make_upload(etag="old", sequencer="01"), make_upload(etag="new", sequencer="02")
    desk.pay(old)  # and it is about to write its cutout
    desk.ledger.forget(KEY, old, "https://result/1", "result_gone")
    if before == "a letter":
        desk.close(old)
    desk.clock.move(1)
    desk.pay(old, sent=desk.clock.now, seconds=300)
    desk.clock.now = START + seconds
    desk.cutout = Cutout.from_metadata('"etag"', cutout_metadata(old))
    if waits:
        with pytest.raises(InProgress, match=r"^Other bytes of the same key are in flight\.$"):
            desk.pay(new)
    else:
        assert desk.pay(new) == "https://result/3"


def test_a_cutout_without_an_event_is_not_mistaken_for_that_of_an_item_without_one(
    desk: Desk, make_upload: MakeUpload
) -> None:
    old, new = make_upload(etag="old", sequencer=None), make_upload(etag="new", sequencer="02")
    desk.pay(old)
    desk.network.client.update_item(
        TableName="ledger", Key={"id": {"S": f"cutout:{KEY}"}}, UpdateExpression="REMOVE sequencer"
    )
    desk.cutout = Cutout.from_metadata('"etag"', cutout_metadata(old))
    with pytest.raises(InProgress):
        desk.pay(new)


def test_other_bytes_do_not_claim_over_a_result_that_a_duplicate_has_just_reused(
    desk: Desk, make_upload: MakeUpload
) -> None:
    old, new = make_upload(etag="old", sequencer="01"), make_upload(etag="new", sequencer="02")
    desk.pay(old)
    desk.cutout = Cutout.from_metadata('"etag"', cutout_metadata(old))
    with pytest.raises(InProgress, match=IN_FLIGHT):
        desk.pay(new, confirm=lambda: desk.pay(old))
    assert desk.till.calls == 1


def test_who_takes_a_result_up_again_does_not_shorten_how_long_another_may_write(
    desk: Desk, make_upload: MakeUpload
) -> None:
    """The update of the first delivery arrives after that of a second one, which began later."""
    desk.pay(make_upload())
    until = []

    def take_it_up_later(_: int) -> None:
        if "result_url = :url" not in desk.network.conditions[-1]:
            return
        desk.network.before_call = lambda _: None
        desk.clock.move(15)
        desk.pay(make_upload())
        until.append(float(desk.item()["writing_until"]["N"]))
        desk.clock.move(-15)

    desk.network.before_call = take_it_up_later
    with pytest.raises(InProgress, match=IN_FLIGHT):
        desk.pay(make_upload())
    assert until == [float(desk.item()["writing_until"]["N"])]
    assert until[0] == pytest.approx(START + 15 + 60 + 5, abs=1)


def test_a_claim_does_not_pass_over_a_delivery_that_takes_the_result_up_meanwhile(
    desk: Desk, make_upload: MakeUpload
) -> None:
    """`reuses` begins anew with a replay, and may be what it was: until when it may write is not."""
    old, new = make_upload(etag="old"), make_upload(etag="new")
    desk.pay(old)
    desk.pay(old)
    desk.clock.move(100)

    def take_it_up(_: int) -> None:
        if ":seen_until" not in desk.network.conditions[-1]:
            return
        desk.network.before_call = lambda _: None
        desk.network.client.update_item(
            TableName="ledger",
            Key={"id": {"S": f"cutout:{KEY}"}},
            UpdateExpression="SET writing_until = :until",
            ExpressionAttributeValues={":until": {"N": str(START + 165)}},
        )

    desk.network.before_call = take_it_up
    with pytest.raises(InProgress, match=IN_FLIGHT):
        desk.pay(new)
    assert desk.till.calls == 1


def lose_the_item(desk: Desk, first: Upload, second: Upload, hours: int) -> None:
    """The first gets its letter; an hour later the second claims the item, so many hours ago."""
    desk.close(first)
    desk.clock.move(3700)
    desk.pay_in_vain(second, refused())
    desk.clock.move(3600 * hours)


@pytest.mark.parametrize("hours", [0, 2])
def test_the_letter_of_an_upload_ends_it_though_another_upload_has_claimed_the_item_since(
    desk: Desk, make_upload: MakeUpload, hours: int
) -> None:
    """Two uploads of one output key; a second delivery of the first one has waited in a closed intake."""
    first, second = make_upload("photo.gif"), make_upload("photo.jpg")
    for _ in range(2):
        desk.pay_in_vain(first, no_result_url())
    desk.clock.move(10)
    lose_the_item(desk, first, second, hours)
    assert desk.pay(first, sent=START) is Outcome.DUPLICATE
    assert desk.till.calls == 3


@pytest.mark.parametrize("hours", [0, 2])
def test_a_replay_pays_though_another_upload_has_claimed_the_item_since(
    desk: Desk, make_upload: MakeUpload, hours: int
) -> None:
    first, second = make_upload("photo.gif"), make_upload("photo.jpg")
    desk.pay_in_vain(first, no_result_url())
    lose_the_item(desk, first, second, hours)
    assert desk.pay(first, sent=desk.clock.now) == "https://result/3"


def test_a_letter_is_recorded_though_another_upload_claims_the_item_meanwhile(
    desk: Desk, make_upload: MakeUpload
) -> None:
    first, second = make_upload("photo.gif"), make_upload("photo.jpg")
    desk.pay_in_vain(first, no_result_url())
    account = desk.ledger.read(KEY, first, retried=True)
    desk.clock.move(3700)
    desk.pay_in_vain(second, refused())
    desk.close(first, account=account)
    assert "ended_at" not in desk.item()  # which would be about the second one
    assert desk.pay(first, sent=START) is Outcome.DUPLICATE
    assert desk.pay(second, sent=START) == "https://result/3"


def test_a_letter_is_recorded_though_another_upload_had_claimed_the_item(desk: Desk, make_upload: MakeUpload) -> None:
    first, second = make_upload("photo.gif"), make_upload("photo.jpg")
    desk.pay_in_vain(second, refused())
    desk.close(first, answer_lost())
    assert desk.pay(first, sent=START) is Outcome.DUPLICATE


def test_a_letter_is_not_recorded_once_a_delivery_has_claimed_the_item_of_another_upload(
    desk: Desk, make_upload: MakeUpload
) -> None:
    """That delivery may be of its replay."""
    first, second = make_upload("photo.gif"), make_upload("photo.jpg")
    desk.pay_in_vain(second, refused())
    account = desk.ledger.read(KEY, first, retried=True)
    desk.clock.move(3700)
    desk.pay_in_vain(first, refused())
    before = desk.item()
    desk.close(first, answer_lost(), account)
    assert desk.item() == before


def read_in_vain(desk: Desk, upload: Upload) -> Account:
    """DynamoDB fails: what the calls for the upload have cost is not known."""

    def fail(**_: Any) -> None:  # noqa: ANN401
        raise EndpointConnectionError(endpoint_url="https://dynamodb")

    broken = SimpleNamespace(get_item=fail)
    return Ledger(cast("DynamoDBClient", broken), "ledger", desk.noted.append, desk.stopped.append).read(
        KEY, upload, retried=True
    )


def test_a_letter_whose_account_could_not_be_read_ends_its_upload(desk: Desk, make_upload: MakeUpload) -> None:
    for _ in range(2):
        desk.pay_in_vain(make_upload(), answer_lost())
    desk.clock.move(10)
    account = read_in_vain(desk, make_upload())
    assert account.billed is Billed.MAYBE
    desk.close(make_upload(), answer_lost(), account)
    assert desk.pay(make_upload()) is Outcome.DUPLICATE
    assert desk.pay(make_upload(), sent=START + 11) == "https://result/3"  # its replay


@pytest.mark.parametrize("paid", [True, False])
def test_a_letter_whose_account_could_not_be_read_leaves_a_delivery_alone_that_pays_or_has_paid(
    desk: Desk, make_upload: MakeUpload, *, paid: bool
) -> None:
    if paid:
        desk.pay(make_upload())
    else:
        desk.be_killed(make_upload())
    before = desk.item()
    desk.close(make_upload(), answer_lost(), read_in_vain(desk, make_upload()))
    assert desk.item() == before


def test_a_letter_whose_account_could_not_be_read_does_not_end_what_was_claimed_since(
    desk: Desk, make_upload: MakeUpload
) -> None:
    """DynamoDB is slow to record it; by then its replay has been charged once, in vain."""
    desk.pay_in_vain(make_upload(), failed())
    desk.clock.move(60)
    account, written = read_in_vain(desk, make_upload()), desk.clock.now
    desk.clock.move(5)
    replayed = desk.clock.now
    desk.pay_in_vain(make_upload(), answer_lost(), sent=replayed)
    before = desk.item()
    desk.ledger.close(KEY, make_upload(), account, failed(), sent=START, written=written)
    assert desk.item() == before
    assert desk.pay_in_vain(make_upload(), answer_lost(), sent=replayed).is_final


@pytest.mark.parametrize("other", [{"key": "photo.gif"}, {"etag": "other"}])
def test_a_letter_whose_account_could_not_be_read_is_recorded_in_the_item_of_another_upload(
    desk: Desk, make_upload: MakeUpload, other: dict[str, str]
) -> None:
    desk.pay_in_vain(make_upload(**other), refused())
    before = desk.item()
    desk.clock.move(10)
    desk.close(make_upload(), answer_lost(), read_in_vain(desk, make_upload()))
    after = desk.item()
    assert float(after.pop(letter_of(make_upload()))["N"]) == START + 10
    assert after == before


def test_a_replay_is_not_paid_for_once_the_letter_of_its_other_delivery_was_recorded(
    desk: Desk, make_upload: MakeUpload
) -> None:
    """That one failed at S3 until it became a letter again, and claimed nothing; this one has seen the first letter."""
    desk.pay_in_vain(make_upload(), failed())
    desk.close(make_upload())
    desk.clock.move(60)
    sent = desk.clock.now
    account = desk.ledger.read(KEY, make_upload(), retried=True)

    def record(_: int) -> None:
        if desk.network.conditions[-1].startswith("holder = :seen_holder"):
            desk.network.before_call = lambda _: None
            desk.close(make_upload(), account=account, sent=sent)

    desk.network.before_call = record
    with pytest.raises(InProgress, match=IN_FLIGHT):
        desk.pay(make_upload(), sent=sent)
    assert desk.pay(make_upload(), sent=sent) is Outcome.DUPLICATE


def test_a_letter_ends_its_upload_though_the_clock_of_the_function_is_behind(
    desk: Desk, make_upload: MakeUpload
) -> None:
    desk.pay_in_vain(make_upload(), failed())
    desk.clock.move(-1)
    desk.close(make_upload())
    assert desk.pay(make_upload()) is Outcome.DUPLICATE
    assert desk.pay(make_upload(), sent=START + 0.001) == "https://result/2"


def test_any_key_has_a_letter(make_upload: MakeUpload) -> None:
    """EventBridge's events may have a lone surrogate."""
    names = {letter_of(make_upload(key)) for key in ("a.jpg", "\ud800.jpg", "\ud801.jpg")}
    assert len(names) == 3


def test_a_letter_is_recorded_by_one_call(desk: Desk, make_upload: MakeUpload) -> None:
    desk.pay_in_vain(make_upload(), no_result_url())
    account = desk.ledger.read(KEY, make_upload(), retried=True)
    before = len(desk.network.conditions)
    desk.close(make_upload(), account=account)
    assert len(desk.network.conditions) == before + 1


def test_a_letter_that_cost_nothing_writes_nothing_into_the_item_of_another_upload(
    desk: Desk, make_upload: MakeUpload
) -> None:
    """Else a pattern that gives all uploads one output key would make an item of any size."""
    desk.pay_in_vain(make_upload("photo.jpg"), refused())
    before = desk.item()
    desk.close(make_upload("photo.gif"), refused())
    assert desk.item() == before


def test_a_delivery_whose_letter_another_one_writes_meanwhile_does_not_claim(
    desk: Desk, make_upload: MakeUpload
) -> None:
    desk.pay_in_vain(make_upload(), failed())
    account = desk.ledger.read(KEY, make_upload(), retried=True)

    def write_letter(_: int) -> None:
        if desk.network.conditions[-1].startswith("holder = :seen_holder"):
            desk.network.before_call = lambda _: None
            desk.close(make_upload(), account=account)

    desk.network.before_call = write_letter
    with pytest.raises(InProgress, match=IN_FLIGHT):
        desk.pay(make_upload())
    assert desk.pay(make_upload()) is Outcome.DUPLICATE
    assert desk.till.calls == 1
