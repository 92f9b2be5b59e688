"""`cutout demo`: photos go through the whole path on this machine, and come back as cutouts on a page."""

import os
import posixpath
import shutil
import sys
import time
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from cutout.extras import require_local
from cutout.operations.deployment import Deployment
from cutout.operations.files import Became, File
from cutout.operations.follow import Following
from cutout.operations.intake import Intake
from cutout.operations.send import Sending
from cutout.presentation import gallery
from cutout.project import SAMPLES, TEMPLATE

_PIXELCUT_URL = "https://api.developer.pixelcut.ai"

# Longer than the function may take for one batch: when nothing ends for so long, something is wrong.
_PATIENCE_SECONDS = 150.0


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
    files = name_files(images or _samples())
    _refuse_to_overwrite(files, out)
    key = os.environ.get("PIXELCUT_API_KEY", "").strip()
    if key:
        _check_key(key)
        _agree_to_spend(len(files), yes=yes)
        note = "Pixelcut removed the backgrounds."
    else:
        note = "A stand-in removed the backgrounds on this machine; Pixelcut's own pictures differ."
    _prepare(files, out, note)

    from cutout.local.stack import local_stack  # noqa: PLC0415  # loads moto and OpenCV, which --help can do without

    console.print(
        f"Starting a local cloud {'that calls Pixelcut' if key else 'and a stand-in for Pixelcut'} ...", soft_wrap=True
    )
    api = (_PIXELCUT_URL, key) if key else None
    with console.status("Starting") as status, local_stack(TEMPLATE, out / "log", api=api) as stack:
        seconds = _work(files, stack.deployed, out, status.update)
    _write_page(files, out, note, seconds)
    _report(files, console, seconds)
    console.print(f"Page: {out / 'index.html'}\nLog:  {stack.function_log}", soft_wrap=True)
    if any(_outcome(file) is Became.UNFINISHED for file in files):
        raise typer.Exit(1)


def _samples() -> list[Path]:
    return sorted(path for path in SAMPLES.iterdir() if path.suffix != ".md")


def name_files(images: Iterable[Path]) -> list[File]:
    """Gives each image a key and a cutout of its own, also where a file system ignores case."""
    taken: set[str] = set()
    files = []
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
        files.append(File(image, 0, stem + extension, f"{stem}.png"))  # as the stack's default names the cutout
    return files


def _refuse_to_overwrite(files: Sequence[File], out: Path) -> None:
    """Raises BadParameter when a file that is not of an earlier demo would be overwritten."""
    page = out / "index.html"
    ours = page.is_file() and gallery.MARK in page.read_text(encoding="utf-8", errors="replace")
    images = {file.path.resolve() for file in files}
    for path in [page, *(path for file in files for path in _paths(file, out))]:
        if path.exists() and (not ours or path.resolve() in images):
            raise typer.BadParameter(f"{path} would be overwritten: choose another folder.", param_hint="--out")


def _paths(file: File, out: Path) -> tuple[Path, Path]:
    """Where the original and the cutout go."""
    return out / "originals" / file.key, out / file.output_key


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


def _prepare(files: Sequence[File], out: Path, note: str) -> None:
    """Copies the originals, so that the page needs nothing else, and removes the cutouts of an earlier demo."""
    try:
        (out / "originals").mkdir(parents=True, exist_ok=True)
        _write_page(files, out, note, {})  # first, as it marks the folder as ours
        for file in files:
            original, cutout = _paths(file, out)
            shutil.copyfile(file.path, original)
            cutout.unlink(missing_ok=True)
    except OSError as error:
        raise typer.BadParameter(f"{error.filename}: {error.strerror}.", param_hint="--out") from error


def _write_page(files: Sequence[File], out: Path, note: str, seconds: Mapping[str, float]) -> None:
    entries = [
        gallery.Entry(
            name=file.key,
            original=f"originals/{file.key}",
            outcome=_outcome(file),
            cutout=file.output_key if file.became is Became.CUTOUT else None,
            seconds=seconds.get(file.key),
            reason=_reason(file),
        )
        for file in files
    ]
    (out / "index.html").write_text(gallery.render(entries, note), encoding="utf-8")


def _work(files: Sequence[File], deployed: Deployment, out: Path, say: Callable[[str], None]) -> dict[str, float]:
    """Sends them, and waits until each has ended. Returns after how many seconds each did, by its key."""
    began = time.monotonic()
    seconds: dict[str, float] = {}

    def ended(file: File) -> None:
        seconds[file.key] = time.monotonic() - began
        say(f"{len(seconds)} of {len(files)} uploads done")

    say(f"0 of {len(files)} uploads done")
    Sending(deployed, files, advance=lambda: None).run()
    following = Following(deployed, Intake(None), out, ended, switched=lambda _: None, say=say)
    following.follow(files, _PATIENCE_SECONDS)
    return seconds


def _outcome(file: File) -> Became:
    return file.became if file.became in (Became.CUTOUT, Became.LETTER) else Became.UNFINISHED


def _reason(file: File) -> str:
    if file.became is Became.LETTER:
        return ": ".join(text for text in (file.code, file.reason) if text)
    if file.became is Became.SENT:
        return f"no cutout and no letter for {_PATIENCE_SECONDS:.0f} s; see the log"
    return file.reason or ""


def _report(files: Sequence[File], console: Console, seconds: Mapping[str, float]) -> None:
    table = Table(
        Column("File", overflow="fold"),
        Column("Became"),
        Column("Seconds", justify="right"),
        Column("Why not", overflow="fold"),
        box=SIMPLE_HEAD,
    )
    colours = {Became.CUTOUT: "green", Became.LETTER: "yellow", Became.UNFINISHED: "red"}
    for file in files:
        outcome, took = _outcome(file), seconds.get(file.key)
        table.add_row(
            Text(file.key),
            Text(outcome, colours[outcome]),
            Text("" if took is None else f"{took:.1f}"),
            Text(_reason(file)),
        )
    console.print(table)
