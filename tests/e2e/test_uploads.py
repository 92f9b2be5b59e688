"""Uploads of every kind, from the input bucket to a cutout or a letter, on the deployed template."""

import functools
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cutout.local.pixelcut.faults import Rule
from cutout.operations.deployment import Deployment
from cutout.operations.explanation import Explanation, Happened, explain
from cutout.terminal import bar
from remove_background.errors import Billed

# The stack of conftest.py: test modules cannot import from it.
Stack = Any

PHOTO = (Path(__file__).parents[2] / "samples" / "astronaut.jpg").read_bytes()


def picture(width: int, height: int, format_: str = "PNG", *, seed: int = 0) -> bytes:
    """A picture with some texture: a single colour has no foreground."""
    rows = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(rows).resize((width, height)).save(file, format_)
    return file.getvalue()


def test_a_photo_becomes_a_cutout(stack: Stack) -> None:
    stack.upload("photo.jpg", PHOTO)
    cutout = stack.wait_for_cutout("photo.png")
    assert cutout["ContentType"] == "image/png"
    with Image.open(io.BytesIO(cutout["Body"])) as image:
        assert (image.format, image.mode, image.size) == ("PNG", "RGBA", (512, 512))
        assert image.getchannel("A").getextrema() == (0, 255)
    (charge,) = [
        charge
        for charge in stack.stand_in.state()["charges"]
        if charge["input_sha256"] == hashlib.sha256(PHOTO).hexdigest()
    ]
    assert charge["result_sha256"] == hashlib.sha256(cutout["Body"]).hexdigest()


def test_a_cutout_and_a_letter_are_explained(stack: Stack) -> None:
    aws = Deployment("cutout", stack.outputs, stack.cloud.client)

    def look(key: str) -> Explanation:
        return explain(aws, key, None, functools.partial(bar, "Looking"))

    stack.upload("explained.png", picture(80, 80, seed=15))
    stack.wait_for_cutout("explained.png")
    stack.wait_until(lambda: bool(look("explained.png").attempts), "line of the log")
    cutout = look("explained.png")
    assert (cutout.happened, cutout.attempts[-1].outcome, cutout.unknown) == (Happened.CUTOUT, "cutout", {})
    assert cutout.account
    assert cutout.account.worst_billed is Billed.YES

    stack.upload("not explained.png", b"This is no image.")
    stack.wait_until(lambda: look("not explained.png").happened is Happened.LETTER, "letter")
    letter = look("not explained.png")
    assert letter.rejection
    assert letter.rejection.code == "unsupported_image_format"


KEYS = [
    "été à la mer/Käse + Brot.jpg",
    "quotes \"double\" and 'single'.jpg",
    "100%25 100% a+b a%2Bb.jpg",
    "🐈/🐈‍⬛.jpg",
    "&<>?#;:@=,$!*().jpg",
    "no-extension",
    "dots.in.name.JPG",
    f"{'long/' * 60}{'é' * 348}.jpg",
]

LIMITS = [(64, 64), (6000, 64), (64, 6000)]


def one_colour() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (100, 100), "teal").save(file, "PNG")
    return file.getvalue()


BAD = {
    "text.jpg": (b"This is no image. " * 100, "unsupported_image_format"),
    "noise.jpg": (bytes(range(256)) * 40, "unsupported_image_format"),
    "empty.jpg": (b"", "malformed_image"),
    "truncated.jpg": (PHOTO[: len(PHOTO) // 3], "malformed_image"),
    "cut-in-header.png": (picture(100, 100)[:20], "malformed_image"),
    "40-megabytes.png": (picture(64, 64) + bytes(40_000_000), "file_size_too_large"),
    "6001-wide.png": (picture(6001, 64), "resolution_too_high"),
    "6001-high.jpg": (picture(64, 6001, "JPEG"), "resolution_too_high"),
    "63-high.gif": (picture(640, 63, "GIF"), "resolution_too_low"),
    "one-colour.png": (one_colour(), "unknown_foreground"),
}


@pytest.fixture(scope="module")
def uploaded(deployed: Stack) -> Stack:
    """Uploaded together: otherwise each test would wait for its own batch."""
    for number, key in enumerate(KEYS):
        deployed.upload(key, picture(200, 100, seed=100 + number))
    for width, height in LIMITS:
        deployed.upload(f"limits-{width}x{height}.jpg", picture(width, height, "JPEG"))
    for key, (body, _) in BAD.items():
        deployed.upload(f"bad/{key}", body)
    return deployed


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key[:12])
def test_a_key_of_any_kind_becomes_a_cutout(uploaded: Stack, key: str) -> None:
    assert len(key.encode()) <= 1000
    stem = key.rpartition(".")[0] or key
    cutout = uploaded.wait_for_cutout(f"{stem}.png")
    made_of = [
        charge["input_sha256"]
        for charge in uploaded.stand_in.state()["charges"]
        if charge["result_sha256"] == hashlib.sha256(cutout["Body"]).hexdigest()
    ]
    assert made_of == [hashlib.sha256(picture(200, 100, seed=100 + KEYS.index(key))).hexdigest()]


@pytest.mark.parametrize("key", BAD)
def test_bad_input_becomes_a_letter_with_its_code(uploaded: Stack, key: str) -> None:
    letter = uploaded.wait_for_letter(f"bad/{key}")
    assert letter["ErrorCode"] == BAD[key][1]
    assert letter["Billed"] == "no"
    assert letter["Source"] == f"s3://{uploaded.outputs['InputBucketName']}/bad/{key}"
    assert letter["ErrorMessage"].endswith(".")


@pytest.mark.parametrize("size", LIMITS)
def test_an_image_just_within_the_limits_becomes_a_cutout(uploaded: Stack, size: tuple[int, int]) -> None:
    cutout = uploaded.wait_for_cutout(f"limits-{size[0]}x{size[1]}.png")
    with Image.open(io.BytesIO(cutout["Body"])) as image:
        assert image.size == size


def test_a_second_upload_of_a_key_replaces_its_cutout(stack: Stack) -> None:
    first, second = picture(80, 80, seed=1), picture(90, 90, seed=2)
    stack.upload("again.png", first)
    stack.wait_for_cutout("again.png")
    stack.upload("again.png", second)

    def replaced() -> bool:
        with Image.open(io.BytesIO(stack.wait_for_cutout("again.png")["Body"])) as image:
            return image.size == (90, 90)

    stack.wait_until(replaced, "second cutout")


def test_two_uploads_of_one_name_do_not_overwrite_each_other(stack: Stack) -> None:
    stack.upload("same.jpg", picture(80, 80, "JPEG", seed=3))
    first = stack.wait_for_cutout("same.png")
    paid = stack.stand_in.state()["credits_charged"]
    stack.upload("same.gif", picture(90, 90, "GIF", seed=4))
    assert stack.wait_for_letter("same.gif")["ErrorCode"] == "output_key_conflict"
    assert stack.wait_for_cutout("same.png")["ETag"] == first["ETag"]
    assert stack.stand_in.state()["credits_charged"] == paid


def test_a_download_that_is_cut_short_is_not_paid_again(stack: Stack) -> None:
    stack.stand_in.set_faults(Rule(on="download", times=2, cut=0.5))
    image = picture(80, 80, seed=5)
    stack.upload("cut.png", image)
    stack.wait_for_cutout("cut.png")
    digest = hashlib.sha256(image).hexdigest()
    assert [charge["input_sha256"] for charge in stack.stand_in.state()["charges"]].count(digest) == 1


def test_the_log_has_one_line_for_each_upload(stack: Stack) -> None:
    stack.upload("logged.png", picture(80, 80, seed=6))
    stack.wait_for_cutout("logged.png")

    def lines() -> list[dict[str, Any]]:
        log = [json.loads(line) for line in stack.log.read_text().splitlines() if line.startswith('{"level"')]
        return [line for line in log if line["source"].endswith("/logged.png")]

    stack.wait_until(lambda: bool(lines()), "log line")
    (line,) = lines()
    assert (line["message"], line["level"], line["attempt"]) == ("cutout", "INFO", 1)


def test_no_secret_is_in_the_log(stack: Stack) -> None:
    stack.upload("secret.png", picture(80, 80, seed=7))
    stack.wait_for_cutout("secret.png")
    stack.wait_until(lambda: "/secret.png" in stack.log.read_text(), "log line")
    log = stack.log.read_text()
    for secret in ("X-Amz-", "local-api-key", "/public/result/"):
        assert secret not in log
