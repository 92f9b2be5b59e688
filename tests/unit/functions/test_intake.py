"""The intake is paused while no upload can succeed; one item says so to everybody, and the mapping follows it."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from remove_background.aws import Clients
from remove_background.caps import Caps, Part
from remove_background.deadline import Deadline
from remove_background.errors import (
    ApiKeyMissing,
    Billed,
    CutoutError,
    Forbidden,
    InProgress,
    InsufficientCredits,
    IntakePaused,
    InvalidApiKey,
    MalformedImage,
    OutOfTime,
    RateLimitExceeded,
    RequestRefused,
    ResultUnavailable,
    ServiceUnavailable,
    StorageUnavailable,
    UnexpectedError,
)
from remove_background.intake import (
    DISABLED_BY_HAND,
    FAILURES_ON_PROBATION,
    FUNCTION,
    IN_A_ROW_SECONDS,
    ITEM,
    OPERATOR,
    SWITCHING_SECONDS,
    Intake,
    IntakeItem,
    State,
    new_token,
)
from remove_background.rate_limiter import RateLimiter
from remove_background.uploads import Upload
from tests.unit.fakes import Clock, EventSourceMapping, as_stored, refusal

FAILURES_IN_A_ROW = 10

MakeUpload = Callable[..., Upload]


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("remove_background.intake.time", clock)
    monkeypatch.setattr("remove_background.rate_limiter.time", clock)
    monkeypatch.setattr("remove_background.deadline.time", clock)
    return clock


@pytest.fixture
def make_environment(clients: Clients) -> Callable[[], Intake]:
    """Each execution environment has an Intake of its own."""
    return lambda: Intake(clients.dynamodb, "ledger", FAILURES_IN_A_ROW)


@pytest.fixture
def intake(make_environment: Callable[[], Intake]) -> Intake:
    return make_environment()


@pytest.fixture
def item(clients: Clients) -> IntakeItem:
    return IntakeItem(clients.dynamodb, "ledger")


@pytest.fixture
def fail(make_upload: MakeUpload) -> Callable[..., bool]:
    """An upload of this name fails; whether that counts as an attempt."""

    def fail_one(intake: Intake, name: object, error: CutoutError | None = None) -> bool:
        return intake.report_failure(error or ServiceUnavailable("500"), make_upload(f"{name}.jpg"))

    return fail_one


@pytest.fixture
def pay(clients: Clients) -> Callable[[Intake], None]:
    """Reserves the slot of a paid call, as an environment does; raises what keeps it from that."""

    def reserve(intake: Intake) -> None:
        with RateLimiter(clients, "ledger", 1000, intake, Caps(None, None, "UTC")).slot(Deadline(100)):
            pass

    return reserve


@pytest.fixture
def fail_as_probe(pay: Callable[[Intake], None], fail: Callable[..., bool]) -> Callable[..., bool]:
    """The same, of the upload that may be paid for on probation."""

    def fail_one(intake: Intake, name: object, error: CutoutError | None = None) -> bool:
        pay(intake)
        counts = fail(intake, name, error)
        intake.release()
        return counts

    return fail_one


def refused_write(*, billed: Billed = Billed.YES) -> CutoutError:
    """S3 answers the PUT of a cutout with a 403."""
    error = StorageUnavailable("AccessDenied")
    error.is_its_own, error.billed = True, billed
    return error


def unreadable_upload() -> CutoutError:
    """S3 answers the GET of an upload with a 403, as for one in an archive."""
    error = StorageUnavailable("InvalidObjectState")
    error.is_its_own, error.may_be_general = True, False
    return error


def attributes(clients: Clients) -> dict[str, Any]:
    """The item as it is stored, without its key."""
    found = clients.dynamodb.get_item(TableName="ledger", Key=ITEM).get("Item", {})
    return as_stored({name: value for name, value in found.items() if name != "id"})


def put(clients: Clients, **values: dict[str, Any]) -> None:
    clients.dynamodb.put_item(TableName="ledger", Item={**ITEM, **values})


def reopen(item: IntakeItem) -> None:
    assert item.reopen(item.read(), new_token())


def pause_and_reopen(item: IntakeItem, clock: Clock) -> None:
    assert item.pause(FUNCTION, "insufficient_api_credits")
    clock.sleep(300)
    reopen(item)


# What pauses it


@pytest.mark.parametrize(
    "error", [InvalidApiKey("Wrong key."), InsufficientCredits("Buy some."), ApiKeyMissing("No key.")]
)
def test_a_blocked_account_pauses_it_at_once(
    intake: Intake, item: IntakeItem, clock: Clock, fail: Callable[..., bool], error: CutoutError
) -> None:
    assert not fail(intake, "a", error)
    seen = item.read()
    assert (seen.paused_by, seen.reason, seen.since) == (FUNCTION, error.code, clock.now)


def test_ten_uploads_that_fail_in_a_row_pause_it(intake: Intake, item: IntakeItem, fail: Callable[..., bool]) -> None:
    counted = [fail(intake, number) for number in range(FAILURES_IN_A_ROW - 1)]
    assert item.read().paused_by is None
    counted.append(fail(intake, "last"))
    assert counted == [True] * (FAILURES_IN_A_ROW - 1) + [False]
    assert (item.read().paused_by, item.read().reason) == (FUNCTION, "service_unavailable")


@pytest.mark.parametrize(
    "error", [ServiceUnavailable("500"), Forbidden("403"), ResultUnavailable("Down."), UnexpectedError("A bug.")]
)
def test_one_upload_that_fails_alone_never_pauses_it(
    intake: Intake, item: IntakeItem, fail: Callable[..., bool], error: CutoutError
) -> None:
    assert all(fail(intake, "odd", error) for _ in range(5 * FAILURES_IN_A_ROW))
    assert item.read().paused_by is None
    assert len(item.read().failing) == 1


def test_other_bytes_of_a_key_are_another_upload(
    intake: Intake, item: IntakeItem, make_upload: MakeUpload, fail: Callable[..., bool]
) -> None:
    for number in range(FAILURES_IN_A_ROW):
        intake.report_failure(ServiceUnavailable("500"), make_upload("a.jpg", etag=f"etag-{number}"))
    assert item.read().paused_by == FUNCTION


@pytest.mark.parametrize("error", [UnexpectedError("A bug."), Forbidden("403"), refused_write()])
def test_a_failure_that_may_be_the_uploads_own_counts_even_if_it_pauses_the_intake(
    intake: Intake, item: IntakeItem, fail: Callable[..., bool], error: CutoutError
) -> None:
    assert all(fail(intake, number, error) for number in range(FAILURES_IN_A_ROW))
    assert item.read().paused_by == FUNCTION
    assert fail(intake, "one more", error)


@pytest.mark.parametrize("error", [RequestRefused("400", "odd"), unreadable_upload(), MalformedImage("No image.")])
def test_a_failure_that_says_nothing_about_other_uploads_counts_but_never_pauses(
    intake: Intake, clients: Clients, fail: Callable[..., bool], error: CutoutError
) -> None:
    assert all(fail(intake, number, error) for number in range(3 * FAILURES_IN_A_ROW))
    assert attributes(clients) == {}


@pytest.mark.parametrize(
    "error", [InProgress("Later."), IntakePaused("Later."), OutOfTime("Later."), RateLimitExceeded("Later.")]
)
def test_waiting_neither_counts_nor_pauses(
    intake: Intake, clients: Clients, fail: Callable[..., bool], error: CutoutError
) -> None:
    assert not any(fail(intake, number, error) for number in range(3 * FAILURES_IN_A_ROW))
    assert attributes(clients) == {}


def test_a_message_that_is_not_an_upload_may_fail_too(intake: Intake, item: IntakeItem) -> None:
    assert intake.report_failure(UnexpectedError("A bug."), None)
    assert len(item.read().failing) == 1


def test_a_key_that_is_not_utf_8_may_fail_too(intake: Intake, item: IntakeItem, make_upload: MakeUpload) -> None:
    assert intake.report_failure(ServiceUnavailable("500"), make_upload("\ud800.jpg"))
    assert len(item.read().failing) == 1


def test_a_success_between_them_keeps_it_open(intake: Intake, item: IntakeItem, fail: Callable[..., bool]) -> None:
    for attempt in range(5):
        for number in range(FAILURES_IN_A_ROW - 1):
            assert fail(intake, f"{attempt}-{number}")
        intake.report_success()
        assert item.read().failing == frozenset()
    assert item.read().paused_by is None


def test_a_success_costs_no_call_where_nothing_has_failed(
    intake: Intake, clients: Clients, monkeypatch: pytest.MonkeyPatch, fail: Callable[..., bool]
) -> None:
    fail(intake, "a")
    intake.report_success()
    monkeypatch.setattr(clients, "dynamodb", None)
    monkeypatch.setattr(intake._item, "_dynamodb", None)
    intake.report_success()
    intake.release()
    intake.begin()
    intake.check()


def test_a_look_at_an_open_intake_does_not_keep_the_failures_in_a_row(
    intake: Intake, item: IntakeItem, clock: Clock, pay: Callable[[Intake], None], fail: Callable[..., bool]
) -> None:
    fail(intake, "a")
    pay(intake)
    clock.sleep(5.1)
    intake.check_again(0)
    intake.report_success()
    assert item.read().failing == frozenset()


def test_the_first_success_of_an_environment_costs_no_call(intake: Intake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake._item, "_dynamodb", None)
    intake.report_success()


def test_environments_count_together(
    make_environment: Callable[[], Intake], item: IntakeItem, fail: Callable[..., bool]
) -> None:
    fleet = [make_environment() for _ in range(5)]
    counted = [fail(fleet[number % 5], number) for number in range(FAILURES_IN_A_ROW)]
    assert counted == [True] * (FAILURES_IN_A_ROW - 1) + [False]
    assert item.read().paused_by == FUNCTION
    for intake in fleet:
        assert not fail(intake, "late")
        with pytest.raises(IntakePaused):
            intake.check()


def test_the_success_of_one_environment_that_failed_clears_the_count(
    make_environment: Callable[[], Intake], item: IntakeItem, fail: Callable[..., bool]
) -> None:
    one, other = make_environment(), make_environment()
    for number in range(FAILURES_IN_A_ROW - 1):
        fail(one, number)
    one.report_success()
    assert fail(other, "a")
    assert item.read().paused_by is None


def test_uploads_that_are_the_first_to_fail_at_the_same_time_are_all_counted(
    make_environment: Callable[[], Intake], item: IntakeItem, monkeypatch: pytest.MonkeyPatch, fail: Callable[..., bool]
) -> None:
    one, other = make_environment(), make_environment()
    update, calls = one._item.update, []

    def be_overtaken(*given: Any) -> State:  # noqa: ANN401
        calls.append(given)
        if len(calls) == 2:  # there was no row of failures to join
            fail(other, "b")
        return update(*given)

    monkeypatch.setattr(one._item, "update", be_overtaken)
    assert fail(one, "a")
    assert len(item.read().failing) == 2


@pytest.mark.parametrize(("seconds", "paused"), [(IN_A_ROW_SECONDS - 1, True), (IN_A_ROW_SECONDS + 1, False)])
def test_failures_that_are_far_apart_are_not_in_a_row(
    make_environment: Callable[[], Intake],
    item: IntakeItem,
    clock: Clock,
    fail: Callable[..., bool],
    seconds: float,
    paused: bool,
) -> None:
    gone = make_environment()
    for number in range(FAILURES_IN_A_ROW - 1):
        fail(gone, number)
    clock.sleep(seconds)
    assert fail(make_environment(), "last") is not paused
    assert (item.read().paused_by == FUNCTION) is paused
    assert paused or len(item.read().failing) == 1


def test_it_is_paused_once_by_uploads_that_fail_together(
    make_environment: Callable[[], Intake], item: IntakeItem, clock: Clock, fail: Callable[..., bool]
) -> None:
    fleet, began = [make_environment() for _ in range(3)], clock.now
    for number in range(9):
        fail(fleet[number % 3], number, InsufficientCredits("Buy some."))
        clock.sleep(1)
    seen = item.read()
    assert (seen.fruitless, seen.since) == (1, began)


def test_an_operators_pause_stays_the_operators(
    intake: Intake, item: IntakeItem, clients: Clients, fail: Callable[..., bool]
) -> None:
    item.pause(OPERATOR, "new prices")
    before = attributes(clients)
    fail(intake, "a", InsufficientCredits("Buy some."))
    assert attributes(clients) == before
    with pytest.raises(IntakePaused):
        intake.check()


def test_a_table_that_fails_keeps_it_open_and_says_so(
    clients: Clients, caplog: pytest.LogCaptureFixture, fail: Callable[..., bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("remove_background.intake.log.parent.propagate", True)
    intake = Intake(clients.dynamodb, "nowhere", FAILURES_IN_A_ROW)
    assert not fail(intake, "a", InsufficientCredits("Buy some."))
    assert set(caplog.messages) == {
        "The intake could not be paused (ResourceNotFoundException). The next failure does."
    }
    caplog.clear()
    intake.check()
    # DynamoDB's own failures are no upload's fault.
    assert not any(fail(intake, number) for number in range(FAILURES_IN_A_ROW))
    assert fail(intake, "a", refused_write())
    assert set(caplog.messages) == {"The state of the intake could not be written (ResourceNotFoundException)."}


def test_a_success_that_cannot_be_written_is_logged(
    intake: Intake, fail: Callable[..., bool], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("remove_background.intake.log.parent.propagate", True)
    fail(intake, "a")
    monkeypatch.setattr(intake._item, "_table", "nowhere")
    intake.report_success()
    assert set(caplog.messages) == {"The state of the intake could not be written (ResourceNotFoundException)."}


# What a pause is to the environments


def test_while_lambda_still_hands_out_messages_of_a_paused_intake_nothing_is_paid(
    intake: Intake, item: IntakeItem, fail: Callable[..., bool]
) -> None:
    intake.begin()
    intake.check()
    fail(intake, "a", InsufficientCredits("Buy some."))
    for _ in range(2):
        intake.begin()
        with pytest.raises(IntakePaused) as raised:
            intake.check()
        assert raised.value.is_paused
        assert str(raised.value) == "The intake is paused. The upload waits until it is reopened."
    reopen(item)
    intake.begin()
    intake.check()


def test_a_paused_intake_stays_paused_while_its_item_cannot_be_read(
    intake: Intake, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fail: Callable[..., bool]
) -> None:
    monkeypatch.setattr("remove_background.intake.log.parent.propagate", True)
    fail(intake, "a", InsufficientCredits("Buy some."))
    caplog.clear()
    monkeypatch.setattr(intake._item, "_table", "nowhere")
    intake.begin()
    with pytest.raises(IntakePaused):
        intake.check()
    assert set(caplog.messages) == {
        "DynamoDB did not let the function look whether the intake is open (ResourceNotFoundException)."
    }


@pytest.mark.parametrize("paused", [True, False])
def test_no_call_is_made_after_a_wait_in_which_the_intake_may_have_been_paused(
    intake: Intake,
    item: IntakeItem,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    pay: Callable[[Intake], None],
    *,
    paused: bool,
) -> None:
    pay(intake)
    if paused:
        item.pause(OPERATOR, "new prices")
    clock.sleep(5.1)
    with monkeypatch.context() as patched:
        patched.setattr(intake._item, "_table", "nowhere")
        for _ in range(2):
            with pytest.raises(StorageUnavailable, match="ResourceNotFoundException") as caught:
                intake.check_again(0)
            assert caught.value.billed is Billed.NO
    if paused:
        with pytest.raises(IntakePaused):
            intake.check_again(0)
    else:
        intake.check_again(0)


@pytest.mark.parametrize("by", [FUNCTION, OPERATOR])
@pytest.mark.parametrize("mapping", ["Enabled", "Disabling", "Enabling", "Disabled"])
def test_every_environment_stops_at_its_next_slot_whatever_state_the_mapping_is_in(
    make_environment: Callable[[], Intake],
    item: IntakeItem,
    clients: Clients,
    pay: Callable[[Intake], None],
    monkeypatch: pytest.MonkeyPatch,
    by: str,
    mapping: str,
) -> None:
    functions = EventSourceMapping()
    functions.state = mapping
    monkeypatch.setattr(Clients, "functions", property(lambda _: functions))
    fleet = [make_environment() for _ in range(3)]
    for intake in fleet:
        pay(intake)
    item.pause(by, "why")
    before = attributes(clients)
    for intake in fleet:
        with pytest.raises(IntakePaused) as raised:
            pay(intake)
        assert raised.value.is_paused
        with pytest.raises(IntakePaused):  # from now on before anything is read
            intake.check()
    assert attributes(clients) == before
    assert (functions.state, functions.updates, functions.refused) == (mapping, [], 0)


def test_failures_remembered_from_before_a_pause_do_not_count_after_it(
    make_environment: Callable[[], Intake], item: IntakeItem, clock: Clock, fail: Callable[..., bool]
) -> None:
    warm, other = make_environment(), make_environment()
    for number in range(FAILURES_IN_A_ROW - 1):
        fail(warm, number)
    fail(other, "a", InsufficientCredits("Buy some."))
    clock.sleep(300)
    reopen(item)
    probe(other, item, clock)
    other.report_success()
    warm.begin()
    assert fail(warm, "one upload")
    assert item.read().paused_by is None


def test_the_environment_that_paused_it_does_not_pause_it_again_at_its_first_failure(
    intake: Intake, item: IntakeItem, clock: Clock, fail: Callable[..., bool]
) -> None:
    for number in range(FAILURES_IN_A_ROW):
        fail(intake, number, ResultUnavailable("Down."))
    clock.sleep(300)
    reopen(item)
    intake.begin()
    for _ in range(5):
        assert fail(intake, 0, ResultUnavailable("Down."))
    assert item.read().paused_by is None


def test_uploads_that_fail_after_the_pause_was_written_do_not_count_after_it(
    make_environment: Callable[[], Intake], item: IntakeItem, clock: Clock, fail: Callable[..., bool]
) -> None:
    one, other = make_environment(), make_environment()
    fail(one, "a", InsufficientCredits("Buy some."))
    for number in range(FAILURES_IN_A_ROW):
        assert not fail(other, number)  # in flight
    clock.sleep(300)
    reopen(item)
    assert fail(other, "b")
    assert item.read().paused_by is None


# On probation


def probe(intake: Intake, item: IntakeItem, clock: Clock, seconds: float = 100) -> bool:
    """Whether an environment may make a paid call, as the rate limiter asks it."""
    answer = intake._item._dynamodb.get_item(TableName="ledger", Key=ITEM)["Item"]
    return intake.admit(answer, clock.now + seconds, Part())


def test_on_probation_a_failure_counts_and_a_few_uploads_that_fail_pause_it_again(
    make_environment: Callable[[], Intake], item: IntakeItem, clock: Clock, fail_as_probe: Callable[..., bool]
) -> None:
    pause_and_reopen(item, clock)
    cold = make_environment()
    counted = [fail_as_probe(cold, number) for number in range(FAILURES_ON_PROBATION)]
    assert counted == [True, True, False]
    seen = item.read()
    assert (seen.paused_by, seen.reason, seen.fruitless) == (FUNCTION, "service_unavailable", 2)


def test_on_probation_an_upload_begun_before_the_pause_counts_but_does_not_pause_it(
    make_environment: Callable[[], Intake], item: IntakeItem, clock: Clock, fail: Callable[..., bool]
) -> None:
    pause_and_reopen(item, clock)
    assert all(fail(make_environment(), number) for number in range(3 * FAILURES_IN_A_ROW))
    assert (item.read().paused_by, item.read().failing) == (None, frozenset())


def test_on_probation_an_upload_begun_as_it_was_reopened_counts_but_does_not_pause_it(
    make_environment: Callable[[], Intake], item: IntakeItem, clock: Clock, fail: Callable[..., bool]
) -> None:
    pause_and_reopen(item, clock)
    early, late = make_environment(), make_environment()
    early.begin()
    clock.sleep(1)
    late.begin()
    assert fail(late, "a")
    assert fail(early, "b", refused_write())
    assert (item.read().paused_by, len(item.read().failing)) == (None, 1)


def test_on_probation_an_upload_that_fails_alone_uses_up_its_attempts(
    make_environment: Callable[[], Intake], item: IntakeItem, clock: Clock, fail_as_probe: Callable[..., bool]
) -> None:
    pause_and_reopen(item, clock)
    assert all(fail_as_probe(make_environment(), "odd") for _ in range(5))
    assert item.read().paused_by is None


def test_on_probation_a_refused_write_pauses_it_at_once_and_counts(
    intake: Intake, item: IntakeItem, clock: Clock, fail_as_probe: Callable[..., bool]
) -> None:
    pause_and_reopen(item, clock)
    assert fail_as_probe(intake, "a", refused_write())
    assert (item.read().paused_by, item.read().reason) == (FUNCTION, "storage_unavailable")


@pytest.mark.parametrize("error", [refused_write(billed=Billed.NO), ResultUnavailable("Down.")])
def test_on_probation_nothing_else_pauses_it_at_once(
    intake: Intake, item: IntakeItem, clock: Clock, fail_as_probe: Callable[..., bool], error: CutoutError
) -> None:
    pause_and_reopen(item, clock)
    assert fail_as_probe(intake, "a", error)
    assert item.read().paused_by is None


def test_on_probation_uploads_that_fail_before_the_probe_pause_it_again(
    intake: Intake, item: IntakeItem, clock: Clock, fail: Callable[..., bool]
) -> None:
    """As when S3 fails, or the secret cannot be read: no upload gets as far as the probe."""
    pause_and_reopen(item, clock)
    clock.sleep(1)
    intake.begin()
    assert [fail(intake, name) for name in ("a", "a", "b", "c")] == [True, True, True, False]
    assert (item.read().paused_by, item.read().reason) == (FUNCTION, "service_unavailable")
    assert not fail(intake, "d")


def test_on_probation_a_refused_write_of_a_result_that_was_paid_before_pauses_it_at_once(
    intake: Intake, item: IntakeItem, clock: Clock, fail: Callable[..., bool]
) -> None:
    pause_and_reopen(item, clock)
    clock.sleep(1)
    intake.begin()
    assert fail(intake, "a", refused_write())
    assert item.read().paused_by == FUNCTION


def test_a_refused_write_alone_does_not_pause_an_open_intake(
    intake: Intake, item: IntakeItem, fail: Callable[..., bool]
) -> None:
    assert fail(intake, "a", refused_write())
    assert item.read().paused_by is None


def test_on_probation_no_second_call_is_paid_before_the_first_cutout_is_written(
    make_environment: Callable[[], Intake],
    item: IntakeItem,
    clients: Clients,
    clock: Clock,
    pay: Callable[[Intake], None],
) -> None:
    pause_and_reopen(item, clock)
    first, second = make_environment(), make_environment()
    pay(first)
    for _ in range(3):
        with pytest.raises(IntakePaused) as raised:
            pay(second)
        assert not raised.value.is_paused
        assert str(raised.value) == "The intake was reopened a moment ago. The upload waits for the first success."
        second.check()  # it is not paused
        clock.sleep(1)
    first.report_success()
    assert not {"reopened_at", "probe", "probe_until", "fruitless"} & set(attributes(clients))
    pay(second)
    pay(first)
    assert "probe" not in attributes(clients)


def test_when_the_probe_has_failed_another_upload_is_the_probe(
    make_environment: Callable[[], Intake], item: IntakeItem, clock: Clock, pay: Callable[[Intake], None]
) -> None:
    pause_and_reopen(item, clock)
    first, second, third = make_environment(), make_environment(), make_environment()
    pay(first)
    first.release()
    pay(second)
    first.release()  # has none to release
    with pytest.raises(IntakePaused):
        pay(third)


def test_a_killed_probe_is_waited_for_until_its_invocation_must_have_ended(
    make_environment: Callable[[], Intake], item: IntakeItem, clock: Clock, pay: Callable[[Intake], None]
) -> None:
    pause_and_reopen(item, clock)
    pay(make_environment())  # with 100 seconds left
    clock.sleep(100)
    with pytest.raises(IntakePaused):
        pay(make_environment())
    clock.sleep(10)
    pay(make_environment())


def test_an_upload_that_has_the_probe_may_make_its_call_again(
    intake: Intake,
    make_environment: Callable[[], Intake],
    item: IntakeItem,
    clock: Clock,
    pay: Callable[[Intake], None],
) -> None:
    pause_and_reopen(item, clock)
    pay(intake)
    pay(intake)  # with a key that was replaced: the first call was answered by a 401
    with pytest.raises(IntakePaused):
        pay(make_environment())
    intake.report_success()
    pay(make_environment())


def test_the_probe_belongs_to_the_thread_that_works_on_its_upload(
    intake: Intake, item: IntakeItem, clients: Clients, clock: Clock, pay: Callable[[Intake], None]
) -> None:
    pause_and_reopen(item, clock)
    pay(intake)
    refused = []

    def work_on_another() -> None:
        try:
            pay(intake)
        except IntakePaused as error:
            refused.append(error)
        intake.report_success()  # a result that was paid for before the pause
        intake.release()

    thread = threading.Thread(target=work_on_another)
    thread.start()
    thread.join()
    assert len(refused) == 1
    assert {"probe", "reopened_at"} <= set(attributes(clients))
    intake.report_success()
    assert not {"probe", "reopened_at"} & set(attributes(clients))


def test_a_success_that_was_paid_before_the_pause_does_not_end_the_probation(
    make_environment: Callable[[], Intake], item: IntakeItem, clock: Clock, fail: Callable[..., bool]
) -> None:
    late = make_environment()
    fail(late, "a")
    pause_and_reopen(item, clock)
    late.report_success()
    assert item.read().reopened_at is not None
    assert item.read().fruitless == 1


def test_a_success_that_was_paid_before_the_pause_does_not_clear_the_failures_of_the_probation(
    make_environment: Callable[[], Intake],
    item: IntakeItem,
    clock: Clock,
    fail: Callable[..., bool],
    fail_as_probe: Callable[..., bool],
) -> None:
    late = make_environment()
    fail(late, "a")
    fail(late, "b", InsufficientCredits("Buy some."))
    clock.sleep(300)
    reopen(item)
    fail_as_probe(make_environment(), "c")
    late.begin()
    late.report_success()
    assert len(item.read().failing) == 1


def test_a_pause_in_the_meantime_outlasts_the_probes_success(
    intake: Intake, item: IntakeItem, clock: Clock, pay: Callable[[Intake], None]
) -> None:
    pause_and_reopen(item, clock)
    pay(intake)
    item.pause(OPERATOR, "new prices")
    intake.report_success()
    seen = item.read()
    assert (seen.paused_by, seen.fruitless) == (OPERATOR, 1)


@pytest.mark.parametrize("end", ["report_success", "release"])
def test_the_probe_of_an_earlier_probation_frees_nothing(
    make_environment: Callable[[], Intake],
    item: IntakeItem,
    clock: Clock,
    pay: Callable[[Intake], None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    end: str,
) -> None:
    monkeypatch.setattr("remove_background.intake.log.parent.propagate", True)
    pause_and_reopen(item, clock)
    old, new = make_environment(), make_environment()
    pay(old)
    pause_and_reopen(item, clock)
    pay(new)
    getattr(old, end)()
    assert caplog.messages == []
    assert item.read().reopened_at is not None
    with pytest.raises(IntakePaused):
        pay(make_environment())


def test_without_an_answer_about_the_probe_nothing_is_paid(
    intake: Intake, item: IntakeItem, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    pause_and_reopen(item, clock)

    def lose(*_: object) -> bool:
        raise refusal("ThrottlingException", "UpdateItem")

    monkeypatch.setattr(intake._item, "take_probe", lose)
    with pytest.raises(StorageUnavailable, match="ThrottlingException"):
        probe(intake, item, clock)


def test_pauses_without_a_success_in_between_are_counted(
    intake: Intake, item: IntakeItem, clock: Clock, pay: Callable[[Intake], None]
) -> None:
    for number in (1, 2, 3):
        pause_and_reopen(item, clock)
        assert item.read().fruitless == number
    pay(intake)
    intake.report_success()
    assert item.read().fruitless == 0
    pause_and_reopen(item, clock)
    assert item.read().fruitless == 1
    item.pause(OPERATOR, "new prices")
    assert item.read().fruitless == 1  # an operator's are not
    reopen(item)
    assert item.read().fruitless == 0


# The item


def test_an_intake_whose_item_was_never_written_is_open(item: IntakeItem) -> None:
    assert item.read() == State()


def test_what_is_read_is_what_was_written(item: IntakeItem, clients: Clients) -> None:
    put(
        clients,
        paused_by={"S": "operator"},
        reason={"S": "new prices"},
        since={"N": "12.5"},
        reopened_at={"N": "13.5"},
        fruitless={"N": "3"},
        failing={"SS": ["a", "b"]},
        closed={"N": "12.5"},
        switching={"SS": ["1-c"]},
    )
    found = State("operator", "new prices", 12.5, 13.5, 3, frozenset({"a", "b"}), True, frozenset({"1-c"}))
    assert item.read() == found


def test_it_is_read_as_it_is_now(item: IntakeItem, clients: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []
    get_item = clients.dynamodb.get_item

    def get(**call: Any) -> Any:  # noqa: ANN401
        asked.append(call)
        return get_item(**call)

    monkeypatch.setattr(clients.dynamodb, "get_item", get)
    item.read()
    assert [call["ConsistentRead"] for call in asked] == [True]  # moto has no other reads


def test_a_pause_ends_a_probation(item: IntakeItem, clients: Clients, clock: Clock) -> None:
    put(
        clients,
        reopened_at={"N": "1"},
        probe={"S": "token"},
        probe_until={"N": "2"},
        failing={"SS": ["a"]},
        failed_at={"N": "1"},
        next_at={"N": "3"},
    )
    assert item.pause(OPERATOR, "new prices", "1-token")
    assert attributes(clients) == {
        "paused_by": {"S": OPERATOR},
        "reason": {"S": "new prices"},
        "since": {"N": "1800000000"},
        "switching": {"SS": ["1-token"]},
        "next_at": {"N": "3"},
    }


@pytest.mark.parametrize(
    ("first", "second", "owner"),
    [
        (FUNCTION, FUNCTION, (FUNCTION, "first")),
        (OPERATOR, FUNCTION, (OPERATOR, "first")),
        (OPERATOR, OPERATOR, (OPERATOR, "first")),
        (FUNCTION, OPERATOR, (OPERATOR, "second")),
    ],
)
def test_only_an_operator_takes_over_a_pause_and_only_the_functions(
    item: IntakeItem, clock: Clock, first: str, second: str, owner: tuple[str, str]
) -> None:
    began = clock.now
    assert item.pause(first, "first")
    clock.sleep(60)
    assert item.pause(second, "second") is (owner[1] == "second")
    seen = item.read()
    assert (seen.paused_by, seen.reason) == owner
    assert seen.since == (began if owner[1] == "first" else clock.now)


@pytest.mark.parametrize("reason", ["daily_cap", "monthly_cap"])
def test_the_function_takes_over_its_pause_at_a_cap(
    item: IntakeItem, clients: Clients, clock: Clock, reason: str
) -> None:
    """The mapping may be disabled for that pause already: it must not seem to have been disabled by hand."""
    item.pause_at_cap(reason, "attribute_not_exists(failing)", {})
    item.update("SET closed = since", {}, None)
    before, since = attributes(clients), clock.now
    clock.sleep(60)
    assert item.pause(FUNCTION, "invalid_auth_token")
    assert attributes(clients) == before | {"reason": {"S": "invalid_auth_token"}, "fruitless": {"N": "1"}}
    assert not item.pause(FUNCTION, "service_unavailable")
    seen = item.read()
    assert (seen.reason, seen.since, seen.closed, seen.is_at_cap) == ("invalid_auth_token", since, True, False)


def test_a_pause_at_a_cap_is_not_reopened_once_another_reason_was_found(item: IntakeItem, clients: Clients) -> None:
    item.pause_at_cap("daily_cap", "attribute_not_exists(failing)", {})
    seen = item.read()
    item.pause(FUNCTION, "invalid_auth_token")
    before = attributes(clients)
    assert not item.reopen(seen, new_token())
    assert attributes(clients) == before


def test_an_operators_pause_for_a_cap_is_not_taken_over(item: IntakeItem) -> None:
    """Somebody has written what the function writes."""
    item.pause(OPERATOR, "daily_cap")
    assert not item.pause(FUNCTION, "invalid_auth_token")
    assert item.read().paused_by == OPERATOR


def test_a_reopening_keeps_only_how_often_it_was_in_vain(item: IntakeItem, clients: Clients, clock: Clock) -> None:
    put(clients, failing={"SS": ["a"]}, failed_at={"N": "1"}, paused_by={"S": FUNCTION}, fruitless={"N": "1"})
    assert item.reopen(item.read(), "1-token")
    assert attributes(clients) == {
        "reopened_at": {"N": "1800000000"},
        "fruitless": {"N": "1"},
        "switching": {"SS": ["1-token"]},
    }


@pytest.mark.parametrize("by", [FUNCTION, OPERATOR])
def test_only_the_pause_that_was_seen_is_reopened(item: IntakeItem, clients: Clients, clock: Clock, by: str) -> None:
    item.pause(FUNCTION, "first")
    seen = item.read()
    reopen(item)
    clock.sleep(1)
    item.pause(by, "second")
    before = attributes(clients)
    assert not item.reopen(seen, new_token())
    assert attributes(clients) == before


def test_what_is_open_is_not_reopened(item: IntakeItem, clients: Clients) -> None:
    assert not item.reopen(item.read(), new_token())
    assert attributes(clients) == {}


def test_a_mapping_disabled_by_hand_becomes_the_operators_pause(item: IntakeItem, clock: Clock) -> None:
    assert item.adopt(item.read())
    seen = item.read()
    assert (seen.paused_by, seen.reason, seen.since) == (OPERATOR, DISABLED_BY_HAND, clock.now)


def test_a_mapping_disabled_by_hand_on_probation_becomes_the_operators_pause(
    item: IntakeItem, clients: Clients, clock: Clock
) -> None:
    pause_and_reopen(item, clock)
    clients.dynamodb.update_item(TableName="ledger", Key=ITEM, UpdateExpression="REMOVE switching")
    assert item.adopt(item.read())
    assert (item.read().paused_by, item.read().reopened_at) == (OPERATOR, None)


@pytest.mark.parametrize(
    "meanwhile",
    [
        {"paused_by": {"S": FUNCTION}},
        {"switching": {"SS": ["1-token"]}},
        {"reopened_at": {"N": "1"}},
    ],
)
@pytest.mark.parametrize("before", [{}, {"reopened_at": {"N": "2"}}])
def test_what_has_changed_since_it_was_seen_is_not_adopted(
    item: IntakeItem, clients: Clients, before: dict[str, Any], meanwhile: dict[str, Any]
) -> None:
    put(clients, **before)
    seen = item.read()
    put(clients, **{**before, **meanwhile})
    found = attributes(clients)
    assert not item.adopt(seen)
    assert attributes(clients) == found


@pytest.mark.parametrize(
    ("found", "taken"),
    [
        ({}, False),
        ({"reopened_at": {"N": "1"}}, True),
        ({"reopened_at": {"N": "1"}, "paused_by": {"S": OPERATOR}}, False),
        ({"reopened_at": {"N": "1"}, "probe": {"S": "other"}, "probe_until": {"N": "1800000001"}}, False),
        ({"reopened_at": {"N": "1"}, "probe": {"S": "other"}, "probe_until": {"N": "1799999999"}}, True),
        # It was applied, its answer was lost, and the SDK repeats it.
        ({"reopened_at": {"N": "1"}, "probe": {"S": "mine"}, "probe_until": {"N": "1800000001"}}, True),
    ],
)
def test_one_upload_at_a_time_is_the_probe(
    item: IntakeItem, clients: Clients, clock: Clock, found: dict[str, Any], taken: bool
) -> None:
    put(clients, **found)
    assert item.take_probe("mine", clock.now + 60, Part()) is taken
    assert (attributes(clients) == {**found, "probe": {"S": "mine"}, "probe_until": {"N": "1800000060"}}) is taken


def test_another_error_of_dynamodb_is_not_a_failed_condition(clients: Clients) -> None:
    nowhere = IntakeItem(clients.dynamodb, "nowhere")
    with pytest.raises(clients.dynamodb.exceptions.ResourceNotFoundException):
        nowhere.pause(OPERATOR, "new prices")


# The mapping follows


def settle(item: IntakeItem, mapping: EventSourceMapping, token: str | None = None, seconds: float = 60) -> bool:
    return item.settle(mapping, "uuid-1", token or new_token(), seconds)  # type: ignore[arg-type]


@pytest.mark.parametrize("reads", [0, 1, 5])
@pytest.mark.parametrize("state", ["Enabled", "Disabling", "Disabled", "Enabling", "Updating", "Creating"])
@pytest.mark.parametrize("paused", [True, False])
def test_the_mapping_follows_the_item_whatever_state_it_is_in(
    item: IntakeItem, clients: Clients, state: str, paused: bool, reads: int
) -> None:
    ends_as = {"Disabling": "Disabled", "Disabled": "Disabled"}.get(state, "Enabled")
    mapping = EventSourceMapping(ends_as, reads)
    mapping.begin(state, ends_as)
    if paused:
        item.pause(OPERATOR, "new prices")
    assert settle(item, mapping)
    assert mapping.state == ("Disabled" if paused else "Enabled")
    assert len(mapping.updates) <= 1
    assert not item.read().switching
    assert "switching" not in attributes(clients)


@pytest.mark.parametrize("code", ["ResourceInUseException", "ResourceConflictException", "TooManyRequestsException"])
def test_a_mapping_that_is_busy_is_waited_for(
    item: IntakeItem, clock: Clock, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    item.pause(OPERATOR, "new prices")
    mapping, began = EventSourceMapping(), clock.now
    update, refusals = mapping.update_event_source_mapping, [refusal(code)] * 3

    def refuse(**call: Any) -> None:  # noqa: ANN401
        if refusals:
            raise refusals.pop()
        update(**call)

    monkeypatch.setattr(mapping, "update_event_source_mapping", refuse)
    assert settle(item, mapping)
    assert mapping.state == "Disabled"
    assert 3 <= clock.now - began <= 10  # it rests in between


def test_a_mapping_that_stays_busy_is_left_to_the_next_run(item: IntakeItem, clock: Clock) -> None:
    item.pause(OPERATOR, "new prices")
    mapping, began = EventSourceMapping("Updating", reads=10_000), clock.now
    mapping.begin("Updating", "Enabled")
    assert not settle(item, mapping, "1800000000.000-mine", seconds=15)
    assert clock.now - began == pytest.approx(15, abs=1)
    assert item.read().switching == {"1800000000.000-mine"}  # so that the next run knows of it


def test_any_other_refusal_is_raised_and_leaves_the_token(item: IntakeItem, monkeypatch: pytest.MonkeyPatch) -> None:
    item.pause(OPERATOR, "new prices")
    mapping = EventSourceMapping()

    def refuse(**_: object) -> None:
        raise refusal("AccessDeniedException")

    monkeypatch.setattr(mapping, "update_event_source_mapping", refuse)
    token = new_token()
    with pytest.raises(type(refusal("")), match="AccessDeniedException"):
        settle(item, mapping, token)
    assert item.read().switching == {token}


def test_a_token_is_kept_for_as_long_as_the_mapping_is_switched(
    item: IntakeItem, monkeypatch: pytest.MonkeyPatch
) -> None:
    item.pause(OPERATOR, "new prices")
    mapping, token, seen = EventSourceMapping(reads=3), new_token(), []
    look = mapping.get_event_source_mapping

    def look_and_note(**call: Any) -> Any:  # noqa: ANN401
        seen.append(item.read().switching)
        return look(**call)

    monkeypatch.setattr(mapping, "get_event_source_mapping", look_and_note)
    assert settle(item, mapping, token)
    assert len(seen) > 3
    assert set(seen) == {frozenset({token})}


def test_only_tokens_of_switches_that_were_killed_are_removed(item: IntakeItem, clock: Clock) -> None:
    dead = new_token()
    item.update("ADD switching :tokens", {":tokens": {"SS": [dead]}}, None)
    clock.sleep(SWITCHING_SECONDS + 1)
    living = new_token()
    item.update("ADD switching :tokens", {":tokens": {"SS": [living]}}, None)
    assert settle(item, EventSourceMapping())
    assert item.read().switching == {living}


def test_an_item_that_changes_while_the_mapping_is_switched_is_followed(
    item: IntakeItem, monkeypatch: pytest.MonkeyPatch
) -> None:
    item.pause(OPERATOR, "new prices")
    mapping = EventSourceMapping()
    update = mapping.update_event_source_mapping

    def resume_meanwhile(**call: Any) -> None:  # noqa: ANN401
        update(**call)
        if not call["Enabled"]:
            reopen(item)

    monkeypatch.setattr(mapping, "update_event_source_mapping", resume_meanwhile)
    assert settle(item, mapping)
    assert (mapping.state, mapping.updates) == ("Enabled", [False, True])


def test_a_transition_into_the_wanted_state_is_not_begun_again(item: IntakeItem) -> None:
    item.pause(OPERATOR, "new prices")
    mapping = EventSourceMapping(reads=4)
    mapping.begin("Disabling", "Disabled")
    assert settle(item, mapping)
    assert (mapping.updates, mapping.refused) == ([], 0)


def test_ten_uploads_that_stop_the_function_pause_it(intake: Intake, item: IntakeItem, make_upload: MakeUpload) -> None:
    for number in range(FAILURES_IN_A_ROW):
        assert item.read().paused_by is None
        intake.report_stopped(make_upload(f"{number}.jpg"))
        intake.report_stopped(make_upload(f"{number}.jpg"))
    assert (item.read().paused_by, item.read().reason) == (FUNCTION, "unexpected_error")


def test_on_probation_one_upload_that_stops_the_function_does_not_pause_it(
    intake: Intake, item: IntakeItem, clock: Clock, pay: Callable[[Intake], None], make_upload: MakeUpload
) -> None:
    pause_and_reopen(item, clock)
    pay(intake)
    intake.report_stopped(make_upload())
    assert item.read().paused_by is None


@pytest.mark.parametrize(
    ("waited", "ahead", "notices"),
    [(4.8, 0, False), (5, 0, False), (5.1, 0, True), (4.8, 0.1, False), (4.9, 0.2, True)],
)
def test_a_call_that_waited_long_for_its_slot_checks_for_a_pause_meanwhile(
    intake: Intake,
    item: IntakeItem,
    clock: Clock,
    pay: Callable[[Intake], None],
    waited: float,
    ahead: float,
    notices: bool,
) -> None:
    pay(intake)
    item.pause(OPERATOR, "new prices")
    clock.sleep(waited)
    if notices:
        with pytest.raises(IntakePaused):
            intake.check_again(ahead)
    else:
        intake.check_again(ahead)


def test_an_environment_that_has_never_known_it_open_looks(intake: Intake, item: IntakeItem, clock: Clock) -> None:
    """Also where the machine, and so the monotonic clock, has only just started."""
    item.pause(OPERATOR, "new prices")
    clock.now = 5.1
    with pytest.raises(IntakePaused):
        intake.check_again(0)


def test_a_look_that_finds_it_open_is_trusted_like_a_slot(
    intake: Intake, item: IntakeItem, clock: Clock, pay: Callable[[Intake], None]
) -> None:
    pay(intake)
    clock.sleep(5.1)
    intake.check_again(0)
    item.pause(OPERATOR, "new prices")
    clock.sleep(4.8)
    intake.check_again(0)
    clock.sleep(0.3)
    with pytest.raises(IntakePaused):
        intake.check_again(0)


def test_a_call_that_waited_while_it_was_paused_and_reopened_needs_the_probe(
    intake: Intake, item: IntakeItem, clock: Clock, pay: Callable[[Intake], None]
) -> None:
    pay(intake)
    item.pause(FUNCTION, "service_unavailable")
    item.reopen(item.read(), "token")
    clock.sleep(5.1)
    for _ in range(2):  # all that wait, not only the one that looks first
        with pytest.raises(IntakePaused) as caught:
            intake.check_again(0)
        assert not caught.value.is_paused
    pay(intake)  # with the probe
    intake.check_again(0)


def test_a_thread_that_waits_does_not_call_because_another_one_has_the_probe(
    intake: Intake, item: IntakeItem, clock: Clock, pay: Callable[[Intake], None]
) -> None:
    """It reserved its slot before the pause."""
    pay(intake)
    clock.sleep(5.1)
    pause_and_reopen(item, clock)
    probe = threading.Thread(target=pay, args=[intake])
    probe.start()
    probe.join()
    with pytest.raises(IntakePaused) as caught:
        intake.check_again(0)
    assert not caught.value.is_paused


@pytest.mark.parametrize("call", ["slot", "look"])
def test_an_answer_that_took_long_says_nothing_about_now(
    intake: Intake,
    clients: Clients,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    pay: Callable[[Intake], None],
    call: str,
) -> None:
    """Somebody may have paused it since DynamoDB applied the call."""
    name = {"slot": "update_item", "look": "get_item"}[call]
    original = getattr(clients.dynamodb, name)

    def answer_late(**arguments: Any) -> Any:  # noqa: ANN401
        answer = original(**arguments)
        if "next_at" in answer.get("Attributes", {}) or name == "get_item":
            clock.sleep(5.1)
            monkeypatch.setattr(clients.dynamodb, name, original)
            IntakeItem(clients.dynamodb, "ledger").pause(OPERATOR, "new prices")
        return answer

    pay(intake)
    clock.sleep(5.1)
    monkeypatch.setattr(clients.dynamodb, name, answer_late)
    if call == "look":
        with pytest.raises(StorageUnavailable, match=r"^DynamoDB answered too slowly whether the intake is open\.$"):
            intake.check_again(0)
    with pytest.raises(IntakePaused):
        pay(intake)


@pytest.mark.parametrize("on_probation", [True, False])
def test_a_failure_that_does_not_count_costs_one_call(
    item: IntakeItem, clock: Clock, monkeypatch: pytest.MonkeyPatch, on_probation: bool
) -> None:
    pause_and_reopen(item, clock)
    if not on_probation:
        assert item.pause(FUNCTION, "service_unavailable")
    calls, update = [], item.update

    def count(*call: Any) -> State:  # noqa: ANN401
        calls.append(call)
        return update(*call)

    monkeypatch.setattr(item, "update", count)
    assert item.add_failure("a", None, 0.0) == item.read()
    assert len(calls) == 1
