"""A folder that cannot be what an earlier start has left is refused, and left as it is."""

import json
from pathlib import Path

import pytest
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends

from cutout.failures import Failure
from cutout.local.aws.kept_state import KeptState


def start(folder: Path) -> None:
    """And stop."""
    state = KeptState(folder, "us-east-1")
    with state.held():
        try:
            state.restore()
        finally:
            state.save()


def test_a_new_folder_is_made_and_an_empty_one_taken(tmp_path: Path) -> None:
    for _ in range(2):
        start(tmp_path / "new" / "state")
    (tmp_path / "empty").mkdir()
    start(tmp_path / "empty")


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text("of another program")
    with pytest.raises(Failure, match="holds something else: name a new folder"):
        start(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "is damaged"),
        ("[]", "was kept by another version"),
        ('{"format": 0}', "was kept by another version"),
        (
            json.dumps({"format": 1, "tables": {}, "mappings": {}, "buckets": {"a-bucket-local": {}}, "queues": {}}),
            "holds what was in a-bucket-local, which this template does not make",
        ),
    ],
)
def test_a_state_that_cannot_be_taken_up_stays_as_it_is(tmp_path: Path, text: str, sentence: str) -> None:
    start(tmp_path)
    (tmp_path / "state.json").write_text(text)
    with pytest.raises(Failure, match=sentence):
        start(tmp_path)
    assert (tmp_path / "state.json").read_text() == text


def test_an_object_whose_content_is_gone_is_told(tmp_path: Path) -> None:
    backend = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
    backend.create_bucket("a-bucket-local", "us-east-1")
    try:
        backend.put_object("a-bucket-local", "a.png", b"a", disable_notification=True)
        start(tmp_path)
        (content,) = (tmp_path / "objects").iterdir()
        content.unlink()
        with pytest.raises(Failure, match=f"{content.name} cannot be read"):
            start(tmp_path)
    finally:
        backend.reset()


def test_two_clouds_do_not_share_a_folder(tmp_path: Path) -> None:
    with KeptState(tmp_path, "us-east-1").held(), pytest.raises(Failure, match="Another local cloud uses"):
        start(tmp_path)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Failure, match="cannot be used for the state: Not a directory"):
        start(tmp_path / "file" / "state")


def test_a_state_that_cannot_be_saved_is_told(tmp_path: Path) -> None:
    start(tmp_path)
    before = (tmp_path / "state.json").read_text()
    (tmp_path / "state.part").mkdir()  # where the new one is to be written
    with pytest.raises(Failure, match=r"The state was not saved .*: Is a directory"):
        start(tmp_path)
    assert (tmp_path / "state.json").read_text() == before
