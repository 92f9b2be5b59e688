"""Time is the tests' own: what happens in the cloud meanwhile happens while the command rests."""

import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pillow_heif
import pytest
import urllib3
from botocore.exceptions import ClientError, ConnectTimeoutError, EndpointConnectionError, ReadTimeoutError
from botocore.response import StreamingBody
from PIL import Image

from cutout.operations import dead_letters, endings, files, preflight, queues, send
from cutout.operations import follow as following
from cutout.operations.deployment import THREADS, Deployment
from cutout.terminal import printable
from remove_background.errors import MalformedImage
from remove_background.intake import FUNCTION, IntakeItem, new_token
from remove_background.letters import Letters, notification
from remove_background.models import cutout_metadata
from remove_background.output_key import OutputKey
from remove_background.uploads import Upload

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

Handler = Callable[[Sequence[dead_letters.Letter]], Iterable[dead_letters.Letter]]

PNG = b"\x89PNG"


class Clock:
    """In place of the module `time`; what is planned happens while the command rests, and may end it by raising."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.plans: list[tuple[float, Callable[[], object]]] = []

    def after(self, seconds: float, do: Callable[[], object]) -> None:
        self.plans.append((self.now + seconds, do))
        self.plans.sort(key=lambda plan: plan[0])

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert self.now < 100_000, "the command never ends"
        self.now += seconds
        while self.plans and self.plans[0][0] <= self.now:
            self.plans.pop(0)[1]()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(following, "time", clock)
    monkeypatch.setattr("cutout.commands.upload.time", clock)
    return clock


@pytest.fixture
def deployed(deployed: Deployment, monkeypatch: pytest.MonkeyPatch) -> Deployment:
    """With versions, which moto does not give the bucket; and used by the command, as to make clients takes long."""
    deployed.s3.put_bucket_versioning(Bucket="input", VersioningConfiguration={"Status": "Enabled"})
    monkeypatch.setattr("cutout.operations.deployment.find", lambda *_: deployed)
    return deployed


@pytest.fixture
def queue_in_work(deployed: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    count = queues.count

    def count_more(sqs: "SQSClient", queue_url: str) -> queues.Counts:
        return queues.Counts(0, 1, 0) if queue_url == deployed.upload_queue else count(sqs, queue_url)

    monkeypatch.setattr(queues, "count", count_more)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(dead_letters, "WAIT_SECONDS", 0)
    monkeypatch.setattr("cutout.operations.credits.read", lambda deployed: 1000.0)
    yield tmp_path
    assert not list(tmp_path.rglob("*.part"))


def write(*names: str) -> None:
    """Files with their names as bytes, after one by which they are not known for texts."""
    for name in names:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\0" + os.fsencode(name))


def write_pictures(*names: str) -> None:
    """Files that are images, in the format that the name says."""
    pillow_heif.register_heif_opener()
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 64), "red").save(name)


def keys(deployed: Deployment) -> list[str]:
    return [found["Key"] for found in deployed.s3.list_objects_v2(Bucket="input").get("Contents", [])]


def latest(deployed: Deployment, key: str) -> Upload:
    found = deployed.s3.head_object(Bucket="input", Key=key)
    return Upload("input", key, found["ETag"].strip('"'), found.get("VersionId"))


def make_cutout(deployed: Deployment, key: str, output_key: str, body: bytes = PNG) -> None:
    metadata = cutout_metadata(latest(deployed, key))
    deployed.s3.put_object(Bucket="output", Key=output_key, Body=body, Metadata=metadata)


def write_letter(deployed: Deployment, key: str) -> None:
    upload = latest(deployed, key)
    object_ = {"key": key, "eTag": upload.etag, "versionId": upload.version_id}
    body = notification([{"s3": {"bucket": {"name": "input"}, "object": object_}}])
    letters = Letters(deployed, deployed.dead_letter_queue)
    letters.write(body, MalformedImage("It is broken."), source=upload.uri, attempts=1, request_id="request")


@contextmanager
def before(deployed: Deployment, call: str, do: Callable[..., None]) -> Iterator[None]:
    """Does something right before each of these calls to S3."""
    events, name = deployed.s3.meta.events, f"provide-client-params.s3.{call}"
    events.register(name, do)
    yield
    events.unregister(name, do)


def one(call: Any) -> dict[str, Any]:  # noqa: ANN401  # a Call, which conftest.py defines
    """What became of the only file."""
    (file,) = call.json["files"]
    return dict(file)


def test_a_file_keeps_its_name_and_a_folder_gives_what_is_in_it(
    deployed: Deployment, cutout: Callable[..., Any]
) -> None:
    write("one.jpg", "photos/a.jpg", "photos/trip/b c.png")
    call = cutout("upload", "one.jpg", "photos/", "--prefix", "2024/", "--yes")
    assert call.code == 0
    assert keys(deployed) == ["2024/a.jpg", "2024/one.jpg", "2024/trip/b c.png"]
    assert deployed.s3.get_object(Bucket="input", Key="2024/a.jpg")["Body"].read() == b"\0photos/a.jpg"
    assert "To be sent: 3 files, 41 bytes, to s3://input/2024/one.jpg and so on." in call.err
    assert "may cost up to 3 credits; 1,000 are left." in call.err


def test_a_prefix_is_a_folder_with_and_without_its_slash(deployed: Deployment, cutout: Callable[..., Any]) -> None:
    write("f1.jpg")
    assert cutout("upload", "f1.jpg", "--prefix", "a/b", "--yes").code == 0
    assert cutout("upload", "f1.jpg", "--prefix", "c/", "--yes").code == 0
    assert keys(deployed) == ["a/b/f1.jpg", "c/f1.jpg"]


def test_each_file_is_sent_with_its_content_type(deployed: Deployment, cutout: Callable[..., Any]) -> None:
    types = {
        "a.JPG": "image/jpeg",
        "b.jpeg": "image/jpeg",
        "c.png": "image/png",
        "d.webp": "image/webp",
        "e.heic": "image/heic",
        "f.avif": "image/avif",
        "g.tiff": "image/tiff",
        "h.what": "application/octet-stream",
        "i": "application/octet-stream",
    }
    write(*types)
    cutout("upload", *types, "--yes")
    found = {key: deployed.s3.head_object(Bucket="input", Key=key)["ContentType"] for key in types}
    assert found == types


def test_hidden_files_and_broken_or_circular_links_are_left_out_and_counted() -> None:
    write("photos/a.jpg", "photos/.DS_Store", "photos/.git/config", "photos/sub/Thumbs.db", "elsewhere/b.jpg")
    Path("photos/sub/back").symlink_to(Path("photos").resolve())
    Path("photos/itself").symlink_to("itself")
    Path("photos/broken").symlink_to("missing")
    Path("photos/linked").symlink_to(Path("elsewhere").resolve())
    os.mkfifo("photos/pipe")
    found, left_out = files.find([Path("photos")], "", OutputKey("{stem}.png"))
    assert [file.key for file in found] == ["a.jpg", "linked/b.jpg"]
    assert left_out == {files.HIDDEN: 3, files.NOT_REGULAR: 4}


def test_folders_that_link_to_each_other_end() -> None:
    write("photos/a/1.jpg", "photos/b/2.jpg")
    Path("photos/a/b").symlink_to("../b")
    Path("photos/b/a").symlink_to("../a")
    found, _ = files.find([Path("photos")], "", OutputKey("{stem}.png"))
    assert [file.key for file in found] == ["a/1.jpg", "a/b/2.jpg", "b/2.jpg", "b/a/1.jpg"]


def test_what_is_left_out_is_reported(deployed: Deployment, cutout: Callable[..., Any]) -> None:
    write("photos/a.jpg", "photos/.DS_Store")
    assert "Left out of folders: 1 hidden." in cutout("upload", "photos").err


def test_a_hidden_file_that_is_named_is_sent(deployed: Deployment, cutout: Callable[..., Any]) -> None:
    write(".a.jpg")
    assert cutout("upload", ".a.jpg", "--yes").code == 0
    assert keys(deployed) == [".a.jpg"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["missing.jpg"], "'missing.jpg' does not exist"),
        (["a.jpg", "--out", "a.jpg"], "'a.jpg' is a file"),
        (["a.jpg", "--out", "a.jpg/out"], "a.jpg/out: Not a directory."),
        (["a.jpg", "folder"], "value for FILE|FOLDER: folder/a.jpg and a.jpg would both be a.jpg in the bucket"),
        (
            ["a.jpg", "--out", "out", "--prefix", "../"],
            "value for --out: The cutout of a.jpg, ../a.png, would not be in out.",
        ),
    ],
)
def test_wrong_usage_is_reported_before_anything_is_sent(
    deployed: Deployment, cutout: Callable[..., Any], arguments: list[str], sentence: str
) -> None:
    write("a.jpg", "folder/a.jpg")
    call = cutout("upload", *arguments, "--yes")
    assert call.code == 2
    assert sentence in " ".join(call.err.split())
    assert keys(deployed) == []


@pytest.mark.parametrize(
    ("path", "prefix", "sentence"),
    [
        ("empty", "", "empty holds no files, hidden ones aside."),
        ("hidden", "", "hidden holds no files, hidden ones aside."),
        ("pipe", "", "pipe is neither a file nor a folder."),
        ("a.jpg", "ü" * 510, "The key of a.jpg would have 1,025 bytes; S3 allows 1,024."),
        ("a.x", "p" * 1020, "a.x: The cutout's key would be longer than the 1,024 bytes"),
        ("strange", "", r"The name of strange/\udcff.jpg is not UTF-8: rename it."),
    ],
)
def test_a_file_that_cannot_be_sent_is_wrong_usage(path: str, prefix: str, sentence: str) -> None:
    write("a.jpg", "a.x", "hidden/.a.jpg", os.fsdecode(b"strange/\xff.jpg"))
    Path("empty").mkdir()
    os.mkfifo("pipe")
    with pytest.raises(files.WrongFile) as refused:
        files.find([Path(path)], prefix, OutputKey("{stem}.png"))
    assert sentence in printable(refused.value)


@pytest.mark.parametrize(
    ("path", "prefix", "out", "sentence"),
    [
        ("a.jpg", "../", "out", "The cutout of a.jpg, ../a.png, would not be in out."),
        ("a.jpg", "x/../", "out", "x/../a.png, would not be in out."),
        ("a.jpg", "/", "out", "/a.png, would not be in out."),
        ("a.jpg", "away/", "linked", "away/a.png, would not be in linked."),
        ("pictures", "", "pictures", "A cutout would overwrite pictures/b.png: choose another folder."),
        ("pictures", "", "alias", "A cutout would overwrite pictures/b.png: choose another folder."),
    ],
)
def test_a_cutout_stays_in_its_folder_and_overwrites_no_file_that_is_sent(
    path: str, prefix: str, out: str, sentence: str
) -> None:
    write("a.jpg", "pictures/b.png")
    Path("linked").mkdir()
    Path("linked/away").symlink_to("/")
    Path("alias").symlink_to("pictures")
    found, _ = files.find([Path(path)], prefix, OutputKey("{stem}.png"))
    with pytest.raises(files.WrongFile) as refused:
        files.count_replaced(found, Path(out))
    assert sentence in printable(refused.value)


def test_a_folder_that_cannot_be_read_is_wrong_usage(monkeypatch: pytest.MonkeyPatch) -> None:
    write("photos/a.jpg", "photos/sub/b.jpg")
    read = Path.iterdir

    def iterdir(path: Path) -> Iterator[Path]:
        if path.name == "sub":
            raise PermissionError(13, "Permission denied", str(path))
        return read(path)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    with pytest.raises(files.WrongFile, match="photos/sub cannot be read: Permission denied"):
        files.find([Path("photos")], "", OutputKey("{stem}.png"))


def write_hopeless(number: int) -> None:
    for name in range(number):
        write(f"photos/{name}.txt")
        Path(f"photos/{name}.txt").write_text("Not an image.")


def test_a_file_that_can_never_succeed_is_named_and_left_out(deployed: Deployment, cutout: Callable[..., Any]) -> None:
    write("photos/a.jpg", "photos/empty.jpg")
    Path("photos/empty.jpg").write_bytes(b"")
    Path("photos/text.jpg").write_text("Not an image.")
    with Path("photos/large.jpg").open("wb") as large:
        large.truncate(27_000_000)
    call = cutout("upload", "photos", "--yes", "--json")
    assert call.code == 1
    assert keys(deployed) == ["a.jpg"]
    assert "3 files can never become cutouts, and are left out:" in call.err
    assert "  photos/text.jpg: The file is not an image." in call.err
    assert "may cost up to 1 credit;" in call.err
    assert call.json["became"] == {"not_sent": 3, "sent": 1}
    assert call.json["letters"] == {}
    codes = {file["key"]: file["code"] for file in call.json["files"]}
    assert codes == {
        "a.jpg": None,
        "empty.jpg": "malformed_image",
        "large.jpg": "file_size_too_large",
        "text.jpg": "unsupported_image_format",
    }


def test_leaving_files_out_needs_consent(
    deployed: Deployment, cutout: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr("cutout.commands.upload.agree", lambda *, yes, question: asked.append(question))
    write("photos/a.jpg")
    cutout("upload", "photos")
    write_hopeless(8)
    call = cutout("upload", "photos")
    assert asked == ["Go on?", "Leave 8 out, and go on?"]
    assert "  photos/4.txt: The file is not an image.\n  and 3 more.\n" in call.err
    assert "Became" in call.out
    assert "unsupported_image_format: The file is not an image." in call.out


def test_nothing_is_sent_if_nothing_can_succeed(deployed: Deployment, cutout: Callable[..., Any]) -> None:
    write_hopeless(1)
    call = cutout("upload", "photos", "--yes", "--json")
    assert (call.code, keys(deployed)) == (1, [])
    assert "1 file can never become a cutout, and is left out:" in call.err
    assert "Nothing was sent." in call.err
    assert call.json["became"] == {"not_sent": 1}


def test_a_repeated_upload_costs_only_what_has_no_cutout(deployed: Deployment, cutout: Callable[..., Any]) -> None:
    write(*(f"photos/{name}.jpg" for name in "abcd"))
    cutout("upload", "photos", "--yes")
    make_cutout(deployed, "a.jpg", "a.png")
    make_cutout(deployed, "b.jpg", "b.png")
    make_cutout(deployed, "d.jpg", "c.png")  # of another upload
    Path("photos/b.jpg").write_bytes(b"\0newer")
    call = cutout("upload", "photos", "--yes")
    assert "1 of them has its cutout already, and costs nothing." in call.err
    assert "may cost up to 3 credits;" in call.err
    make_cutout(deployed, "b.jpg", "b.png")
    call = cutout("upload", "photos", "--yes")
    assert "2 of them have their cutouts already, and cost nothing." in call.err


@pytest.mark.parametrize("reason", ["too many", "not allowed"])
def test_if_cutouts_cannot_be_read_the_cost_is_that_of_every_file(
    deployed: Deployment, cutout: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    def refuse(**_: object) -> None:
        raise ClientError({"Error": {"Code": "403"}}, "HeadObject")

    write("photos/a.jpg", "photos/b.jpg")
    cutout("upload", "photos", "--yes")
    make_cutout(deployed, "a.jpg", "a.png")
    if reason == "too many":
        monkeypatch.setattr(preflight, "MOST_LOOKS", 1)
        call = cutout("upload", "photos", "--yes")
    else:
        with before(deployed, "HeadObject", refuse):
            call = cutout("upload", "photos", "--yes")
    assert call.code == 0
    assert "may cost up to 2 credits;" in call.err


def test_nothing_is_sent_without_consent(deployed: Deployment, cutout: Callable[..., Any]) -> None:
    write("a.jpg")
    call = cutout("upload", "a.jpg", "--out", "out")
    assert call.code == 2
    assert "may cost up to 1 credit;" in call.err
    assert keys(deployed) == []
    assert not Path("out").exists()


def test_files_that_would_share_a_cutout_are_reported(deployed: Deployment, cutout: Callable[..., Any]) -> None:
    write("photos/a.jpg", "photos/a.png", "photos/b.jpg")
    call = cutout("upload", "photos")
    assert "Only one of these can become a.png, the others letters: a.jpg, a.png." in call.err
    assert "b.png" not in call.err


@pytest.mark.parametrize(
    ("left", "sentence"),
    [(1.0, "only 1 are left"), ("Pixelcut does not say.", "how many are left is not known: Pixelcut does not say.")],
)
def test_too_few_or_unknown_credits_are_reported(
    deployed: Deployment, cutout: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, left: float | str, sentence: str
) -> None:
    monkeypatch.setattr("cutout.operations.credits.read", lambda deployed: left)
    write("photos/a.jpg", "photos/b.jpg")
    assert sentence in cutout("upload", "photos").err


def test_a_paused_intake_is_reported_beforehand(deployed: Deployment, cutout: Callable[..., Any]) -> None:
    write("a.jpg")
    cutout("pause", "--reason", "new prices", "--yes")
    assert "The intake is paused by the operator (new prices): uploads wait." in cutout("upload", "a.jpg").err


def test_a_file_that_cannot_be_read_does_not_stop_the_others(
    deployed: Deployment, cutout: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unlink(_: Deployment) -> float:
        Path("photos/a.jpg").unlink()
        return 1000.0

    write("photos/a.jpg", "photos/b.jpg")
    monkeypatch.setattr("cutout.operations.credits.read", unlink)
    call = cutout("upload", "photos", "--yes", "--json")
    assert call.code == 1
    assert keys(deployed) == ["b.jpg"]
    assert call.json["became"] == {"not_sent": 1, "sent": 1}
    assert call.json["files"][0]["reason"] == "It cannot be read: No such file or directory."


def test_sending_ends_when_aws_accepts_nothing(deployed: Deployment, cutout: Callable[..., Any]) -> None:
    write(*(f"photos/{number:02}.jpg" for number in range(60)))
    deployed.s3.delete_bucket(Bucket="input")
    call = cutout("upload", "photos", "--yes", "--json")
    assert call.code == 1
    reasons = [file["reason"] for file in call.json["files"]]
    tried = [reason for reason in reasons if "NoSuchBucket" in reason]
    assert send.FAILURES_IN_A_ROW <= len(tried) < send.FAILURES_IN_A_ROW + THREADS
    assert {reason for reason in reasons if reason not in tried} == {"Not tried: AWS had failed to take 20 in a row."}


def test_sending_ends_when_the_network_is_lost(deployed: Deployment, cutout: Callable[..., Any]) -> None:
    def time_out(**_: object) -> None:
        raise ConnectTimeoutError(endpoint_url="https://s3.test")

    write(*(f"photos/{number:02}.jpg" for number in range(60)))
    with before(deployed, "PutObject", time_out):
        call = cutout("upload", "photos", "--yes", "--json")
    assert call.code == 1
    reasons = [file["reason"] for file in call.json["files"]]
    assert reasons[0].startswith("https://s3.test does not answer.")
    assert reasons[-1] == "Not tried: AWS had failed to take 20 in a row."


def test_the_table_shows_the_first_of_many_failures_and_no_markup_of_their_names(
    deployed: Deployment, cutout: Callable[..., Any]
) -> None:
    write(*(f"photos/[red]\x1b[31m{number:02}.jpg" for number in range(30)))
    deployed.s3.delete_bucket(Bucket="input")
    call = cutout("upload", "photos", "--yes")
    assert call.code == 1
    assert "\x1b" not in call.out + call.err
    assert r"photos/[red]\x1b[31m19.jpg" in call.out
    assert r"photos/[red]\x1b[31m20.jpg" not in call.out
    assert "And 10 more." in call.out


def test_an_upload_is_followed_to_its_cutout(deployed: Deployment, cutout: Callable[..., Any], clock: Clock) -> None:
    write("a.jpg")
    clock.after(20, lambda: make_cutout(deployed, "a.jpg", "a.png"))
    call = cutout("upload", "a.jpg", "--wait", "--yes", "--json")
    assert call.code == 0
    assert one(call)["became"] == "cutout"
    assert 1020 <= clock.now < 1023


def test_the_cutout_of_the_same_bytes_is_there_already(
    deployed: Deployment, cutout: Callable[..., Any], clock: Clock
) -> None:
    write("a.jpg")
    cutout("upload", "a.jpg", "--yes")
    make_cutout(deployed, "a.jpg", "a.png")
    assert one(cutout("upload", "a.jpg", "--wait", "--yes", "--json"))["became"] == "cutout"
    assert clock.now < 1001


def test_the_last_line_gives_the_number_the_time_and_the_cost(
    deployed: Deployment, cutout: Callable[..., Any], clock: Clock
) -> None:
    write("photos/a.jpg", "photos/b.jpg", "photos/c.jpg")
    clock.after(9, lambda: make_cutout(deployed, "a.jpg", "a.png"))
    clock.after(9, lambda: make_cutout(deployed, "b.jpg", "b.png"))
    clock.after(18, lambda: write_letter(deployed, "c.jpg"))
    with uploads_answered_at(deployed, datetime.now(UTC) - timedelta(seconds=1)):
        call = cutout("upload", "photos", "--wait", "--yes")
    assert call.code == 1
    assert call.out.splitlines()[-1] == "3 in 18s, 2 credits, 0.2/s"


def test_a_cutout_that_was_there_before_costs_nothing(
    deployed: Deployment, cutout: Callable[..., Any], clock: Clock
) -> None:
    write("a.jpg")
    cutout("upload", "a.jpg", "--yes")
    make_cutout(deployed, "a.jpg", "a.png")
    with uploads_answered_at(deployed, datetime.now(UTC) + timedelta(minutes=1)):
        call = cutout("upload", "a.jpg", "--wait", "--yes")
    assert call.out.splitlines()[-1] == "1 in 0s, 0 credits, 1.0/s"


def test_the_cutout_of_an_older_image_is_not_mistaken_for_its_own(
    deployed: Deployment, cutout: Callable[..., Any], clock: Clock
) -> None:
    write("a.jpg")
    cutout("upload", "a.jpg", "--yes")
    make_cutout(deployed, "a.jpg", "a.png", b"older")
    Path("a.jpg").write_bytes(b"\0newer")
    clock.after(20, lambda: make_cutout(deployed, "a.jpg", "a.png", b"\0newer"))
    assert cutout("upload", "a.jpg", "--out", "out", "--yes").code == 0
    assert Path("out/a.png").read_bytes() == b"\0newer"


def test_an_upload_is_followed_to_its_letter(deployed: Deployment, cutout: Callable[..., Any], clock: Clock) -> None:
    write("a.jpg")
    clock.after(20, lambda: write_letter(deployed, "a.jpg"))
    call = cutout("upload", "a.jpg", "--wait", "--yes", "--json")
    assert call.code == 1
    assert call.json["letters"] == {"malformed_image": 1}
    assert (one(call)["code"], one(call)["reason"]) == ("malformed_image", "It is broken.")
    counts = deployed.sqs.get_queue_attributes(QueueUrl=deployed.dead_letter_queue, AttributeNames=["All"])
    assert counts["Attributes"]["ApproximateNumberOfMessages"] == "1"


def test_the_letter_of_an_earlier_upload_of_the_same_bytes_is_not_mistaken_for_its_own(
    deployed: Deployment, cutout: Callable[..., Any], clock: Clock
) -> None:
    write("a.jpg")
    cutout("upload", "a.jpg", "--yes")
    write_letter(deployed, "a.jpg")
    clock.after(100, lambda: make_cutout(deployed, "a.jpg", "a.png"))
    assert one(cutout("upload", "a.jpg", "--wait", "--yes", "--json"))["became"] == "cutout"


@pytest.fixture
def without_versions(deployed: Deployment) -> None:
    deployed.s3.delete_bucket(Bucket="input")
    deployed.s3.create_bucket(Bucket="input", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})


@contextmanager
def uploads_answered_at(deployed: Deployment, moment: datetime) -> Iterator[None]:
    """S3's answers to uploads bear this date."""

    def date(parsed: dict[str, Any], **_: object) -> None:
        parsed["ResponseMetadata"]["HTTPHeaders"]["date"] = format_datetime(moment, usegmt=True)

    deployed.s3.meta.events.register("after-call.s3.PutObject", date)
    yield
    deployed.s3.meta.events.unregister("after-call.s3.PutObject", date)


@pytest.mark.usefixtures("without_versions")
def test_without_versions_the_letter_of_an_earlier_upload_is_not_mistaken_for_its_own(
    deployed: Deployment, cutout: Callable[..., Any], clock: Clock
) -> None:
    write("a.jpg")
    cutout("upload", "a.jpg", "--yes")
    write_letter(deployed, "a.jpg")
    clock.after(100, lambda: make_cutout(deployed, "a.jpg", "a.png"))
    with uploads_answered_at(deployed, datetime.now(UTC) + timedelta(minutes=1)):
        call = cutout("upload", "a.jpg", "--wait", "--yes", "--json")
    assert one(call)["became"] == "cutout"


@pytest.mark.usefixtures("without_versions")
def test_without_versions_an_upload_is_followed_to_its_letter(
    deployed: Deployment, cutout: Callable[..., Any], clock: Clock
) -> None:
    write("a.jpg")
    clock.after(20, lambda: write_letter(deployed, "a.jpg"))
    with uploads_answered_at(deployed, datetime.now(UTC)):
        call = cutout("upload", "a.jpg", "--wait", "--yes", "--json")
    assert one(call)["became"] == "letter"


def test_letters_are_not_read_again_and_again(
    deployed: Deployment, cutout: Callable[..., Any], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("a.jpg")
    cutout("upload", "a.jpg", "--yes")
    write_letter(deployed, "a.jpg")
    reads: list[float] = []
    work_through = dead_letters.DeadLetters.work_through

    def read(self: dead_letters.DeadLetters, handle: Handler) -> None:
        reads.append(clock.now)
        work_through(self, handle)

    monkeypatch.setattr(dead_letters.DeadLetters, "work_through", read)
    clock.after(100, lambda: make_cutout(deployed, "a.jpg", "a.png"))
    cutout("upload", "a.jpg", "--wait", "--yes")
    assert len(reads) == 2


def test_an_upload_that_is_overwritten_is_superseded(
    deployed: Deployment, cutout: Callable[..., Any], clock: Clock
) -> None:
    write("a.jpg")
    clock.after(5, lambda: deployed.s3.put_object(Bucket="input", Key="a.jpg", Body=b"\0newer"))
    call = cutout("upload", "a.jpg", "--wait", "--yes", "--json")
    assert call.code == 1
    assert one(call)["became"] == "superseded"


def test_a_deleted_upload_is_reported(deployed: Deployment, cutout: Callable[..., Any], clock: Clock) -> None:
    write("a.jpg")
    clock.after(5, lambda: deployed.s3.delete_object(Bucket="input", Key="a.jpg"))
    call = cutout("upload", "a.jpg", "--wait", "--yes", "--json")
    assert call.code == 1
    assert one(call)["became"] == "deleted"


def test_an_upload_deleted_after_its_cutout_was_written_counts_as_a_cutout(
    deployed: Deployment, cutout: Callable[..., Any], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("a.jpg")
    cleared = False

    def clear_away(params: dict[str, Any], **_: object) -> None:
        """Between the look for the cutout and the look at the upload."""
        nonlocal cleared
        if params["Bucket"] == "input" and not cleared:
            cleared = True
            make_cutout(deployed, "a.jpg", "a.png")
            deployed.s3.delete_object(Bucket="input", Key="a.jpg")

    with before(deployed, "HeadObject", clear_away):
        assert one(cutout("upload", "a.jpg", "--wait", "--yes", "--json"))["became"] == "cutout"


def test_an_upload_that_is_nowhere_to_be_seen_is_given_up(
    deployed: Deployment, cutout: Callable[..., Any], clock: Clock
) -> None:
    write("a.jpg")
    call = cutout("upload", "a.jpg", "--wait", "--yes", "--json")
    assert call.code == 1
    assert one(call)["became"] == "unfinished"
    assert clock.now > 1000 + endings.IDLE_SECONDS


@pytest.mark.usefixtures("queue_in_work")
def test_an_upload_in_the_queue_is_not_given_up(deployed: Deployment, cutout: Callable[..., Any], clock: Clock) -> None:
    write("a.jpg")
    clock.after(4 * endings.IDLE_SECONDS, lambda: make_cutout(deployed, "a.jpg", "a.png"))
    assert cutout("upload", "a.jpg", "--wait", "--yes").code == 0


@pytest.mark.usefixtures("queue_in_work")
def test_a_pause_and_its_end_are_reported_once(deployed: Deployment, cutout: Callable[..., Any], clock: Clock) -> None:
    write("a.jpg")
    item = IntakeItem(deployed.dynamodb, "ledger")
    clock.after(20, lambda: item.pause(FUNCTION, "insufficient_api_credits"))
    clock.after(300, lambda: item.reopen(item.read(), new_token()))
    clock.after(400, lambda: make_cutout(deployed, "a.jpg", "a.png"))
    call = cutout("upload", "a.jpg", "--wait", "--yes")
    assert call.err.count("The intake is paused by the function (insufficient_api_credits): uploads wait.") == 1
    assert call.err.count("The intake is open again.") == 1


def fail_from(clock: Clock, monkeypatch: pytest.MonkeyPatch, since: float, until: float, error: Exception) -> None:
    """AWS answers the look at queues with an error for that long."""
    count = queues.count

    def fail(sqs: "SQSClient", queue_url: str) -> queues.Counts:
        if since <= clock.now < until:
            raise error
        return count(sqs, queue_url)

    monkeypatch.setattr(queues, "count", fail)


@pytest.mark.usefixtures("queue_in_work")
def test_a_lost_network_is_waited_for(
    deployed: Deployment, cutout: Callable[..., Any], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("a.jpg")
    fail_from(clock, monkeypatch, 1005, 1300, EndpointConnectionError(endpoint_url="https://s3.test"))
    clock.after(400, lambda: make_cutout(deployed, "a.jpg", "a.png"))
    call = cutout("upload", "a.jpg", "--wait", "--yes")
    assert call.code == 0
    assert call.err.count("https://s3.test does not answer.") == 1


def test_a_network_that_stays_lost_ends_the_command(
    deployed: Deployment, cutout: Callable[..., Any], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("a.jpg")
    fail_from(clock, monkeypatch, 1005, 1e9, EndpointConnectionError(endpoint_url="https://s3.test"))
    call = cutout("upload", "a.jpg", "--wait", "--yes")
    assert call.code == 1
    assert "Stopped. Sent 1 of 1 file; these go on without this command." in call.err
    assert clock.now > 1000 + following.OUTAGE_SECONDS


def test_credentials_that_expire_end_the_command_at_once(
    deployed: Deployment, cutout: Callable[..., Any], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("a.jpg")
    answer: Any = {"Error": {"Code": "ExpiredToken"}, "ResponseMetadata": {"HTTPStatusCode": 400}}
    fail_from(clock, monkeypatch, 1005, 1e9, ClientError(answer, "HeadObject"))
    call = cutout("upload", "a.jpg", "--wait", "--yes")
    assert call.code == 1
    assert "Stopped." in call.err
    assert "Log in again" in call.err
    assert clock.now < 1010


def test_ctrl_c_says_how_far_it_went(deployed: Deployment, cutout: Callable[..., Any], clock: Clock) -> None:
    def press() -> None:
        raise KeyboardInterrupt

    write("photos/a.jpg", "photos/b.jpg", "photos/c.jpg")
    clock.after(5, lambda: make_cutout(deployed, "a.jpg", "a.png"))
    clock.after(5, lambda: write_letter(deployed, "b.jpg"))
    clock.after(30, press)
    call = cutout("upload", "photos", "--out", "out", "--yes", "--json")
    assert call.code == 130
    assert call.out == ""
    assert "Stopped. Sent 3 of 3 files; these go on without this command." in call.err
    assert "Ended so far: cutout 1, letter 1." in call.err
    assert Path("out/a.png").read_bytes() == PNG


def test_ctrl_c_while_sending_leaves_the_rest_unsent(
    deployed: Deployment, cutout: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(*(f"photos/{number:02}.jpg" for number in range(50)))
    monkeypatch.setattr(send, "THREADS", 1)
    put = send._put

    def press(*arguments: Any) -> Upload:  # noqa: ANN401
        if len(keys(deployed)) == 3:
            raise KeyboardInterrupt
        return put(*arguments)

    monkeypatch.setattr(send, "_put", press)
    call = cutout("upload", "photos", "--yes")
    assert call.code == 130
    assert "Stopped. Sent 3 of 50 files; these go on without this command." in call.err
    assert len(keys(deployed)) == 3


def test_cutouts_are_fetched_into_the_folder(deployed: Deployment, cutout: Callable[..., Any], clock: Clock) -> None:
    write("photos/a.jpg", "photos/trip/b.jpg")
    write("out/a.png", "out/kept.png")
    clock.after(5, lambda: make_cutout(deployed, "a.jpg", "a.png", b"a"))
    clock.after(9, lambda: make_cutout(deployed, "trip/b.jpg", "trip/b.png", b"b"))
    call = cutout("upload", "photos", "--out", "out", "--yes")
    assert call.code == 0
    assert "1 file in out will be replaced by cutouts." in call.err
    assert {str(path): path.read_bytes() for path in Path("out").rglob("*.png")} == {
        "out/a.png": b"a",
        "out/trip/b.png": b"b",
        "out/kept.png": b"\0out/kept.png",
    }


def test_a_page_shows_the_cutouts_beside_their_originals(
    deployed: Deployment, cutout: Callable[..., Any], clock: Clock
) -> None:
    write("photos/c.jpg", "photos/text.txt")
    Path("photos/text.txt").write_text("Not an image.")
    write_pictures("photos/a b.jpg")
    clock.after(5, lambda: make_cutout(deployed, "trip/a b.jpg", "trip/a b.png"))
    clock.after(9, lambda: write_letter(deployed, "trip/c.jpg"))
    call = cutout("upload", "photos", "--out", "out", "--prefix", "trip", "--yes")
    assert "Page: out/index.html" in call.out
    page = Path("out/index.html").read_text()
    assert 'src="../photos/a%20b.jpg"' in page
    assert 'src="trip/a%20b.png"' in page
    assert "malformed_image: It is broken." in page
    assert "1 of 2 uploads became a cutout." in page
    assert "There is no preview of this file on this machine." in page
    assert "text.txt" not in page


def test_what_browsers_do_not_show_has_a_preview(
    deployed: Deployment, cutout: Callable[..., Any], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def upload() -> str:
        assert cutout("upload", "photos", "--out", "out", "--prefix", "trip", "--yes").code == 0
        return Path("out/index.html").read_text()

    write_pictures("photos/phone.heic", "photos/scan.tiff")
    write("out/previews/trip/scan.webp")  # somebody's
    clock.after(5, lambda: make_cutout(deployed, "trip/phone.heic", "trip/phone.png"))
    clock.after(5, lambda: make_cutout(deployed, "trip/scan.tiff", "trip/scan.png"))
    for _ in range(2):
        page = upload()
        assert 'href="../photos/phone.heic"><img src="previews/trip/phone.webp"' in page
        with Image.open("out/previews/trip/phone.webp") as preview:
            assert (preview.format, preview.size) == ("WEBP", (64, 64))
        assert page.count("There is no preview of this file on this machine.") == 1
        assert Path("out/previews/trip/scan.webp").read_bytes() == b"\0out/previews/trip/scan.webp"

    monkeypatch.setitem(sys.modules, "pillow_heif", None)  # without the extra
    assert upload().count("There is no preview of this file on this machine.") == 2


def test_a_page_is_replaced_where_it_is_ours_and_left_where_not(
    deployed: Deployment, cutout: Callable[..., Any], clock: Clock
) -> None:
    write("a.jpg")
    clock.after(5, lambda: make_cutout(deployed, "a.jpg", "a.png"))
    assert cutout("upload", "a.jpg", "--out", "out", "--yes", "--json").json["page"] == "out/index.html"
    assert cutout("upload", "a.jpg", "--out", "out", "--yes", "--json").json["page"] == "out/index.html"
    Path("out/index.html").write_text("mine")
    call = cutout("upload", "a.jpg", "--out", "out", "--yes", "--json")
    assert (call.code, call.json["page"]) == (0, None)
    assert "out/index.html is left as it is" in call.err
    assert Path("out/index.html").read_text() == "mine"


def test_a_page_that_cannot_be_written_is_reported(
    deployed: Deployment, cutout: Callable[..., Any], clock: Clock
) -> None:
    write("a.jpg")
    Path("out/index.html").mkdir(parents=True)
    clock.after(5, lambda: make_cutout(deployed, "a.jpg", "a.png"))
    call = cutout("upload", "a.jpg", "--out", "out", "--yes")
    assert call.code == 0
    assert "There is no page of the cutouts: out/index.html: Is a directory." in call.err


def test_a_cutout_that_cannot_be_written_is_reported(
    deployed: Deployment, cutout: Callable[..., Any], clock: Clock
) -> None:
    write("a.jpg")
    Path("out/a.png").mkdir(parents=True)
    clock.after(5, lambda: make_cutout(deployed, "a.jpg", "a.png"))
    call = cutout("upload", "a.jpg", "--out", "out", "--yes", "--json")
    assert call.code == 1
    assert one(call)["became"] == "cutout_not_fetched"
    assert "directory" in one(call)["reason"]


class Cut(io.BytesIO):
    """The body of an answer whose connection is lost."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error

    def read(self, size: int | None = -1, /) -> bytes:
        raise self._error


@pytest.mark.parametrize(
    "error",
    [
        ReadTimeoutError(endpoint_url="https://s3.test"),
        urllib3.exceptions.ReadTimeoutError(None, None, "Read timed out."),  # type: ignore[arg-type]
        urllib3.exceptions.ProtocolError("Connection broken"),
    ],
)
def test_a_cutout_is_fetched_again_when_the_network_was_lost(
    deployed: Deployment, cutout: Callable[..., Any], clock: Clock, error: Exception
) -> None:
    errors = [error]

    def fail(parsed: dict[str, Any], **_: object) -> None:
        if errors and isinstance(errors[0], ReadTimeoutError):
            raise errors.pop()
        if errors:
            parsed["Body"] = StreamingBody(Cut(errors.pop()), len(PNG))

    write("a.jpg")
    clock.after(5, lambda: make_cutout(deployed, "a.jpg", "a.png"))
    deployed.s3.meta.events.register("after-call.s3.GetObject", fail)
    call = cutout("upload", "a.jpg", "--out", "out", "--yes")
    deployed.s3.meta.events.unregister("after-call.s3.GetObject", fail)
    assert call.code == 0
    assert "It is asked again." in call.err
    assert Path("out/a.png").read_bytes() == PNG


def test_a_cutout_that_is_replaced_before_it_is_fetched_is_not_fetched(
    deployed: Deployment, cutout: Callable[..., Any], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("a.jpg")

    def overwrite(**_: object) -> None:
        deployed.s3.put_object(Bucket="input", Key="a.jpg", Body=b"\0newer")
        make_cutout(deployed, "a.jpg", "a.png", b"of the newer")

    clock.after(5, lambda: make_cutout(deployed, "a.jpg", "a.png"))
    with before(deployed, "GetObject", overwrite):
        call = cutout("upload", "a.jpg", "--out", "out", "--yes", "--json")
    assert one(call)["became"] == "superseded"
    assert not Path("out/a.png").exists()


def test_nothing_is_sent_to_a_function_that_refuses_to_work(
    deployed: Deployment, cutout: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Deployment, "output_bucket", "input")
    deployed.settings["INPUT_PREFIX"] = "in/"  # type: ignore[index]
    write("a.jpg")
    call = cutout("upload", "a.jpg", "--prefix", "in/", "--yes")
    assert (call.code, "an OutputKey that keep them apart" in call.err) == (1, True)
    assert "Contents" not in deployed.s3.list_objects_v2(Bucket="input")


def test_keys_that_the_stack_does_not_accept_are_refused(deployed: Deployment, cutout: Callable[..., Any]) -> None:
    deployed.settings["INPUT_PREFIX"] = "in/"  # type: ignore[index]
    write("a.jpg")
    call = cutout("upload", "a.jpg", "--yes")
    assert call.code == 2
    assert "begin with in/" in call.err
    assert cutout("upload", "a.jpg", "--prefix", "in/2026/", "--yes").code == 0
    assert cutout("upload", "a.jpg", "--prefix", "in", "--yes").code == 0
    assert keys(deployed) == ["in/2026/a.jpg", "in/a.jpg"]


def test_a_folder_that_no_cutout_can_be_written_to_is_told_before_anything_is_sent(
    deployed: Deployment, cutout: Callable[..., Any]
) -> None:
    write("a.jpg", "out/kept")
    call = cutout("upload", "a.jpg", "--prefix", "x" * 300, "--out", "out", "--yes")
    assert call.code == 2
    assert "cannot be written: File name too long." in call.err
    Path("loop").symlink_to("loop")
    call = cutout("upload", "a.jpg", "--out", "loop", "--yes")
    assert call.code == 2
    assert "loop" in call.err
    assert keys(deployed) == []


def test_what_a_cap_lets_through_is_said_before(
    deployed: Deployment, cutout: Callable[..., Any], configure: Callable[..., None]
) -> None:
    configure(DAILY_CREDITS="2", CAP_TIME_ZONE="Europe/Berlin", CREDIT_PRICE="0.10 USD")
    write("photos/a.jpg", "photos/b.jpg", "photos/c.jpg")
    call = cutout("upload", "photos")
    assert call.code == 2
    assert "That may cost up to 3 credits (0.30 USD); 1,000 (100.00 USD) are left.\n" in call.err
    assert (
        "The cap will be reached: 2 today, 1 from tomorrow 00:00 Europe/Berlin, if nothing else spends credits. "
        "Uploads wait in the queue.\n"
    ) in call.err
    assert keys(deployed) == []


def test_files_with_a_cutout_do_not_count_for_the_cap(
    deployed: Deployment, cutout: Callable[..., Any], configure: Callable[..., None]
) -> None:
    configure(DAILY_CREDITS="2", CREDIT_PRICE="0.10 USD")
    write("a.jpg", "b.jpg", "c.jpg")
    cutout("upload", "a.jpg", "--yes")
    make_cutout(deployed, "a.jpg", "a.png")
    call = cutout("upload", "a.jpg", "b.jpg", "c.jpg", "--yes")
    assert "may cost up to 2 credits (0.20 USD);" in call.err
    assert "cap" not in call.err


def test_a_pause_at_the_cap_is_said_with_its_end(
    deployed: Deployment, cutout: Callable[..., Any], configure: Callable[..., None]
) -> None:
    configure(DAILY_CREDITS="2")
    IntakeItem(deployed.dynamodb, "ledger").pause_at_cap("daily_cap", "attribute_not_exists(day_ends)", {})
    write("a.jpg")
    assert "The intake is paused: the daily cap was reached. Uploads wait. Credits are left again: it opens" in (
        cutout("upload", "a.jpg", "--yes").err
    )


def test_the_last_line_gives_the_cost_in_money(
    deployed: Deployment, cutout: Callable[..., Any], clock: Clock, configure: Callable[..., None]
) -> None:
    configure(CREDIT_PRICE="0.10 USD")
    write("a.jpg")
    clock.after(9, lambda: make_cutout(deployed, "a.jpg", "a.png"))
    with uploads_answered_at(deployed, datetime.now(UTC) - timedelta(seconds=1)):
        call = cutout("upload", "a.jpg", "--wait", "--yes")
    assert ", 1 credit (0.10 USD), " in call.out.splitlines()[-1]
