import base64
import hashlib
import io
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, TypeAlias
from urllib.parse import quote_plus

import pytest
from botocore.client import BaseClient
from botocore.exceptions import ClientError

from cutout.operations import comparison, enqueue, follow, objects, rejections, threads
from cutout.operations import credits as balance
from cutout.operations.deployment import Deployment
from remove_background.aws import Clients
from remove_background.deadline import Deadline
from remove_background.errors import MalformedImage
from remove_background.letters import Letters, notification
from remove_background.models import Paid, Result, cutout_metadata
from remove_background.output_key import OutputKey
from remove_background.process_upload import BackgroundRemover
from remove_background.storage import Storage
from remove_background.uploads import Outcome, Upload, read_records, read_upload

Cutout: TypeAlias = Callable[..., Any]
Process: TypeAlias = Callable[[Upload], Outcome]
Refuse: TypeAlias = Callable[[Callable[[str], bool]], list[int]]
ODD_KEYS = ["été/a b+c%2Fd&é.jpg", "[red]\x1b[31m\n🐈.jpg", "a//b.jpg", "q\"uo'te\\.jpg"]


@pytest.fixture(autouse=True)
def _credits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(balance, "read", lambda _: 1_000_000.0)


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def deployed(deployed: Deployment) -> Deployment:
    """With its intake paused: a queue of moto would otherwise invoke the function itself."""
    (mapping,) = deployed.lambda_.list_event_source_mappings()["EventSourceMappings"]
    deployed.lambda_.update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
    return deployed


def put(aws: Deployment | Clients, key: str, body: bytes = b"image", **more: Any) -> Upload:  # noqa: ANN401
    answer = aws.s3.put_object(Bucket="input", Key=key, Body=body, **more)
    return Upload("input", key, answer["ETag"].strip('"'), answer.get("VersionId"), "0055", len(body))


def write_letter(deployed: Deployment, upload: Upload, *, moved: bool = False) -> None:
    """As the function does; one that SQS `moved` itself says no reason."""
    about = {"key": quote_plus(upload.key, safe="/"), "eTag": upload.etag}
    body = notification([{"s3": {"bucket": {"name": upload.bucket}, "object": about}}])
    if moved:
        deployed.sqs.send_message(QueueUrl=deployed.dead_letter_queue, MessageBody=body)
    else:
        Letters(deployed, deployed.dead_letter_queue).write(
            body, MalformedImage("The file is empty."), source=upload.uri, attempts=1, request_id="request"
        )


def put_cutout(deployed: Deployment, upload: Upload, key: str | None = None) -> None:
    deployed.s3.put_object(
        Bucket="output",
        Key=key or OutputKey("{stem}.png").of(upload.key),
        Body=b"png",
        Metadata=cutout_metadata(upload),
    )


def queued(deployed: Deployment) -> list[Upload]:
    """The uploads in the queue, as the function reads them."""
    found = []
    while messages := deployed.sqs.receive_message(QueueUrl=deployed.upload_queue, MaxNumberOfMessages=10).get(
        "Messages"
    ):
        found += [read_upload(record) for message in messages for record in read_records(message["Body"])]
    return [upload for upload in found if upload]


def test_an_input_without_a_current_cutout_is_enqueued_as_the_function_reads_it(
    deployed: Deployment, cutout: Cutout
) -> None:
    put_cutout(deployed, put(deployed, "done.jpg"))
    put_cutout(deployed, put(deployed, "stale.jpg", b"older"))
    stale, missing = put(deployed, "stale.jpg", b"newer"), put(deployed, "missing.jpg")
    odd = [put(deployed, key) for key in ODD_KEYS]
    call = cutout("backfill", "--yes", "--json")
    assert call.code == 0, call.err
    assert call.json == {
        "inputs": 7,
        "current": 1,
        "missing": 5,
        "stale": 1,
        "conflicts": 0,
        "too_long": 0,
        "archived": 0,
        "letters": 0,
        "rejected": 0,
        "letters_hidden": 0,
        "enqueued": 6,
        "credits_left": 1_000_000,
        "cap_plan": None,
        "became": None,
        "became_letters": None,
    }
    expected = [Upload("input", upload.key, upload.etag, size=upload.size) for upload in [stale, missing, *odd]]
    assert sorted(queued(deployed), key=lambda upload: upload.key) == sorted(expected, key=lambda upload: upload.key)


def test_nothing_is_enqueued_without_yes(deployed: Deployment, cutout: Cutout) -> None:
    put_cutout(deployed, put(deployed, "done.jpg"))
    put(deployed, "missing.jpg")
    call = cutout("backfill")
    assert (call.code, call.err) == (0, "")
    assert call.out.splitlines() == [
        "1 of 2 inputs have no current cutout (1 missing, 0 stale).",
        "Enqueuing 1 costs up to 1 credit; 1,000,000 are left.",
        "Nothing was enqueued: add --yes.",
    ]
    assert queued(deployed) == []


def test_nothing_is_left_to_do_when_every_input_has_its_cutout(deployed: Deployment, cutout: Cutout) -> None:
    put_cutout(deployed, put(deployed, "done.jpg"))
    assert cutout("backfill", "--yes").out == "1 of 1 inputs have a current cutout.\n"


@pytest.mark.parametrize("options", [[], ["--yes"], ["--prefix", "other/", "--yes"]])
def test_a_bucket_without_inputs_is_reported(deployed: Deployment, cutout: Cutout, options: list[str]) -> None:
    call = cutout("backfill", *options)
    assert (call.code, call.out, call.err) == (0, "There are no such inputs.\n", "")
    assert cutout("backfill", *options, "--json").json["inputs"] == 0


def test_an_input_that_has_its_cutout_by_then_is_not_enqueued_again(deployed: Deployment, cutout: Cutout) -> None:
    uploads = [put(deployed, f"{number}.jpg") for number in range(4)]
    assert cutout("backfill", "--yes").out.splitlines()[-1] == "4 of 4 were enqueued."
    queued(deployed)
    for upload in uploads[:3]:
        put_cutout(deployed, upload)
    assert cutout("backfill", "--yes").out.splitlines()[-1] == "1 of 1 were enqueued."


def test_every_page_of_the_listing_is_read(
    deployed: Deployment, cutout: Cutout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "10")
    monkeypatch.setattr(threads, "WINDOW", 7)
    uploads = [put(deployed, f"{number}.jpg") for number in range(45)]
    for upload in uploads[::2]:
        put_cutout(deployed, upload)
    assert cutout("backfill", "--yes").code == 0
    assert Counter(upload.key for upload in queued(deployed)) == Counter(upload.key for upload in uploads[1::2])


def test_folders_and_objects_under_another_prefix_are_not_inputs(deployed: Deployment, cutout: Cutout) -> None:
    put(deployed, "photos/", b"")
    for key in ("photos/a.jpg", "other/b.jpg"):
        put(deployed, key)
    assert cutout("backfill", "--prefix", "photos/", "--json").json["inputs"] == 1


def test_an_input_with_bytes_may_have_a_key_that_ends_in_a_slash(deployed: Deployment, cutout: Cutout) -> None:
    """As to the function, which makes a cutout of it."""
    upload = put(deployed, "photos/")
    assert cutout("backfill", "--yes", "--json").json["enqueued"] == 1
    assert [found.key for found in queued(deployed)] == [upload.key]


def test_an_input_that_the_function_would_reject_is_reported_and_not_enqueued(
    deployed: Deployment, cutout: Cutout
) -> None:
    put_cutout(deployed, put(deployed, "taken.jpg"))
    put(deployed, "taken.gif")
    put(deployed, "mine\x1b[31m.jpg")
    deployed.s3.put_object(Bucket="output", Key="mine\x1b[31m.png", Body=b"no cutout")
    put(deployed, "k" * 1022)
    found = cutout("backfill", "--yes", "--json").json
    assert (found["conflicts"], found["too_long"], found["enqueued"]) == (2, 1, 0)
    assert queued(deployed) == []
    out = cutout("backfill").out
    assert r"Not enqueued: 2 whose output key is taken" in out
    assert r": mine\x1b[31m.jpg, taken.gif" in out
    assert "Not enqueued: 1 whose output key would be longer" in out
    assert f"allows: {'k' * 60}[...]\n" in out


def test_an_input_with_a_letter_is_reported_and_not_enqueued(deployed: Deployment, cutout: Cutout) -> None:
    for number, key in enumerate(ODD_KEYS):
        write_letter(deployed, put(deployed, key), moved=bool(number % 2))
    put_cutout(deployed, put(deployed, "done.jpg"))
    write_letter(deployed, put(deployed, "done.jpg"))  # its cutout was there first
    older = put(deployed, "mended.jpg", b"older")
    write_letter(deployed, older)
    put(deployed, "mended.jpg", b"newer")
    deployed.sqs.send_message(QueueUrl=deployed.dead_letter_queue, MessageBody="hello")
    for _ in range(2):  # the letters are released each time
        call = cutout("backfill", "--yes", "--json")
        assert (call.code, call.json["letters"], call.json["letters_hidden"]) == (0, len(ODD_KEYS), 0)
        assert (call.json["current"], call.json["missing"], call.json["enqueued"]) == (1, 1, 1)
        assert [upload.key for upload in queued(deployed)] == ["mended.jpg"]
    assert "Not enqueued: 4 that have a letter (see `cutout letters list`): " in cutout("backfill").out


def note_rejected(deployed: Deployment, upload: Upload, etag: str | None = None) -> None:
    """As the function does, without the other attributes of the item."""
    item = {"id": f"rejected:{upload.uri}", "etag": etag or upload.etag, "code": "malformed_image"}
    deployed.dynamodb.put_item(TableName="ledger", Item={name: {"S": value} for name, value in item.items()})


def test_an_input_rejected_for_good_is_left_out_unless_it_is_to_be_retried(
    deployed: Deployment, cutout: Cutout
) -> None:
    for key in ODD_KEYS:
        note_rejected(deployed, put(deployed, key))
    put_cutout(deployed, put(deployed, "done.jpg"))
    note_rejected(deployed, put(deployed, "done.jpg"))  # its cutout has come since
    note_rejected(deployed, put(deployed, "mended.jpg", b"newer"), etag="that of older bytes")
    call = cutout("backfill", "--yes", "--json")
    assert (call.code, call.json["rejected"], call.json["current"]) == (0, len(ODD_KEYS), 1)
    assert (call.json["missing"], call.json["enqueued"]) == (1, 1)
    assert [upload.key for upload in queued(deployed)] == ["mended.jpg"]
    told = cutout("backfill").out
    assert "Not enqueued: 4 that were rejected for good (--retry-rejected takes them in): " in told
    call = cutout("backfill", "--yes", "--retry-rejected", "--json")
    assert (call.json["rejected"], call.json["enqueued"]) == (0, len(ODD_KEYS) + 1)
    assert {upload.key for upload in queued(deployed)} == {"mended.jpg", *ODD_KEYS}


def test_a_rejected_input_with_a_letter_counts_as_a_letter(deployed: Deployment, cutout: Cutout) -> None:
    upload = put(deployed, "photo.jpg")
    note_rejected(deployed, upload)
    write_letter(deployed, upload)
    found = cutout("backfill", "--json").json
    assert (found["letters"], found["rejected"]) == (1, 0)


def test_the_ledger_is_read_for_a_hundred_inputs_at_a_time(
    deployed: Deployment, cutout: Cutout, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    take = deployed.dynamodb.batch_get_item

    def leave_the_first(RequestItems: Any) -> Any:  # noqa: ANN401, N803
        (table, asked), *_ = RequestItems.items()
        first, *others = asked["Keys"]
        sizes.append(len(asked["Keys"]))
        if not others:
            return take(RequestItems=RequestItems)
        answer = take(RequestItems={table: asked | {"Keys": others}})
        return answer | {"UnprocessedKeys": {table: asked | {"Keys": [first]}}}

    monkeypatch.setattr(deployed.dynamodb, "batch_get_item", leave_the_first)
    monkeypatch.setattr(rejections, "PAUSE_SECONDS", 0)
    put_cutout(deployed, put(deployed, "done.jpg"))
    for number in range(102):
        note_rejected(deployed, put(deployed, f"{number}.jpg"))
    assert cutout("backfill", "--json").json["rejected"] == 102
    assert sizes == [100, 1, 2, 1]


def test_a_ledger_that_stays_throttled_ends_it_before_anything_is_enqueued(
    deployed: Deployment, cutout: Cutout, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(deployed, "photo.jpg")
    monkeypatch.setattr(
        deployed.dynamodb,
        "batch_get_item",
        lambda RequestItems: {"Responses": {}, "UnprocessedKeys": RequestItems},  # noqa: N803
    )
    monkeypatch.setattr(rejections, "PAUSE_SECONDS", 0)
    call = cutout("backfill", "--yes")
    assert (call.code, call.out) == (1, "")
    assert "or with --retry-rejected" in call.err
    assert queued(deployed) == []


def test_letters_that_another_command_reads_are_reported(deployed: Deployment, cutout: Cutout) -> None:
    write_letter(deployed, put(deployed, "photo.jpg"))
    deployed.sqs.receive_message(QueueUrl=deployed.dead_letter_queue)
    call = cutout("backfill", "--json")
    assert (call.json["letters"], call.json["letters_hidden"], call.json["missing"]) == (0, 1, 1)
    assert "1 letter could not be looked at" in call.err


def test_only_the_first_of_many_are_named(deployed: Deployment, cutout: Cutout) -> None:
    for number in range(4):
        put(deployed, f"{number}.jpg")
        deployed.s3.put_object(Bucket="output", Key=f"{number}.png", Body=b"no cutout")
    assert "is not a cutout: 0.jpg, 1.jpg, 2.jpg, ...\n" in cutout("backfill").out


def test_an_archived_input_is_not_enqueued_unless_it_was_restored(
    deployed: Deployment, cutout: Cutout, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(deployed, "archived.jpg", StorageClass="DEEP_ARCHIVE")
    put(deployed, "restored.jpg", StorageClass="GLACIER")
    put(deployed, "cool.jpg", StorageClass="GLACIER_IR")
    put_cutout(deployed, put(deployed, "done.jpg", StorageClass="GLACIER"))
    list_ = comparison._list

    def list_with_restored(*arguments: Any) -> Iterator[Any]:  # noqa: ANN401 # moto does not list what is restored
        for listed in list_(*arguments):
            restored = {"RestoreStatus": {"RestoreExpiryDate": "2100"}} if listed["Key"] == "restored.jpg" else {}
            yield listed | restored

    monkeypatch.setattr(comparison, "_list", list_with_restored)
    found = cutout("backfill", "--yes", "--json").json
    assert (found["archived"], found["current"], found["missing"]) == (1, 1, 2)
    assert {upload.key for upload in queued(deployed)} == {"restored.jpg", "cool.jpg"}


def test_the_pattern_of_the_deployed_stack_names_the_cutouts(deployed: Deployment, cutout: Cutout) -> None:
    deployed.lambda_.update_function_configuration(
        FunctionName=deployed.function, Environment={"Variables": {**deployed.settings, "OUTPUT_KEY": "{key}.cut"}}
    )
    upload = put(deployed, "photo.jpg")
    put_cutout(deployed, upload)
    assert cutout("backfill", "--json").json["missing"] == 1
    put_cutout(deployed, upload, "photo.jpg.cut")
    assert cutout("backfill", "--json").json["current"] == 1


@pytest.mark.parametrize(("prefix", "code", "inputs"), [("", 0, 2), ("in/a", 0, 1), ("in", 0, 2), ("out/", 2, 0)])
def test_only_inputs_that_the_stack_accepts_are_compared(
    deployed: Deployment, cutout: Cutout, prefix: str, code: int, inputs: int
) -> None:
    deployed.lambda_.update_function_configuration(
        FunctionName=deployed.function, Environment={"Variables": {**deployed.settings, "INPUT_PREFIX": "in/"}}
    )
    for key in ("in/a.jpg", "in/b.jpg", "out/a.jpg"):
        put(deployed, key)
    call = cutout("backfill", "--prefix", prefix, "--json")
    assert call.code == code
    assert not inputs or call.json["inputs"] == inputs


def test_nothing_is_enqueued_for_a_function_that_refuses_to_work(
    deployed: Deployment, cutout: Cutout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Deployment, "output_bucket", "input")
    put(deployed, "uploads/photo.jpg")
    for output_key, code in {"{stem}.png": 1, "cutouts/{name}.png": 0}.items():
        settings = {**deployed.settings, "INPUT_PREFIX": "uploads/", "OUTPUT_KEY": output_key}
        deployed.lambda_.update_function_configuration(
            FunctionName=deployed.function, Environment={"Variables": settings}
        )
        call = cutout("backfill", "--yes")
        assert (call.code, "an OutputKey" in call.err, len(queued(deployed))) == (code, code == 1, 1 - code)


def test_too_few_credits_and_a_queue_that_is_not_empty_are_reported(
    deployed: Deployment, cutout: Cutout, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        put(deployed, f"{number}.jpg")
    cutout("backfill", "--yes")
    monkeypatch.setattr(balance, "read", lambda _: 2.0)
    out = cutout("backfill").out
    assert "costs up to 3 credits; 2 are left." in out
    assert "Those may not do" in out
    assert "3 messages are in the queue already" in out


def test_unknown_credits_do_not_stop_it(deployed: Deployment, cutout: Cutout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(balance, "read", lambda _: "Pixelcut does not answer.")
    put(deployed, "photo.jpg")
    call = cutout("backfill", "--yes", "--json")
    assert "not known: Pixelcut does not answer." in call.err
    assert (call.json["credits_left"], call.json["enqueued"]) == (None, 1)


@pytest.mark.parametrize("end", ["cutout", "letter"])
def test_wait_follows_each_to_its_end(
    deployed: Deployment, cutout: Cutout, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    done, other = put(deployed, "été/a b.jpg"), put(deployed, "b.jpg")
    note = time.monotonic

    def rest(_: float) -> None:
        put_cutout(deployed, done)
        if end == "letter":
            write_letter(deployed, other)
        else:
            put_cutout(deployed, other)

    monkeypatch.setattr(follow, "time", SimpleNamespace(sleep=rest, monotonic=note))
    call = cutout("backfill", "--yes", "--wait")
    if end == "cutout":
        assert (call.code, call.out.splitlines()[-2:]) == (0, ["2 of 2 were enqueued.", "Of 2 uploads: 2 cutouts."])
    else:
        assert call.code == 1
        assert call.out.splitlines()[-1] == "Of 2 uploads: 1 cutout, 1 letter (1 malformed_image)."


@pytest.fixture
def refuse(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[str], bool]], list[int]]:
    """Makes SQS refuse messages out of batches, by their bodies; returns the sizes of the batches it gets."""
    sizes: list[int] = []
    call = BaseClient._make_api_call  # type: ignore[attr-defined]  # the one place that all calls pass

    def refuse_if(refused: Callable[[str], bool]) -> list[int]:
        def call_or_refuse(client: BaseClient, operation: str, given: dict[str, Any]) -> Any:  # noqa: ANN401
            if operation != "SendMessageBatch":
                return call(client, operation, given)
            sizes.append(len(given["Entries"]))
            failed = [entry for entry in given["Entries"] if refused(entry["MessageBody"])]
            if taken := [entry for entry in given["Entries"] if entry not in failed]:
                call(client, operation, given | {"Entries": taken})
            return {"Failed": [{"Id": entry["Id"], "Code": "InternalError"} for entry in failed]}

        monkeypatch.setattr(BaseClient, "_make_api_call", call_or_refuse)
        monkeypatch.setattr(enqueue, "PAUSE_SECONDS", 0)
        return sizes

    return refuse_if


def test_a_message_that_sqs_refuses_out_of_a_batch_is_sent_again(
    deployed: Deployment, cutout: Cutout, refuse: Refuse
) -> None:
    seen: set[str] = set()

    def refuse_some_once(body: str) -> bool:
        is_new = body not in seen
        seen.add(body)
        return is_new and "3.jpg" in body

    uploads = [put(deployed, f"{number}.jpg") for number in range(25)]
    sizes = refuse(refuse_some_once)
    call = cutout("backfill", "--yes")
    assert (call.code, call.out.splitlines()[-1]) == (0, "25 of 25 were enqueued.")
    assert sum(sizes) == 25 + 3
    assert Counter(upload.key for upload in queued(deployed)) == Counter(upload.key for upload in uploads)


def test_a_message_that_sqs_refuses_for_good_is_counted(deployed: Deployment, cutout: Cutout, refuse: Refuse) -> None:
    for number in range(12):
        put(deployed, f"{number}.jpg")
    sizes = refuse(lambda body: '"7.jpg"' in body)
    call = cutout("backfill", "--yes")
    assert (call.code, call.out.splitlines()[-1]) == (1, "11 of 12 were enqueued.")
    assert "SQS did not take 1 (InternalError)" in call.err
    assert sum(sizes) == 12 + enqueue.ATTEMPTS - 1
    assert len(queued(deployed)) == 11


@pytest.mark.parametrize(
    ("error", "code"),
    [(KeyboardInterrupt(), 130), (ClientError({"Error": {"Code": "Throttled"}}, "SendMessageBatch"), 1)],
)
def test_a_backfill_that_is_ended_says_how_many_were_enqueued(
    deployed: Deployment, cutout: Cutout, refuse: Refuse, error: BaseException, code: int
) -> None:
    def end(body: str) -> bool:
        if '"27.jpg"' in body:
            raise error
        return False

    for number in range(10, 60):
        put(deployed, f"{number}.jpg")
    refuse(end)
    call = cutout("backfill", "--yes", "--json")
    assert call.code == code
    assert call.json["enqueued"] == len(queued(deployed)) <= 40


def test_an_output_bucket_that_is_gone_is_no_reason_to_pay(deployed: Deployment, cutout: Cutout) -> None:
    put(deployed, "photo.jpg")
    deployed.s3.delete_bucket(Bucket="output")
    assert cutout("backfill", "--yes").code == 1
    assert queued(deployed) == []


def test_a_cutout_that_may_not_be_looked_at_ends_it(
    deployed: Deployment, cutout: Cutout, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise ClientError({"Error": {"Code": "403"}, "ResponseMetadata": {"HTTPStatusCode": 403}}, "HeadObject")  # type: ignore[typeddict-item]

    put(deployed, "photo.jpg")
    monkeypatch.setattr(objects, "find_cutout", refuse)
    call = cutout("backfill", "--yes")
    assert (call.code, "to call HeadObject" in call.err) == (1, True)


class Service:
    """Is paid, and has the result; while it is paid, something else may happen. It keeps no ledger."""

    def __init__(self) -> None:
        self.paid = 0
        self.meanwhile: Callable[[], object] = lambda: None

    def remove_background_of_url(self, image_url: str, deadline: Deadline) -> str:
        self.paid += 1
        self.meanwhile()
        return "https://result"

    def remove_background_of_image(self, image: Iterable[bytes], format_: str | None, deadline: Deadline) -> str:
        raise NotImplementedError

    @contextmanager
    def fetch(self, result_url: str, deadline: Deadline) -> Iterator[Result]:
        content = str(self.paid).encode()
        yield Result(io.BytesIO(content), len(content), base64.b64encode(hashlib.sha256(content).digest()).decode())

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
        standing: object,
    ) -> Paid:
        return Paid(pay())

    def note_unreplaced(self, output_key: str, paid: Paid) -> None:
        raise NotImplementedError

    def forget(self, output_key: str, upload: Upload, result_url: str, code: str) -> bool:
        raise NotImplementedError

    def check_nothing_in_flight(self, output_key: str) -> None:
        pass


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def process(clients: Clients, service: Service) -> Process:
    """What the function does with an upload, on the buckets in memory."""
    storage = Storage(clients.s3, "output")
    remover = BackgroundRemover(storage, service, service, service, OutputKey("{stem}.png"), 300)
    return lambda upload: remover.process(upload, 1_800_000_000.0, Deadline(60))


def put_image(clients: Clients, text: str, sequencer: str | None) -> Upload:
    """As its own event describes it; without a sequencer, as backfill does."""
    header = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (640).to_bytes(4) + (480).to_bytes(4) + b"\x08\x06\0\0\0"
    upload = put(clients, "photo.jpg", header + text.encode())
    return upload._replace(version_id=upload.version_id if sequencer else None, sequencer=sequencer)


def standing(clients: Clients) -> str:
    return clients.s3.head_object(Bucket="output", Key="photo.png")["Metadata"]["source-etag"]


# Of two uploads of a key, backfill may have enqueued either or both, and then there is no sequencer. None decides.
SEQUENCERS = pytest.mark.parametrize(
    ("first", "second"), [(None, "02"), ("01", None), (None, None), ("01", "02"), ("02", "01")]
)


@SEQUENCERS
def test_nothing_stale_wins_when_the_newer_is_done_first(
    clients: Clients, service: Service, process: Process, first: str | None, second: str | None
) -> None:
    older, newer = put_image(clients, "older", first), put_image(clients, "newer", second)
    assert process(newer) is Outcome.CUTOUT
    assert process(older) is Outcome.SUPERSEDED
    assert (standing(clients), service.paid) == (newer.etag, 1)


@SEQUENCERS
def test_nothing_stale_wins_when_the_newer_arrives_and_is_done_while_the_older_is_paid(
    clients: Clients, service: Service, process: Process, first: str | None, second: str | None
) -> None:
    def overwrite() -> None:
        service.meanwhile = lambda: None
        assert process(put_image(clients, "newer", second)) is Outcome.CUTOUT

    older = put_image(clients, "older", first)
    service.meanwhile = overwrite
    assert process(older) is Outcome.SUPERSEDED
    assert standing(clients) != older.etag


@SEQUENCERS
def test_the_newer_replaces_the_cutout_of_the_older(
    clients: Clients, process: Process, first: str | None, second: str | None
) -> None:
    assert process(put_image(clients, "older", first)) is Outcome.CUTOUT
    newer = put_image(clients, "newer", second)
    assert process(newer) is Outcome.CUTOUT
    assert standing(clients) == newer.etag


@SEQUENCERS
def test_the_same_upload_twice_is_paid_once(
    clients: Clients, service: Service, process: Process, first: str | None, second: str | None
) -> None:
    upload = put_image(clients, "image", first)
    assert process(upload) is Outcome.CUTOUT
    assert process(upload._replace(sequencer=second)) is Outcome.DUPLICATE
    assert service.paid == 1


def test_what_a_cap_lets_through_is_said_before(
    deployed: Deployment, cutout: Cutout, configure: Callable[..., None]
) -> None:
    configure(DAILY_CREDITS="2", CAP_TIME_ZONE="Europe/Berlin", CREDIT_PRICE="0.10 USD")
    for number in range(3):
        put(deployed, f"{number}.jpg")
    told = cutout("backfill").out
    assert "Enqueuing 3 costs up to 3 credits (0.30 USD); 1,000,000 (100,000.00 USD) are left.\n" in told
    assert "The cap will be reached: 2 today, 1 from tomorrow 00:00 Europe/Berlin, if nothing else spends" in told
    first, second = cutout("backfill", "--json").json["cap_plan"]
    assert first == {"credits": 2, "from": None}
    assert second["credits"] == 1
    assert "T00:00:00+0" in second["from"]


def test_a_cap_that_is_not_reached_is_not_mentioned(
    deployed: Deployment, cutout: Cutout, configure: Callable[..., None]
) -> None:
    configure(DAILY_CREDITS="2")
    put(deployed, "a.jpg")
    assert "cap" not in cutout("backfill").out
    assert cutout("backfill", "--json").json["cap_plan"] == [{"credits": 1, "from": None}]


def test_a_cap_that_is_not_known_does_not_stop_it(
    deployed: Deployment, cutout: Cutout, configure: Callable[..., None]
) -> None:
    configure(DAILY_CREDITS="2", CAP_TIME_ZONE="Mars/Olympus")
    put(deployed, "a.jpg")
    call = cutout("backfill", "--yes", "--json")
    assert "Whether a cap will be reached is not known: The caps of the stack cannot be read." in call.err
    assert (call.json["cap_plan"], call.json["enqueued"]) == (None, 1)
