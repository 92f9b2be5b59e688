import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError
from botocore.response import StreamingBody

from cutout.operations import download
from cutout.operations.deployment import Deployment
from remove_background.models import cutout_metadata
from remove_background.uploads import Upload

Cutout = Callable[..., Any]


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deployed: Deployment) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("cutout.operations.deployment.find", lambda *_: deployed)
    yield
    assert not list(tmp_path.rglob("*.part"))


def put(deployed: Deployment, key: str, body: bytes = b"png") -> str:
    metadata = cutout_metadata(Upload("input", key, hashlib.md5(body).hexdigest()))
    deployed.s3.put_object(Bucket="output", Key=key, Body=body, Metadata=metadata)
    return key


def files() -> dict[str, bytes]:
    top = Path("out")
    return {path.relative_to(top).as_posix(): path.read_bytes() for path in top.rglob("*") if path.is_file()}


def test_all_cutouts_are_fetched_under_their_keys(deployed: Deployment, cutout: Cutout) -> None:
    put(deployed, "a.png", b"one"), put(deployed, "photos/été/b c.png", b"two")
    deployed.s3.put_object(Bucket="output", Key="photos/")  # a folder of S3's console
    call = cutout("download", "--out", "out")
    assert (call.code, call.out) == (0, "2 cutouts fetched into out.\n")
    assert call.err == "To be fetched: 2 files, 6 bytes.\n"
    assert files() == {"a.png": b"one", "photos/été/b c.png": b"two"}


def test_a_prefix_selects_cutouts(deployed: Deployment, cutout: Cutout) -> None:
    put(deployed, "a.png"), put(deployed, "photos/b.png")
    assert cutout("download", "photos/", "--out", "out", "--json").json["fetched"] == 1
    assert set(files()) == {"photos/b.png"}


def test_a_file_that_is_there_is_not_fetched_again(
    deployed: Deployment, cutout: Cutout, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(deployed, "a.png"), put(deployed, "b.png", b"two")
    cutout("download", "--out", "out")
    put(deployed, "c.png")
    fetched = []
    get = deployed.s3.get_object

    def note(**call: Any) -> Any:  # noqa: ANN401
        fetched.append(call["Key"])
        return get(**call)

    monkeypatch.setattr(deployed.s3, "get_object", note)
    call = cutout("download", "--out", "out")
    assert (call.out, call.err) == (
        "1 cutout fetched into out.\n",
        "To be fetched: 1 file, 3 bytes. 2 are there already.\n",
    )
    assert fetched == ["c.png"]
    assert cutout("download", "--out", "out").out == "3 cutouts in out already.\n"


@pytest.mark.parametrize("other", [b"abc", b"a longer one"])
def test_a_different_file_is_replaced_after_consent(deployed: Deployment, cutout: Cutout, other: bytes) -> None:
    put(deployed, "a.png")
    Path("out").mkdir()
    Path("out/a.png").write_bytes(other)
    call = cutout("download", "--out", "out")
    assert call.code == 2
    assert "1 file in out will be replaced.\nNothing was done: no terminal to ask on. Add --yes." in call.err
    assert files() == {"a.png": other}
    assert cutout("download", "--out", "out", "--yes").code == 0
    assert files() == {"a.png": b"png"}


@pytest.mark.parametrize("key", ["../a.png", "x/../../a.png", "/a.png", "x//a.png", "away/a.png", "./a.png"])
def test_a_key_that_would_leave_the_folder_is_refused(deployed: Deployment, cutout: Cutout, key: str) -> None:
    put(deployed, key), put(deployed, "b.png")
    Path("out").mkdir()
    Path("elsewhere").mkdir()
    Path("out/away").symlink_to(Path("elsewhere").resolve())
    call = cutout("download", "--out", "out", "--json")
    assert call.code == 1
    assert (call.json["fetched"], call.json["outside_the_folder"]) == (1, [key])
    assert f"1 object left out, as they would be written outside the folder: {key}\n" in call.err
    assert list(files()) == ["b.png"]
    assert not list(Path("elsewhere").iterdir())
    assert not Path("a.png").exists()


def test_an_object_that_is_not_a_cutout_is_left_out(deployed: Deployment, cutout: Cutout) -> None:
    put(deployed, "a.png")
    deployed.s3.put_object(Bucket="output", Key="notes\x1b[31m.txt", Body=b"notes")
    call = cutout("download", "--out", "out")
    assert call.code == 0
    assert r"1 object left out, as they are not cutouts of this stack: notes\x1b[31m.txt" in call.err
    assert list(files()) == ["a.png"]


def test_uploads_in_the_same_bucket_are_not_fetched(
    deployed: Deployment, cutout: Cutout, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(deployed, "in/a.png"), put(deployed, "out/a.png")
    monkeypatch.setattr(Deployment, "input_bucket", "output")
    monkeypatch.setattr(Deployment, "settings", {"INPUT_PREFIX": "in/"})
    cutout("download", "--out", "out")
    assert list(files()) == ["out/a.png"]


def test_an_empty_bucket_is_reported(cutout: Cutout) -> None:
    call = cutout("download", "--out", "out")
    assert (call.code, call.out, call.err) == (0, "There are no such cutouts.\n", "")


def test_a_file_that_cannot_be_written_does_not_stop_the_others(deployed: Deployment, cutout: Cutout) -> None:
    put(deployed, "a.png"), put(deployed, "a.png/b.png"), put(deployed, "n" * 300), put(deployed, "z.png")
    call = cutout("download", "--out", "out", "--json")
    assert call.code == 1
    assert call.json["fetched"] == 2
    assert len(call.json["not_written"]) == 2
    assert "File name too long" in call.err
    assert "z.png" in files()


def test_a_name_that_is_too_long_for_a_file_does_not_keep_the_others(deployed: Deployment, cutout: Cutout) -> None:
    put(deployed, "a.png"), put(deployed, f"{'x' * 300}.png")
    for number in (1, 0):
        call = cutout("download", "--out", "out")
        assert call.code == 1
        assert ("1 cutout fetched into out." in call.out) == bool(number)
        assert "There are no such cutouts." not in call.out
        assert f"out/{'x' * 300}.png: File name too long." in call.err.replace(f"{Path.cwd()}/", "")
    assert set(files()) == {"a.png"}


def test_a_folder_that_leads_back_to_itself_is_told(deployed: Deployment, cutout: Cutout) -> None:
    put(deployed, "a.png"), put(deployed, "loop/b.png")
    Path("out").mkdir()
    Path("out/loop").symlink_to("loop")
    call = cutout("download", "--out", "out")
    assert (call.code, call.out) == (1, "1 cutout fetched into out.\n")
    assert "1 object not written: " in call.err
    call = cutout("download", "--out", "out/loop", "--yes")
    assert call.code == 1
    assert call.out == ""
    assert "2 objects not written: " in call.err


def test_an_answer_that_breaks_off_is_asked_for_again(
    deployed: Deployment, cutout: Cutout, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(deployed, "a.png")
    chunks = StreamingBody.iter_chunks
    broken: list[int] = []

    def break_off(body: StreamingBody, size: int) -> Iterator[bytes]:
        if len(broken) < download.ATTEMPTS - 1:
            broken.append(1)
            yield b"p"
            raise ReadTimeoutError(endpoint_url="https://s3")
        yield from chunks(body, size)

    monkeypatch.setattr(StreamingBody, "iter_chunks", break_off)
    assert cutout("download", "--out", "out").code == 0
    assert files() == {"a.png": b"png"}


def test_ctrl_c_says_how_to_go_on(deployed: Deployment, cutout: Cutout, monkeypatch: pytest.MonkeyPatch) -> None:
    put(deployed, "a.png"), put(deployed, "b.png")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(download, "_try", interrupt)
        call = cutout("download", "--out", "out")
    assert call.code == 130
    assert "0 of 2 files were fetched; the same call goes on with the others." in call.err
    assert cutout("download", "--out", "out").code == 0
