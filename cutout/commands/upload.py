"""`cutout upload`: files and folders go into the input bucket, and are followed to their cutouts."""

import functools
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from botocore.exceptions import BotoCoreError, ClientError
from rich.box import SIMPLE_HEAD
from rich.table import Column, Table
from rich.text import Text

from cutout.commands.options import STACK_NAME, AsJson, EndpointUrl, StackName, Wait, Yes
from cutout.failures import Failure
from cutout.operations import budget, deployment, output_keys, preflight
from cutout.operations import credits as balance
from cutout.operations import files as local_files
from cutout.operations import intake as stack_intake
from cutout.operations.deployment import Deployment
from cutout.operations.files import Became, File, WrongFile, WrongPrefix
from cutout.operations.intake import Intake
from cutout.operations.send import Sending
from cutout.presentation import following as following_lines
from cutout.presentation import gallery, preview
from cutout.presentation import sending as sending_words
from cutout.presentation.caps import word_plan
from cutout.presentation.intake import word_pause
from cutout.presentation.sending import SHOWN
from cutout.terminal import agree, bar, console, print_json, printable, progress
from cutout.words import count

A_FEW = 5
_DONE = (Became.SENT, Became.CUTOUT)
_BEFORE_THE_END = (Became.NOT_SENT, Became.SENT)


def upload(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE|FOLDER",
            exists=True,
            readable=True,
            show_default=False,
            help="What to send, folders whole.",
        ),
    ],
    prefix: Annotated[
        str, typer.Option(show_default=False, help="Folder in the bucket that the files go into, such as `2024/trip`.")
    ] = "",
    wait: Wait = False,
    out: Annotated[
        Path | None,
        typer.Option(
            file_okay=False,
            writable=True,
            show_default=False,
            help="Folder to fetch the cutouts into, with a page that shows them; implies --wait.",
        ),
    ] = None,
    stack_name: StackName = STACK_NAME,
    endpoint_url: EndpointUrl = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Send images to be turned into cutouts.

    A file in a folder keeps its path in that folder: photos/trip/a.jpg of the folder photos is sent as trip/a.jpg.
    Hidden files in it are left out.

    A file that can never become a cutout, such as a text, an empty file or one of more than 25 MB, is named and left
    out, also with --yes. The exit code is 1 then.

    Sending a file again costs nothing while its cutout is there, so a call that was interrupted can be repeated. The
    cost that is stated leaves those out, of up to 5,000 files. Not in a bucket that encrypts with SSE-KMS: there each
    upload counts as another image.

    Example: cutout upload photos/ --wait --out cutouts/
    """
    deployed = deployment.find(stack_name, endpoint_url)
    prefix = _as_folder(prefix, deployed)
    output_key = output_keys.output_key(deployed)
    with _wrong_file_is_wrong_usage():
        files, left_out = local_files.find(paths, prefix, output_key)
    intake = stack_intake.read(deployed)
    promising, hopeless = preflight.leave_out_hopeless(files)
    _tell_hopeless(hopeless)
    if not promising:
        if as_json:
            print_json(_as_json(deployed, files, left_out))
        raise Failure("Nothing was sent.")
    _tell(deployed, promising, left_out, intake, out)
    agree(yes=yes, question=f"Leave {len(hopeless):,} out, and go on?" if hopeless else "Go on?")
    if out:
        _make_folder(out)
    began = time.monotonic()
    try:
        with progress() as shown:
            sending = shown.add_task("Sending", total=len(promising))
            Sending(deployed, promising, lambda: shown.advance(sending)).run()
        sent = [file for file in promising if file.upload]
        if wait or out:
            _say(f"Sent {len(sent):,} of {count(len(promising), 'file')}.")
            following_lines.follow(deployed, sent, intake, out)
    except (KeyboardInterrupt, Failure, BotoCoreError, ClientError):
        _tell_where_it_stopped(promising)
        raise
    page = _write_page(sent, out) if out and sent else None
    if as_json:
        print_json(_as_json(deployed, files, left_out, page))
    else:
        _report(files, out)
        if page:
            typer.echo(f"Page: {printable(page)}")
        if sent and (wait or out):
            typer.echo(following_lines.word_end(sent, time.monotonic() - began, budget.price(deployed)))
    if any(file.became not in _DONE for file in files):
        raise typer.Exit(1)


def _as_folder(prefix: str, deployed: Deployment) -> str:
    try:
        return local_files.as_folder(prefix, deployed.settings["INPUT_PREFIX"])
    except WrongPrefix as wrong:
        raise typer.BadParameter(str(wrong), param_hint="--prefix") from None


@contextmanager
def _wrong_file_is_wrong_usage() -> Iterator[None]:
    try:
        yield
    except WrongFile as wrong:
        where = "--out" if wrong.destination else "FILE|FOLDER"
        raise typer.BadParameter(printable(wrong), param_hint=where) from None


def _tell_hopeless(files: Sequence[File]) -> None:
    if not files:
        return
    _say(sending_words.word_hopeless(len(files)))
    for file in files[:A_FEW]:
        _say(f"  {file.path}: {file.reason}")
    if files[A_FEW:]:
        _say(f"  and {len(files) - A_FEW:,} more.")


def _tell(
    deployed: Deployment, files: Sequence[File], left_out: Counter[str], intake: Intake, out: Path | None
) -> None:
    """Says on stderr what is going to happen."""
    for sentence in sending_words.word_left_out(left_out):
        _say(sentence)
    _say(sending_words.word_total(files, deployed.input_bucket))
    for sentence in sending_words.word_shared(local_files.find_shared_cutouts(files)):
        _say(sentence)
    if out:
        with _wrong_file_is_wrong_usage():
            replaced = local_files.count_replaced(files, out)
        if replaced:
            _say(f"{count(replaced, 'file')} in {out} will be replaced by cutouts.")
    if intake.paused_by:
        _say(word_pause(intake))
    left = balance.read(deployed)
    done = preflight.count_done(deployed, files, functools.partial(bar, "Looking for cutouts"))
    if done:
        have = "has its cutout already, and costs" if done == 1 else "have their cutouts already, and cost"
        _say(f"{done:,} of them {have} nothing.")
    _say(sending_words.word_cost(len(files) - done, left, budget.price(deployed)))
    for sentence in word_plan(budget.look(deployed), len(files) - done):
        _say(sentence)


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise typer.BadParameter(f"{error.filename}: {error.strerror}.", param_hint="--out") from None


def _write_page(sent: Sequence[File], out: Path) -> Path | None:
    """A page that shows the cutouts beside their originals; None where it cannot be written."""
    page = out / "index.html"
    try:
        earlier = page.read_text(encoding="utf-8", errors="replace") if page.exists() else None
        if earlier is not None and gallery.UPLOAD_MARK not in earlier:
            _say(f"{page} is left as it is: `cutout upload` did not write it. So there is no page of the cutouts.")
            return None
        ours = gallery.named_files(earlier or "")
        entries = [_entry(file, page, ours) for file in sent]
        note = "The originals are shown from where they were uploaded."
        page.write_text(gallery.render(entries, note, gallery.UPLOAD_MARK), encoding="utf-8")
    except OSError as error:
        _say(f"There is no page of the cutouts: {error.filename}: {error.strerror}.")
        return None
    return page


def _entry(file: File, page: Path, ours: Set[str]) -> gallery.Entry:
    """`ours` are the files that an earlier page names, which may be overwritten."""
    picture = f"previews/{Path(file.output_key).with_suffix('.webp').as_posix()}"
    may_write = picture in ours or not (page.parent / picture).exists()
    return gallery.Entry(
        name=file.key,
        original=Path(os.path.relpath(os.path.realpath(file.path), os.path.realpath(page.parent))).as_posix(),
        outcome=_word(file.became),
        cutout=file.output_key if file.became is Became.CUTOUT else None,
        reason=_why(file),
        **preview.show(file.path, page, picture, may_write=may_write),
    )


def _tell_where_it_stopped(files: Sequence[File]) -> None:
    became = Counter(file.became for file in files)
    sent = len(files) - became[Became.NOT_SENT]
    ends = [f"{_word(kind)} {became[kind]:,}" for kind in Became if kind not in _BEFORE_THE_END and became[kind]]
    _say(f"Stopped. Sent {sent:,} of {count(len(files), 'file')}; these go on without this command.")
    if ends:
        _say(f"Ended so far: {', '.join(ends)}.")
    _say(
        "The same call sends all of them again, which costs nothing for those that have a cutout or are in flight "
        "(in a bucket that encrypts with SSE-KMS each is paid for again)."
    )


def _report(files: Sequence[File], out: Path | None) -> None:
    became = Counter(file.became for file in files)
    codes = _count_codes(files)
    table = Table("Became", Column("Files", justify="right"), box=SIMPLE_HEAD)
    for kind in Became:
        if became[kind]:
            table.add_row(_word(kind), f"{became[kind]:,}")
        if kind is Became.LETTER:
            for code, number in codes.most_common():
                table.add_row(Text(f"  {printable(code)}"), f"{number:,}")
    screen = console()
    screen.print(table)
    failed = [file for kind in Became if kind not in _DONE for file in files if file.became is kind]
    if failed:
        screen.print(_list(failed[:SHOWN]))
    if failed[SHOWN:]:
        screen.print(f"And {len(failed) - SHOWN:,} more.")
    if codes:
        screen.print("`cutout letters list` shows the letters, and what to do with each.")
    if became[Became.SENT]:
        screen.print("`cutout status` shows how they get on.")
    if out and became[Became.CUTOUT]:
        screen.print(Text(f"The cutouts are in {printable(out)}."), soft_wrap=True)


def _count_codes(files: Sequence[File]) -> Counter[str]:
    """Those of letters."""
    return Counter(file.code for file in files if file.code and file.became is Became.LETTER)


def _list(files: Sequence[File]) -> Table:
    table = Table(Column("File", overflow="fold"), "Became", Column("Why", overflow="fold"), box=SIMPLE_HEAD)
    for file in files:
        table.add_row(Text(printable(file.path)), _word(file.became), Text(printable(_why(file))))
    return table


def _as_json(
    deployed: Deployment, files: Sequence[File], left_out: Counter[str], page: Path | None = None
) -> dict[str, Any]:
    became = Counter(file.became for file in files)
    return {
        "input_bucket": deployed.input_bucket,
        "output_bucket": deployed.output_bucket,
        "left_out": left_out.total(),
        "page": None if page is None else str(page),
        "became": {kind.value: became[kind] for kind in Became if became[kind]},
        "letters": dict(_count_codes(files).most_common()),
        "files": [
            {
                "file": str(file.path),
                "key": file.key,
                "became": file.became,
                "output_key": file.output_key,
                "code": file.code,
                "reason": file.reason,
            }
            for file in files
        ],
    }


def _why(file: File) -> str:
    return ": ".join(part for part in (file.code, file.reason) if part)


def _word(became: Became) -> str:
    return became.replace("_", " ")


def _say(text: str) -> None:
    typer.echo(printable(text), err=True)
