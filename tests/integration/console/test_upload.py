"""The requests of the page Upload, with S3 in memory."""

import json
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from flask.testing import FlaskClient
from moto import mock_aws
from PIL import Image

from cutout.console import app, upload
from cutout.console.changes import Changes
from cutout.console.safety import Gate
from cutout.console.stack import Stack
from cutout.console.watch import Seen
from cutout.operations import credits as balance
from cutout.operations import intake as stack_intake
from cutout.operations.deployment import Deployment
from cutout.operations.files import Became, File
from cutout.operations.intake import Intake
from cutout.operations.send import FAILURES_IN_A_ROW
from remove_background.intake import IntakeItem, State
from remove_background.preflight import HEAD_BYTES

PORT = 1234
URL = f"http://127.0.0.1:{PORT}"
OUTPUTS = {
    "InputBucketName": "input",
    "OutputBucketName": "output",
    "UploadQueueUrl": "https://sqs.test/1/uploads",
    "DeadLetterQueueUrl": "https://sqs.test/1/letters",
    "FunctionName": "remove-background",
}
TEXT = b"Not an image."


class Follower:
    """One that learns nothing."""

    trouble = None

    def __init__(self, *_: object) -> None:
        self.followed: list[File] = []

    def add(self, file: File) -> None:
        self.followed.append(file)

    def look(self) -> Seen:
        return Seen(None, None, None, moves=False)

    @property
    def is_waiting(self) -> bool:
        return bool(self.followed)


@dataclass
class Page:
    client: FlaskClient
    s3: Any
    log: Path
    contents: dict[str, list[bytes]] = field(default_factory=dict)

    def ask(self, path: str, *, method: str = "POST", **options: Any) -> Any:  # noqa: ANN401
        headers = {"Sec-Fetch-Site": "same-origin", "Accept": "application/json"}
        return self.client.open(f"/upload/{path}", method=method, headers=headers, base_url=URL, **options)

    def show(self, query: str = "") -> str:
        return self.client.get(f"/upload{query}", base_url=URL).text

    def name(self, files: Sequence[tuple[str, bytes]], prefix: str = "") -> Any:  # noqa: ANN401
        """The answer to a list of names."""
        listed = [[path, len(content), 1_700_000_000_000] for path, content in files]
        return self.ask("check", json={"prefix": prefix, "files": listed})

    def check(self, files: Sequence[tuple[str, bytes]], prefix: str = "") -> str:
        """The id of the batch, of which each file is checked."""
        answer = self.name(files, prefix)
        assert answer.status_code == 200, answer.json
        found = answer.json
        contents = [files[at][1] for at in found["kept"]]
        self.contents[found["id"]] = contents
        assert self.heads(found["id"], *((at, contents[at][:HEAD_BYTES]) for at in found["wanted"])) == 204
        return str(found["id"])

    def heads(self, batch: str, *heads: tuple[int, bytes]) -> int:
        body = b"".join(struct.pack(">II", number, len(head)) + head for number, head in heads)
        return int(self.ask(f"heads?batch={batch}", data=body).status_code)

    def offer(self, batch: str) -> str:
        answer = self.ask(f"offer?batch={batch}", method="GET")
        assert answer.status_code == 200, answer.text
        return " ".join(answer.text.split())

    def agree(self, batch: str) -> list[int]:
        answer = self.ask(f"agree?batch={batch}")
        assert answer.status_code == 200
        return list(answer.json["unsent"])

    def send(self, batch: str, number: int, body: bytes | None = None) -> Any:  # noqa: ANN401
        content = self.contents[batch][number] if body is None else body
        return self.ask(f"file?batch={batch}&number={number}", data=content)

    def states(self, batch: str) -> dict[str, str]:
        tiles = self.ask(f"changes?batch={batch}", method="GET").json["tiles"]
        return {tile["path"]: tile["state"] for tile in tiles}

    @property
    def noted(self) -> list[tuple[str, int]]:
        lines = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [(line["action"], line["count"]) for line in lines]

    @property
    def keys(self) -> list[str]:
        return [found["Key"] for found in self.s3.list_objects_v2(Bucket="input").get("Contents", [])]


@pytest.fixture
def picture(tmp_path: Path) -> bytes:
    path = tmp_path / "red.png"
    Image.new("RGB", (64, 64), "red").save(path)
    return path.read_bytes()


@pytest.fixture
def open_page(tmp_path: Path, aws_environment: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Page]]:
    monkeypatch.setattr(upload, "Follower", Follower)
    monkeypatch.setattr(balance, "read", lambda _: 100.0)
    monkeypatch.setattr(stack_intake, "read", lambda _: Intake(None))
    with mock_aws():
        s3 = boto3.client("s3")
        s3.create_bucket(Bucket="input", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})

        def open_page(*, prefix: str = "", read_only: bool = False, **settings: str) -> Page:
            deployed = Deployment("cutout", OUTPUTS, lambda _: s3)
            deployed.__dict__["settings"] = {"INPUT_PREFIX": prefix, "OUTPUT_KEY": "{stem}.png"} | settings
            gate = Gate(PORT, lambda _: None, read_only=read_only)
            log = tmp_path / "console.log"
            flask = app.make_app(Stack("cutout", lambda: deployed), gate, Changes(log, "cutout"), read_only=read_only)
            client = flask.test_client()
            assert client.get(gate.address.removeprefix(URL), base_url=URL).status_code == 303
            return Page(client, s3, log)

        yield open_page


@pytest.fixture
def page(open_page: Callable[..., Page]) -> Page:
    return open_page()


def test_a_folder_is_checked_agreed_to_and_sent(page: Page, picture: bytes) -> None:
    files = [
        ("photos/a.png", picture),
        ("photos/.DS_Store", b"hidden"),
        ("photos/a.jpg", picture),
        ("photos/<b>.txt", TEXT),
        ("photos/empty.png", b""),
        ("photos/trip/c.webp", picture),
    ]
    batch = page.check(files, "2024")
    offer = page.offer(batch)
    assert "2 files can never become cutouts, and are left out:" in offer
    assert "<code>photos/&lt;b&gt;.txt</code>: The file is not an image." in offer
    assert "Left out of folders: 1 hidden." in offer
    assert f"To be sent: 3 files, {3 * len(picture)} bytes, to s3://input/2024/a.png and so on." in offer
    assert "Only one of these can become 2024/a.png, the others letters: 2024/a.png, 2024/a.jpg." in offer
    assert "That may cost up to 3 credits; 100 are left. Files whose cutout is there already cost nothing." in offer
    assert page.keys == []
    unsent = page.agree(batch)
    assert page.noted == [("upload", 3)]
    for number in unsent:
        assert page.send(batch, number).json == {"sent": True, "reason": None}
    assert page.keys == ["2024/a.jpg", "2024/a.png", "2024/trip/c.webp"]
    assert page.s3.head_object(Bucket="input", Key="2024/trip/c.webp")["ContentType"] == "image/webp"
    assert page.s3.get_object(Bucket="input", Key="2024/a.png")["Body"].read() == picture
    assert page.states(batch) == {
        "photos/a.png": "sent",
        "photos/a.jpg": "sent",
        "photos/<b>.txt": "left_out",
        "photos/empty.png": "left_out",
        "photos/trip/c.webp": "sent",
    }
    assert page.noted == [("upload", 3), ("upload ended", 3)]


def test_what_it_costs_in_money_and_what_has_to_wait_for_a_cap_are_said_first(
    open_page: Callable[..., Page], picture: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(IntakeItem, "read", lambda _: State())
    page = open_page(DAILY_CREDITS="2", CAP_TIME_ZONE="Europe/Berlin", LEDGER_TABLE="ledger", CREDIT_PRICE="0.10 USD")
    offer = page.offer(page.check([(f"{number}.png", picture) for number in range(3)]))
    assert "That may cost up to 3 credits (0.30 USD); 100 (10.00 USD) are left." in offer
    sentence = "The cap will be reached: 2 today, 1 from tomorrow 00:00 Europe/Berlin, if nothing else spends credits."
    assert sentence in offer
    assert "The cap" not in page.offer(page.check([("a.png", picture)]))


def test_a_cap_that_this_machine_cannot_reckon_is_said_so(open_page: Callable[..., Page], picture: bytes) -> None:
    page = open_page(DAILY_CREDITS="2", CAP_TIME_ZONE="Mars/Olympus")
    offer = page.offer(page.check([("a.png", picture)]))
    assert "Whether a cap will be reached is not known: " in offer
    assert "Send 1 file?" in offer


def test_only_what_has_changed_is_told(page: Page, picture: bytes) -> None:
    batch = page.check([("a.png", picture), ("b.png", picture)])
    page.agree(batch)
    first = page.ask(f"changes?batch={batch}&since=-1", method="GET")
    assert len(first.json["tiles"]) == 2
    assert first.headers["Next-Look-Milliseconds"] == "1000"
    again = page.ask(f"changes?batch={batch}&since={first.json['position']}", method="GET").json
    assert again["tiles"] == []
    page.send(batch, 1)
    (tile,) = page.ask(f"changes?batch={batch}&since={again['position']}", method="GET").json["tiles"]
    assert (tile["number"], tile["state"], tile["key"], tile["output_key"]) == (1, "sent", "b.png", "b.png")


def test_nothing_is_sent_before_somebody_has_agreed(page: Page, picture: bytes) -> None:
    batch = page.check([("a.png", picture)])
    for path in (f"file?batch={batch}&number=0", f"end?batch={batch}", f"again?batch={batch}"):
        assert page.ask(path, data=picture).status_code == 409
    assert page.keys == []


def test_an_offer_is_agreed_to_once(page: Page, picture: bytes) -> None:
    batch = page.check([("a.png", picture)])
    page.agree(batch)
    assert page.ask(f"agree?batch={batch}").status_code == 409
    assert page.ask(f"offer?batch={batch}", method="GET").status_code == 409
    assert page.noted == [("upload", 1)]


def test_what_is_not_checked_yet_is_neither_offered_nor_agreed_to(page: Page, picture: bytes) -> None:
    batch = page.name([("a.png", picture)]).json["id"]
    assert page.ask(f"offer?batch={batch}", method="GET").status_code == 409
    assert page.ask(f"agree?batch={batch}").status_code == 409


@pytest.mark.parametrize("path", ["heads", "agree", "file", "end", "again"])
def test_a_batch_that_is_not_known_is_refused(page: Page, path: str) -> None:
    answer = page.ask(f"{path}?batch=guessed&number=0")
    assert answer.status_code == 404
    assert "Drop them again." in answer.json["error"]


@pytest.mark.parametrize("number", ["-1", "2", "9999999999", "x", ""])
def test_a_number_without_a_file_is_refused(page: Page, picture: bytes, number: str) -> None:
    batch = page.check([("a.png", picture), ("b.png", picture)])
    page.agree(batch)
    assert page.ask(f"file?batch={batch}&number={number}", data=picture).status_code == 400
    assert page.keys == []


def test_a_file_of_another_size_than_agreed_is_refused(page: Page, picture: bytes) -> None:
    batch = page.check([("a.png", picture)])
    page.agree(batch)
    assert page.send(batch, 0, picture + b"x").status_code == 409
    assert page.send(batch, 0, b"").status_code == 409
    assert page.keys == []
    assert page.states(batch) == {"a.png": "failed"}
    assert page.send(batch, 0).json["sent"]


def test_what_can_never_be_a_cutout_is_not_sent(page: Page, picture: bytes) -> None:
    batch = page.check([("a.png", picture), ("b.txt", TEXT)])
    assert page.agree(batch) == [0]
    assert page.send(batch, 1).status_code == 409
    assert page.keys == []


def test_a_file_that_is_too_large_needs_no_head(page: Page) -> None:
    answer = page.ask("check", json={"prefix": "", "files": [["a.png", 26_214_401, 0]]}).json
    assert answer["wanted"] == []
    assert "at most 26,214,400 are allowed" in page.offer(answer["id"])
    assert "There is nothing to send" in page.offer(answer["id"])


def test_a_file_is_sent_once(page: Page, picture: bytes) -> None:
    batch = page.check([("a.png", picture)])
    page.agree(batch)
    for _ in range(2):
        assert page.send(batch, 0).json["sent"]
    versions = page.s3.list_object_versions(Bucket="input")["Versions"]
    assert len(versions) == 1


def test_heads_that_do_not_fit_are_refused(page: Page, picture: bytes) -> None:
    batch = page.name([("a.png", picture)]).json["id"]
    assert page.heads(batch, (1, picture)) == 400
    for body in (b"1234567", struct.pack(">II", 0, 100) + b"short"):
        assert page.ask(f"heads?batch={batch}", data=body).status_code == 400
    assert page.ask(f"heads?batch={batch}", data=bytes(upload.MOST_HEADS_BYTES + 1)).status_code == 413


def test_a_file_that_the_browser_cannot_read_is_reported_when_it_is_sent(page: Page, picture: bytes) -> None:
    batch = page.name([("a.png", picture)]).json["id"]
    assert page.heads(batch, (0, b"")) == 204
    assert page.agree(batch) == [0]


@pytest.mark.parametrize(
    "body",
    [
        [],
        {"files": []},
        {"prefix": "", "files": [["a.png", -1, 0]]},
        {"prefix": "", "files": [["a.png", "1", 0]]},
        {"prefix": "", "files": [["", 1, 0]]},
        {"prefix": "", "files": [["folder/", 1, 0]]},
        {"prefix": "", "files": [["/a.png", 1, 0]]},
        {"prefix": "", "files": [["a.png", 1]]},
        {"prefix": 1, "files": [["a.png", 1, 0]]},
    ],
)
def test_what_is_not_a_list_of_files_is_refused(page: Page, body: object) -> None:
    assert page.ask("check", json=body).status_code == 400


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (["a/1.png", "b/1.png"], "b/1.png and a/1.png would both be 1.png in the bucket. Drop them one after the"),
        (["p" * 1025], "S3 allows 1,024."),
        (["photos/.a.png"], "It holds no files, hidden ones aside."),
        ([], "It holds no files, hidden ones aside."),
    ],
)
def test_names_that_cannot_be_sent_are_refused_with_the_reason(
    page: Page, picture: bytes, names: list[str], sentence: str
) -> None:
    answer = page.name([(name, picture) for name in names])
    assert answer.status_code == 400
    assert sentence in answer.json["error"]


def test_the_keys_begin_as_the_stack_takes_them(open_page: Callable[..., Page], picture: bytes) -> None:
    page = open_page(prefix="in/")
    assert 'value="in/"' in page.show()
    answer = page.name([("a.png", picture)], "other")
    assert (answer.status_code, answer.json["error"]) == (
        400, "Choose another folder: the stack takes only keys that begin with in/."
    )  # fmt: skip
    page.check([("a.png", picture)], "in/2024")


@pytest.mark.parametrize("path", ["check", "heads", "agree", "file", "end", "again"])
def test_a_console_that_only_reads_sends_nothing(open_page: Callable[..., Page], path: str) -> None:
    page = open_page(read_only=True)
    assert page.ask(path).status_code == 403
    shown = page.show()
    assert "it sends no files" in shown
    assert "upload-drop" not in shown


@pytest.fixture
def refusals(page: Page) -> Iterator[list[ClientError]]:
    """As long as it holds one, S3 refuses what is put."""
    errors = [ClientError({"Error": {"Code": "AccessDenied"}}, "PutObject")]

    def refuse(**_: object) -> None:
        if errors:
            raise errors[0]

    page.s3.meta.events.register("before-call.s3.PutObject", refuse)
    yield errors
    page.s3.meta.events.unregister("before-call.s3.PutObject", refuse)


def test_sending_ends_when_aws_accepts_nothing_and_may_begin_again(
    page: Page, picture: bytes, refusals: list[ClientError]
) -> None:
    batch = page.check([(f"{number}.png", picture) for number in range(FAILURES_IN_A_ROW + 1)])
    unsent = page.agree(batch)
    for number in unsent[:-1]:
        answer = page.send(batch, number)
        assert (answer.json["sent"], answer.status_code) == (False, 200)
        assert answer.json["reason"].startswith("AWS does not allow these credentials to call PutObject.")
    answer = page.send(batch, unsent[-1])
    assert answer.status_code == 503
    assert answer.json["error"] == "Not tried: AWS had failed to take 20 in a row."
    assert page.ask(f"end?batch={batch}").status_code == 204
    refusals.clear()
    assert page.ask(f"again?batch={batch}").json["unsent"] == unsent
    assert page.send(batch, 0).json == {"sent": True, "reason": None}
    page.ask(f"end?batch={batch}")
    page.ask(f"end?batch={batch}")
    assert page.noted == [("upload", 21), ("upload ended", 0), ("upload again", 21), ("upload ended", 1)]


def test_what_was_sent_before_an_interruption_is_not_sent_again(page: Page, picture: bytes) -> None:
    files = [("photos/a.png", picture), ("photos/b.png", picture), ("photos/c.png", picture)]
    first = page.check(files)
    page.agree(first)
    page.send(first, 1)
    assert f'data-batch="{first}"' in page.show()
    second = page.check(files)
    assert "1 file of these was sent before the sending was interrupted, and is not sent again." in page.offer(second)
    assert page.agree(second) == [0, 2]
    assert page.states(second) == {"photos/a.png": "not_sent", "photos/b.png": "sent", "photos/c.png": "not_sent"}
    assert page.ask(f"changes?batch={first}", method="GET").status_code == 404
    for number in (0, 2):
        page.send(second, number)
    third = page.check(files)  # whoever drops them once more, wants them to be sent
    assert "To be sent: 3 files" in page.offer(third)


def test_the_last_batches_are_kept(page: Page, picture: bytes) -> None:
    kept = []
    for number in range(21):
        kept.append(page.check([(f"{number}.png", picture)]))
        page.agree(kept[-1])
    assert page.ask(f"changes?batch={kept[0]}", method="GET").status_code == 404
    assert page.states(kept[1]) == {"1.png": Became.NOT_SENT}
    shown = page.show(f"?batch={kept[5]}")
    assert f'data-batch="{kept[5]}"' in shown
    assert f'href="/upload?batch={kept[20]}"' in shown
