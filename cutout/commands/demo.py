"""`cutout demo`: turns photos into cutouts on this machine, and shows them on a page."""

import contextlib
import os
import posixpath
import shutil
import sys
import threading
import time
import unicodedata
from collections import Counter
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
from cutout.operations.files import Became, File, WrongFile, list_files
from cutout.operations.follow import Following
from cutout.operations.intake import Intake
from cutout.operations.send import Sending
from cutout.presentation import gallery, preview
from cutout.project import SAMPLES, TEMPLATE
from cutout.terminal import printable

_PIXELCUT_URL = "https://api.developer.pixelcut.ai"

# Longer than the function may take for one batch: if nothing ends for this long, something is wrong.
_PATIENCE_SECONDS = 150.0


def demo(
    images: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="{IMAGE|FOLDER}",
            show_default=False,
            help="Images, or folders of them, to use instead of the samples.",
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

    Example: cutout demo cat.jpg "my dog.png" photos/ --out cutouts/
    """
    require_local()
    console = Console(highlight=False, markup=False)
    files = name_files(_list(images) if images else _samples())
    earlier = _earlier_files(out)
    _refuse_to_overwrite(files, out, earlier)
    key = os.environ.get("PIXELCUT_API_KEY", "").strip()
    if key:
        _check_key(key)
        _agree_to_spend(len(files), yes=yes)
        note = "Pixelcut removed the backgrounds."
    else:
        note = "A stand-in removed the backgrounds on this machine; Pixelcut's own pictures differ."
    page = _Page(files, out, note)
    _prepare(files, out, earlier, page)

    from cutout.local.stack import local_stack  # noqa: PLC0415  # loads moto and OpenCV, which --help can do without

    console.print(
        f"Starting a local cloud {'that calls Pixelcut' if key else 'and a stand-in for Pixelcut'} ...", soft_wrap=True
    )
    console.print(f"Page: {out / 'index.html'} (shows the cutouts as they come)", soft_wrap=True)
    api = (_PIXELCUT_URL, key) if key else None
    try:
        with console.status("Starting") as status, local_stack(TEMPLATE, out / "log", api=api) as stack:
            _work(files, stack.deployed, out, page, status.update)
    except BaseException:
        for file in files:
            file.reason = file.reason or "The demo was stopped."
        raise
    finally:
        page.write(working=False)
    _report(files, console, page.seconds)
    console.print(f"Page: {out / 'index.html'}\nLog:  {stack.function_log}", soft_wrap=True)
    if any(_outcome(file) is Became.UNFINISHED for file in files):
        raise typer.Exit(1)


def _list(images: Sequence[Path]) -> list[Path]:
    """The images, and those in the folders. Raises BadParameter."""
    left_out: Counter[str] = Counter()
    try:
        found = list(list_files(images, left_out))
    except WrongFile as wrong:
        raise typer.BadParameter(printable(wrong), param_hint="{IMAGE|FOLDER}") from None
    for why, number in left_out.items():
        typer.echo(f"Left out of folders: {number:,} {why}.")
    return found


def _samples() -> list[Path]:
    return sorted(path for path in SAMPLES.iterdir() if path.suffix != ".md")


def name_files(images: Iterable[Path]) -> list[File]:
    """Gives each image its own key and cutout, even on a file system that ignores case."""
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


def _earlier_files(out: Path) -> set[str] | None:
    """What an earlier demo wrote into the folder, as its page names it; None when there is no such page."""
    try:
        page = (out / "index.html").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return gallery.named_files(page) if gallery.MARK in page else None


def _refuse_to_overwrite(files: Sequence[File], out: Path, earlier: set[str] | None) -> None:
    """Raises BadParameter when a file that is not of an earlier demo would be overwritten."""
    images = {file.path.resolve() for file in files}
    known = {"index.html", *earlier} if earlier is not None else set()
    for name in ["index.html", *(name for file in files for name in _names(file))]:
        path = out / name
        if path.exists() and (name not in known or path.resolve() in images):
            raise typer.BadParameter(f"{path} would be overwritten: choose another folder.", param_hint="--out")


def _names(file: File) -> tuple[str, str, str]:
    """Where the original, its preview and the cutout go, relative to the page."""
    return f"originals/{file.key}", f"previews/{Path(file.output_key).stem}.webp", file.output_key


def _check_key(key: str) -> None:
    """Raises BadParameter for a key that cannot pay for an image; reading the balance is free."""
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
    """Raises BadParameter without a terminal, Abort if the user declines."""
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


class _Page:
    """The page of a run, written anew whenever an upload has ended."""

    def __init__(self, files: Sequence[File], out: Path, note: str) -> None:
        self._files, self._out, self._note = files, out, note
        self._writing = threading.Lock()  # uploads end in several threads
        self._began = time.monotonic()
        self._previews: dict[str, dict[str, str]] = {}  # by key, as fields of its entry
        self.seconds: dict[str, float] = {}  # after which uploads have ended, by key

    def begin(self) -> None:
        """The uploads are about to be sent."""
        self._began = time.monotonic()

    def ended(self, file: File) -> None:
        self.seconds[file.key] = time.monotonic() - self._began
        self.write(working=True)

    def show_originals(self) -> None:
        """Call when the originals are there: makes the previews of those that browsers do not show."""
        for file in self._files:
            original, picture, _ = _names(file)
            self._previews[file.key] = preview.show(self._out / original, self._out / "index.html", picture)

    def write(self, *, working: bool) -> None:
        with self._writing:
            entries = [self._entry(file, working=working) for file in self._files]
            part = self._out / ".index.html.part"  # a browser may read the page at any moment
            part.write_text(gallery.render(entries, self._note, working=working), encoding="utf-8")
            part.replace(self._out / "index.html")

    def _entry(self, file: File, *, working: bool) -> gallery.Entry:
        original, _, cutout = _names(file)
        pending = working and file.key not in self.seconds
        return gallery.Entry(
            name=file.key,
            original=original,
            outcome="" if pending else _outcome(file),
            cutout=cutout if file.became is Became.CUTOUT else None,
            seconds=self.seconds.get(file.key),
            reason="" if pending else _reason(file),
            **self._previews.get(file.key, {}),
        )


def _prepare(files: Sequence[File], out: Path, earlier: set[str] | None, page: _Page) -> None:
    """Removes what an earlier demo wrote, and copies the originals, so that the page needs nothing else."""
    images = {file.path.resolve() for file in files}
    try:
        for path in [out / name for name in earlier or ()]:
            if path.is_file() and out.resolve() in path.resolve().parents and path.resolve() not in images:
                path.unlink()
        with contextlib.suppress(OSError):  # there is none, or it is not empty
            (out / "previews").rmdir()
        (out / "originals").mkdir(parents=True, exist_ok=True)
        page.write(working=True)  # first, as it marks the folder as ours
        for file in files:
            shutil.copyfile(file.path, out / _names(file)[0])
        page.show_originals()
        page.write(working=True)
    except OSError as error:
        raise typer.BadParameter(f"{error.filename}: {error.strerror}.", param_hint="--out") from error


def _work(files: Sequence[File], deployed: Deployment, out: Path, page: _Page, say: Callable[[str], None]) -> None:
    """Sends them, and waits until each has ended."""

    def ended(file: File) -> None:
        page.ended(file)
        say(f"{len(page.seconds)} of {len(files)} uploads done")

    page.begin()
    say(f"0 of {len(files)} uploads done")
    Sending(deployed, files, advance=lambda: None).run()
    following = Following(deployed, Intake(None), out, ended, switched=lambda _: None, say=say)
    following.follow(files, _PATIENCE_SECONDS)


def _outcome(file: File) -> Became:
    return file.became if file.became in (Became.CUTOUT, Became.LETTER) else Became.UNFINISHED


def _reason(file: File) -> str:
    if file.became is Became.LETTER:
        return ": ".join(text for text in (file.code, file.reason) if text)
    if file.became is Became.SENT:
        return file.reason or f"no cutout and no letter for {_PATIENCE_SECONDS:.0f} s; see the log"
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
