"""Nothing is paid twice while its result can be had, and nothing that was billed is forgotten."""

from collections.abc import Callable

import pytest
from botocore.stub import Stubber

from remove_background.aws import Clients
from remove_background.deadline import Deadline
from remove_background.errors import Billed, InProgress, RateLimitExceeded, ServiceUnavailable, StorageUnavailable
from remove_background.ledger import LEASE_MARGIN, RESULT_SECONDS, Ledger
from remove_background.uploads import Upload

KEY = "photo.png"
MakeUpload = Callable[..., Upload]


class Till:
    """Pays, counts how often, and fails as it is told."""

    def __init__(self) -> None:
        self.paid = 0
        self.error: BaseException | None = None

    def __call__(self) -> str:
        if self.error:
            raise self.error
        self.paid += 1
        return f"https://result/{self.paid}"


@pytest.fixture
def till() -> Till:
    return Till()


@pytest.fixture
def ledger(clients: Clients) -> Ledger:
    return Ledger(clients.dynamodb, "ledger", note_credit=lambda _: None)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Moves the ledger's clock on by some seconds."""
    now = [1_800_000_000.0]
    monkeypatch.setattr("remove_background.ledger.time.time", lambda: now[0])

    def move(seconds: float) -> None:
        now[0] += seconds

    return move


def test_a_paid_result_is_reused_until_shortly_before_its_hour_ends(
    ledger: Ledger, till: Till, make_upload: MakeUpload, clock: Callable[[float], None]
) -> None:
    assert ledger.pay_once(KEY, make_upload(), till, Deadline(60)) == "https://result/1"
    clock(RESULT_SECONDS - 1)
    # A duplicate, a replay or a re-upload of the same bytes under the same key:
    same = make_upload(version_id="v2", sequencer="00FF")
    assert ledger.pay_once(KEY, same, till, Deadline(60)) == "https://result/1"
    clock(2)
    assert ledger.pay_once(KEY, make_upload(), till, Deadline(60)) == "https://result/2"


def test_other_bytes_and_other_keys_are_paid_for(ledger: Ledger, till: Till, make_upload: MakeUpload) -> None:
    for output_key, upload in (("a", make_upload()), ("a", make_upload(etag="b")), ("b", make_upload("b.jpg"))):
        ledger.pay_once(output_key, upload, till, Deadline(60))
    assert till.paid == 3


@pytest.mark.parametrize("other", [{"key": "photo.gif"}, {"bucket": "other"}])
def test_another_upload_of_an_output_key_waits_while_one_is_paid_for_and_about_to_be_its_cutout(
    ledger: Ledger, till: Till, clock: Callable[[float], None], make_upload: MakeUpload, other: dict[str, str]
) -> None:
    def pay() -> str:
        with pytest.raises(InProgress):
            ledger.pay_once(KEY, make_upload(**other), till, Deadline(60))
        return "https://result/of-the-first"

    url = ledger.pay_once(KEY, make_upload(), pay, Deadline(60))
    with pytest.raises(InProgress):
        ledger.pay_once(KEY, make_upload(**other), till, Deadline(60))
    assert ledger.pay_once(KEY, make_upload(), till, Deadline(60)) == url
    clock(RESULT_SECONDS + 1)
    assert ledger.pay_once(KEY, make_upload(**other), till, Deadline(60)) == "https://result/1"


def test_each_version_of_an_upload_has_its_own_result(ledger: Ledger, till: Till, make_upload: MakeUpload) -> None:
    old, new = make_upload(etag="old"), make_upload(etag="new")
    assert ledger.pay_once(KEY, old, till, Deadline(60)) == "https://result/1"
    assert ledger.pay_once(KEY, new, till, Deadline(60)) == "https://result/2"
    assert ledger.pay_once(KEY, new, till, Deadline(60)) == "https://result/2"
    assert ledger.pay_once(KEY, old, till, Deadline(60)) == "https://result/3"


def test_a_result_of_other_bytes_is_not_taken_for_that_of_a_call_that_was_killed(
    ledger: Ledger, till: Till, clock: Callable[[float], None], make_upload: MakeUpload
) -> None:
    old, new = make_upload(etag="old"), make_upload(etag="new")
    ledger.pay_once(KEY, old, till, Deadline(60))
    till.error = KeyboardInterrupt()  # as if it was killed: the lease stays
    with pytest.raises(KeyboardInterrupt):
        ledger.pay_once(KEY, new, till, Deadline(60))
    till.error = None
    clock(60 + LEASE_MARGIN + 1)
    assert ledger.pay_once(KEY, new, till, Deadline(60)) == "https://result/2"


def test_what_was_gone_of_other_bytes_does_not_count(ledger: Ledger, till: Till, make_upload: MakeUpload) -> None:
    old, new = make_upload(etag="old"), make_upload(etag="new")
    for upload in (old, new):
        assert ledger.forget(KEY, ledger.pay_once(KEY, upload, till, Deadline(60))) == 1
        assert ledger.forget(KEY, ledger.pay_once(KEY, upload, till, Deadline(60))) == 2


def test_what_an_upload_has_cost_that_another_took_the_place_of_is_not_known(
    ledger: Ledger, till: Till, make_upload: MakeUpload
) -> None:
    ledger.pay_once(KEY, make_upload(etag="old"), till, Deadline(60))
    ledger.pay_once(KEY, make_upload(etag="new"), till, Deadline(60))
    assert ledger.read_billed(KEY, make_upload(etag="old")) is Billed.MAYBE


def test_while_one_delivery_pays_the_other_waits(ledger: Ledger, till: Till, make_upload: MakeUpload) -> None:
    def pay() -> str:
        with pytest.raises(InProgress):
            ledger.pay_once(KEY, make_upload(), till, Deadline(60))
        return "https://result/of-the-first"

    assert ledger.pay_once(KEY, make_upload(), pay, Deadline(60)) == "https://result/of-the-first"
    assert till.paid == 0


def test_what_was_killed_can_be_paid_for_when_its_time_is_over(
    ledger: Ledger, till: Till, make_upload: MakeUpload, clock: Callable[[float], None]
) -> None:
    class KilledError(BaseException):
        pass

    till.error = KilledError()
    with pytest.raises(KilledError):
        ledger.pay_once(KEY, make_upload(), till, Deadline(60))
    till.error = None
    with pytest.raises(InProgress):
        ledger.pay_once(KEY, make_upload(), till, Deadline(60))
    clock(60 + LEASE_MARGIN + 1)
    assert ledger.pay_once(KEY, make_upload(), till, Deadline(60)) == "https://result/1"


def test_what_a_call_that_was_killed_has_cost_is_not_known(
    ledger: Ledger, till: Till, make_upload: MakeUpload, clock: Callable[[float], None]
) -> None:
    till.error = KeyboardInterrupt()  # as if it was killed: the lease stays
    with pytest.raises(KeyboardInterrupt):
        ledger.pay_once(KEY, make_upload(), till, Deadline(60))
    assert ledger.read_billed(KEY, make_upload()) is Billed.MAYBE
    clock(60 + LEASE_MARGIN + 1)
    till.error = RateLimitExceeded("Later.")
    with pytest.raises(RateLimitExceeded) as refused:
        ledger.pay_once(KEY, make_upload(), till, Deadline(60))
    assert refused.value.billed is Billed.MAYBE


def test_a_failed_call_may_be_tried_again_at_once(ledger: Ledger, till: Till, make_upload: MakeUpload) -> None:
    till.error = RateLimitExceeded("Later.")
    with pytest.raises(RateLimitExceeded):
        ledger.pay_once(KEY, make_upload(), till, Deadline(60))
    till.error = None
    assert ledger.pay_once(KEY, make_upload(), till, Deadline(60)) == "https://result/1"


def test_what_earlier_calls_may_have_cost_is_remembered(ledger: Ledger, till: Till, make_upload: MakeUpload) -> None:
    lost, refused = ServiceUnavailable("No answer."), RateLimitExceeded("Later.")
    lost.billed = Billed.MAYBE
    for till.error in (lost, refused):
        with pytest.raises((ServiceUnavailable, RateLimitExceeded)):
            ledger.pay_once(KEY, make_upload(), till, Deadline(60))
    assert refused.billed is Billed.MAYBE


def test_a_result_that_was_paid_for_and_is_over_was_billed(
    ledger: Ledger, till: Till, make_upload: MakeUpload, clock: Callable[[float], None]
) -> None:
    ledger.pay_once(KEY, make_upload(), till, Deadline(60))
    clock(RESULT_SECONDS + 1)
    till.error = RateLimitExceeded("Later.")
    with pytest.raises(RateLimitExceeded):
        ledger.pay_once(KEY, make_upload(), till, Deadline(60))
    assert till.error.billed is Billed.YES


def test_a_forgotten_result_is_paid_again(ledger: Ledger, till: Till, make_upload: MakeUpload) -> None:
    url = ledger.pay_once(KEY, make_upload(), till, Deadline(60))
    assert ledger.forget(KEY, url) == 1
    assert (url := ledger.pay_once(KEY, make_upload(), till, Deadline(60))) == "https://result/2"
    assert ledger.forget(KEY, url) == 2


def test_a_newer_result_is_not_forgotten_for_an_older_one(ledger: Ledger, till: Till, make_upload: MakeUpload) -> None:
    old = ledger.pay_once(KEY, make_upload(), till, Deadline(60))
    ledger.forget(KEY, old)
    new = ledger.pay_once(KEY, make_upload(), till, Deadline(60))
    assert ledger.forget(KEY, old) == 0
    assert ledger.pay_once(KEY, make_upload(), till, Deadline(60)) == new


def test_nothing_is_paid_when_the_ledger_cannot_be_read(clients: Clients, till: Till, make_upload: MakeUpload) -> None:
    with pytest.raises(StorageUnavailable, match="ResourceNotFoundException"):
        Ledger(clients.dynamodb, "nowhere", print).pay_once(KEY, make_upload(), till, Deadline(60))
    assert till.paid == 0


def test_a_paid_result_is_used_though_the_ledger_cannot_be_written(
    clients: Clients, ledger: Ledger, make_upload: MakeUpload, caplog: pytest.LogCaptureFixture
) -> None:
    def pay() -> str:
        clients.dynamodb.delete_table(TableName="ledger")
        return "https://result/5ec4e7"

    assert ledger.pay_once(KEY, make_upload(), pay, Deadline(60)) == "https://result/5ec4e7"
    assert "could not be written (ResourceNotFoundException)" in caplog.text
    assert "5ec4e7" not in caplog.text


def test_items_end_by_themselves(clients: Clients, ledger: Ledger, till: Till, make_upload: MakeUpload) -> None:
    ledger.pay_once(KEY, make_upload(), till, Deadline(60))
    (item,) = clients.dynamodb.scan(TableName="ledger")["Items"]
    lasts = float(item["expires"]["N"]) - float(item["valid_until"]["N"])
    assert 13 * 86_400 < lasts < 14 * 86_400
    assert "lease" not in item


def test_a_throttled_ledger_keeps_the_upload(clients: Clients, till: Till, make_upload: MakeUpload) -> None:
    with Stubber(clients.dynamodb) as stub:
        stub.add_client_error("update_item", "ThrottlingException", http_status_code=400)
        with pytest.raises(StorageUnavailable, match="ThrottlingException"):
            Ledger(clients.dynamodb, "ledger", print).pay_once(KEY, make_upload(), till, Deadline(60))


def test_what_was_billed_can_be_read(clients: Clients, ledger: Ledger, till: Till, make_upload: MakeUpload) -> None:
    assert ledger.read_billed(KEY, make_upload()) is Billed.NO
    ledger.pay_once(KEY, make_upload(), till, Deadline(60))
    assert ledger.read_billed(KEY, make_upload()) is Billed.YES
    assert Ledger(clients.dynamodb, "nowhere", print).read_billed(KEY, make_upload()) is Billed.MAYBE


def test_each_credit_is_noted_with_what_was_billed_before(
    clients: Clients, till: Till, make_upload: MakeUpload
) -> None:
    noted: list[Billed] = []
    ledger = Ledger(clients.dynamodb, "ledger", noted.append)
    till.error = ServiceUnavailable("Lost.")
    till.error.billed = Billed.MAYBE
    with pytest.raises(ServiceUnavailable):
        ledger.pay_once(KEY, make_upload(), till, Deadline(60))
    assert noted == []
    till.error = None
    url = ledger.pay_once(KEY, make_upload(), till, Deadline(60))
    ledger.pay_once(KEY, make_upload(), till, Deadline(60))  # the same result: nothing is charged
    ledger.forget(KEY, url)
    ledger.pay_once(KEY, make_upload(), till, Deadline(60))
    ledger.pay_once("other.png", make_upload("other.jpg"), till, Deadline(60))
    assert noted == [Billed.MAYBE, Billed.YES, Billed.NO]
