"""`cutout demo`: photos go through the whole path on this machine, and come back as cutouts on a page."""

import json
import os
import posixpath
import shutil
import sys
import time
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import unquote_plus

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from cutout.extras import require_local
from cutout.presentation import gallery
from cutout.project import SAMPLES, TEMPLATE

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient

    from cutout.local.stack import LocalStack

_PIXELCUT_URL = "https://api.developer.pixelcut.ai"

# Longer than the function may take for one batch: when nothing ends for so long, something is wrong.
_STALL_SECONDS = 150.0
_POLL_SECONDS = 0.2


@dataclass
class Upload:
    """An image on its way. The stack's default names the cutout `{stem}.png`."""

    image: Path
    stem: str
    extension: str
    sent: float = 0.0
    seconds: float | None = None
    cutout: bool = False
    reason: str = ""

    @property
    def key(self) -> str:
        return self.stem + self.extension

    @property
    def cutout_key(self) -> str:
        return f"{self.stem}.png"

    @property
    def outcome(self) -> str:
        if self.seconds is None:
            return "unfinished"
        return "cutout" if self.cutout else "letter"


def demo(
    images: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="IMAGE",
            exists=True,
            dir_okay=False,
            readable=True,
            show_default=False,
            help="Images to use instead of the samples.",
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option(file_okay=False, writable=True, help="Folder for the cutouts and the page.")
    ] = Path("out"),
    yes: Annotated[bool, typer.Option("--yes", help="Spend credits without asking.")] = False,
) -> None:
    """Turn some photos into cutouts, and show them on a page.

    The photos go through the stack itself, deployed to a local cloud, with a stand-in for Pixelcut, on this machine.
    With PIXELCUT_API_KEY set, Pixelcut itself is used, and charges for it.

    Example: cutout demo cat.jpg dog.heic --out cutouts/
    """
    require_local()
    console = Console(highlight=False, markup=False)
    uploads = name_uploads(images or _samples())
    _refuse_to_overwrite(uploads, out)
    key = os.environ.get("PIXELCUT_API_KEY", "").strip()
    if key:
        _check_key(key)
        _agree_to_spend(len(uploads), yes=yes)
        note = "Pixelcut removed the backgrounds."
    else:
        note = "A stand-in removed the backgrounds on this machine; Pixelcut's own pictures differ."
    _prepare(uploads, out, note)

    from cutout.local.stack import local_stack  # noqa: PLC0415  # loads moto and OpenCV, which --help can do without

    console.print(
        f"Starting a local cloud {'that calls Pixelcut' if key else 'and a stand-in for Pixelcut'} ...", soft_wrap=True
    )
    api = (_PIXELCUT_URL, key) if key else None
    with console.status("Starting") as status, local_stack(TEMPLATE, out / "log", api=api) as stack:
        _send(uploads, stack)
        _follow(uploads, stack, out, status.update)
    _write_page(uploads, out, note)
    _report(uploads, console)
    console.print(f"Page: {out / 'index.html'}\nLog:  {stack.function_log}", soft_wrap=True)
    if any(upload.outcome == "unfinished" for upload in uploads):
        raise typer.Exit(1)


def _samples() -> list[Path]:
    return sorted(path for path in SAMPLES.iterdir() if path.suffix != ".md")


def name_uploads(images: Iterable[Path]) -> list[Upload]:
    """Gives each image a key and a cutout of its own, also where a file system ignores case."""
    taken: set[str] = set()
    uploads = []
    for image in images:
        name = "".join(character if character.isprintable() else "_" for character in image.name)
        first, extension = posixpath.splitext(name)
        first = first.encode()[:200].decode(errors="ignore")  # file names end at 255 bytes
        for number in count(1):
            stem = first if number == 1 else f"{first}-{number}"
            folded = unicodedata.normalize("NFC", stem).casefold()
            if folded not in taken:
                break
        taken.add(folded)
        uploads.append(Upload(image, stem, extension))
    return uploads


def _refuse_to_overwrite(uploads: Sequence[Upload], out: Path) -> None:
    """Raises BadParameter when a file that is not of an earlier demo would be overwritten."""
    page = out / "index.html"
    ours = page.is_file() and gallery.MARK in page.read_text(encoding="utf-8", errors="replace")
    images = {upload.image.resolve() for upload in uploads}
    for path in [page, *(path for upload in uploads for path in _paths(upload, out))]:
        if path.exists() and (not ours or path.resolve() in images):
            raise typer.BadParameter(f"{path} would be overwritten: choose another folder.", param_hint="--out")


def _paths(upload: Upload, out: Path) -> tuple[Path, Path]:
    """Where the original and the cutout go."""
    return out / "originals" / upload.key, out / upload.cutout_key


def _check_key(key: str) -> None:
    """Raises BadParameter for a key that no image could be paid with; asking for the balance is free."""
    import requests  # noqa: PLC0415  # --help can do without

    try:
        answer = requests.get(
            f"{_PIXELCUT_URL}/v1/credits",
            headers={"X-API-KEY": key.encode()},
            timeout=10,
            allow_redirects=False,
        )
    except requests.RequestException:
        raise typer.BadParameter(f"{_PIXELCUT_URL} cannot be reached.", param_hint="PIXELCUT_API_KEY") from None
    if answer.status_code == requests.codes.unauthorized:
        raise typer.BadParameter("Pixelcut does not know this key.", param_hint="PIXELCUT_API_KEY")


def _agree_to_spend(images: int, *, yes: bool) -> None:
    """Raises BadParameter when nobody can be asked, Abort when the answer is no."""
    message = (
        f"PIXELCUT_API_KEY is set, so Pixelcut itself is used. Credits to spend: {images} at most, "
        "or more if answers are lost and images have to be sent again."
    )
    typer.echo(message)
    if yes:
        return
    if not sys.stdin.isatty():
        raise typer.BadParameter("spending credits wants --yes, or PIXELCUT_API_KEY unset.", param_hint="--yes")
    typer.confirm("Go on?", abort=True)


def _prepare(uploads: Sequence[Upload], out: Path, note: str) -> None:
    """Copies the originals, so that the page needs nothing else, and removes the cutouts of an earlier demo."""
    try:
        (out / "originals").mkdir(parents=True, exist_ok=True)
        _write_page(uploads, out, note)  # first, as it marks the folder as ours
        for upload in uploads:
            original, cutout = _paths(upload, out)
            shutil.copyfile(upload.image, original)
            cutout.unlink(missing_ok=True)
    except OSError as error:
        raise typer.BadParameter(f"{error.filename}: {error.strerror}.", param_hint="--out") from error


def _write_page(uploads: Sequence[Upload], out: Path, note: str) -> None:
    entries = [
        gallery.Entry(
            name=upload.key,
            original=f"originals/{upload.key}",
            outcome=upload.outcome,
            cutout=upload.cutout_key if upload.cutout else None,
            seconds=upload.seconds,
            reason=upload.reason,
        )
        for upload in uploads
    ]
    (out / "index.html").write_text(gallery.render(entries, note), encoding="utf-8")


def _send(uploads: Sequence[Upload], stack: "LocalStack") -> None:
    s3 = stack.cloud.client("s3")
    for upload in uploads:
        with upload.image.open("rb") as body:
            s3.put_object(Bucket=stack.outputs["InputBucketName"], Key=upload.key, Body=body)
        upload.sent = time.monotonic()


def _follow(uploads: Sequence[Upload], stack: "LocalStack", out: Path, say: Callable[[str], None]) -> None:
    """Waits until each upload has ended as a cutout or a letter, or until none has ended for too long."""
    s3, sqs = stack.cloud.client("s3"), stack.cloud.client("sqs")
    bucket = stack.outputs["OutputBucketName"]
    waiting = list(uploads)
    changed = time.monotonic()
    while waiting and time.monotonic() - changed < _STALL_SECONDS:
        say(f"{len(uploads) - len(waiting)} of {len(uploads)} uploads done")
        cutouts = _cutout_keys(s3, bucket)
        letters = _reasons(sqs, stack.outputs["DeadLetterQueueUrl"])
        for upload in waiting:
            if upload.cutout_key in cutouts:
                s3.download_file(bucket, upload.cutout_key, str(_paths(upload, out)[1]))
                upload.cutout = True
            elif upload.key in letters:
                upload.reason = letters[upload.key]
            else:
                continue
            upload.seconds = time.monotonic() - upload.sent
            changed = time.monotonic()
        waiting = [upload for upload in waiting if upload.seconds is None]
        time.sleep(_POLL_SECONDS)
    for upload in waiting:
        upload.reason = f"no cutout and no letter for {_STALL_SECONDS:.0f} s; see the log"


def _cutout_keys(s3: "S3Client", bucket: str) -> set[str]:
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    return {found["Key"] for page in pages for found in page.get("Contents", [])}


def _reasons(sqs: "SQSClient", queue: str) -> dict[str, str]:
    """Key of an upload -> code and message of its letter, for the letters that were not read before."""
    letters = sqs.receive_message(
        QueueUrl=queue, MaxNumberOfMessages=10, MessageAttributeNames=["All"], VisibilityTimeout=43200
    ).get("Messages", [])
    reasons = {}
    for letter in letters:
        attributes = letter.get("MessageAttributes", {})
        said = [attributes[name]["StringValue"] for name in ("ErrorCode", "ErrorMessage") if name in attributes]
        for record in json.loads(letter["Body"])["Records"]:
            reasons[unquote_plus(record["s3"]["object"]["key"])] = (
                ": ".join(said) or "the function could not say why; see the log"
            )
    return reasons


def _report(uploads: Sequence[Upload], console: Console) -> None:
    table = Table(
        Column("File", overflow="fold"),
        Column("Became"),
        Column("Seconds", justify="right"),
        Column("Why not", overflow="fold"),
        box=SIMPLE_HEAD,
    )
    colours = {"cutout": "green", "letter": "yellow", "unfinished": "red"}
    for upload in uploads:
        seconds = "" if upload.seconds is None else f"{upload.seconds:.1f}"
        table.add_row(
            Text(upload.key), Text(upload.outcome, colours[upload.outcome]), Text(seconds), Text(upload.reason)
        )
    console.print(table)
