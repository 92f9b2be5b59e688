"""Writes the generated parts of these pages; `--check` compares them, and follows every link.

.venv/bin/python docs/generate.py [--check]
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from samtranslator.yaml_helper import yaml_parse

from cutout.__main__ import COMMANDS, CONTEXT, app, load
from cutout.presentation.advice import ADVICE, OTHER

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
COLUMNS = 100  # of a help text


def parameters() -> Iterator[str]:
    yield "| parameter | default | |"
    yield "| --- | --- | --- |"
    for name, parameter in yaml_parse((ROOT / "template.yaml").read_text(encoding="utf-8"))["Parameters"].items():
        default = str(parameter["Default"])
        yield f"| `{name}` | {f'`{default}`' if default else ''} | {_cell(parameter['Description'])} |"


def error_codes() -> Iterator[str]:
    yield "| code | what it means | what to do |"
    yield "| --- | --- | --- |"
    for code, advice in ADVICE.items():
        yield f"| `{code}` | {_cell(advice.meaning)} | {_cell(advice.remedy)} |"
    yield f"| any other | {_cell(OTHER.meaning)} | {_cell(OTHER.remedy)} |"


def helps() -> Iterator[str]:
    yield from _help([], typer.main.get_group(app))
    for name in COMMANDS:
        command = load(name)
        yield from _help([name], command)
        for part, subcommand in getattr(command, "commands", {}).items():
            yield from _help([name, part], subcommand)


def _help(words: list[str], command: typer.core.TyperCommand | typer.core.TyperGroup) -> Iterator[str]:
    path = " ".join(["cutout", *words])
    width: dict[str, Any] = {"terminal_width": COLUMNS, "max_content_width": COLUMNS}
    context = command.context_class(command, info_name=path, **width, **CONTEXT)
    yield f"## {path}\n\n```\n{command.get_help(context)}\n```\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


PARTS = {
    "configuration.md": ("parameters", parameters),
    "error-codes.md": ("error codes", error_codes),
    "cli.md": ("help", helps),
}


def pages() -> Iterator[tuple[Path, str]]:
    """Each page with a generated part, as it should be."""
    for name, (marker, make) in PARTS.items():
        page = DOCS / name
        before, begin, rest = page.read_text(encoding="utf-8").partition(f"<!-- {marker} -->\n")
        _, end, after = rest.partition("<!-- end -->")
        if not end:
            sys.exit(f"docs/{name} has no place for its {marker}.")
        yield page, "".join([before, begin, "\n", "\n".join(make()).rstrip("\n"), "\n\n", end, after])


def broken_links() -> Iterator[str]:
    """Broken links between the pages."""
    for page in [*ROOT.glob("*.md"), *DOCS.glob("*.md")]:
        text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if re.match(r"https?://|mailto:", target):
                continue
            name, _, anchor = target.partition("#")
            linked = (page.parent / name) if name else page
            if not linked.exists() or (anchor and anchor not in _anchors(linked)):
                yield f"{page.relative_to(ROOT)} links to {target}, which is not there."


def _anchors(page: Path) -> set[str]:
    """The anchors that GitHub makes from headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def main(*arguments: str) -> int:
    trouble = []
    for page, text in pages():
        if "--check" not in arguments:
            page.write_text(text, encoding="utf-8")
        elif page.read_text(encoding="utf-8") != text:
            trouble.append(f"{page.relative_to(ROOT)} is not what its source says: call `make docs`.")
    trouble += broken_links()
    print("\n".join(trouble), end="\n" if trouble else "", file=sys.stderr)
    return int(bool(trouble))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
