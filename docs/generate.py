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

from bench import prices
from bench.money import CONCURRENCY
from cutout.__main__ import COMMANDS, CONTEXT, app, load
from cutout.presentation.advice import ADVICE, OTHER

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
COLUMNS = 100  # of a help text
METRICS = 12  # that the functions write without a cap; tests/e2e/test_watching.py counts them


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


def costs() -> Iterator[str]:
    """Of the numbers that `make bench` has measured, at the prices that it assumes."""
    results = (ROOT / "bench" / "RESULTS.md").read_text(encoding="utf-8")
    measured = _find(results, r"Made by `make bench` on ([\d-]+)")
    backlog, alone = (
        float(_find(results, pattern).replace(",", ""))
        for pattern in (
            rf"{CONCURRENCY} batches at once \| ([\d.,]+) \|",
            r"batch of one, at about ([\d,]+) GB-seconds",
        )
    )
    writes = int(_find(results, r"\| UpdateItem \| (\d+) \|"))
    each_alone = alone * prices.LAMBDA_GB_SECOND + 1000 * (
        prices.LAMBDA_REQUEST
        + 3 * prices.SQS_REQUEST
        + writes * prices.DYNAMODB_WRITE
        + prices.S3_PUT
        + 3 * prices.S3_GET
        + prices.LAMBDA_LOG_BYTES * prices.LOG_BYTE
    )
    parts = {
        (f"Lambda, GB-seconds, of {prices.LAMBDA_MB} MB on arm64", f"{backlog:,.0f}"): backlog
        * prices.LAMBDA_GB_SECOND,
    }
    for name, number, dollars in re.findall(
        r"^\| (\w[^|]*, [^|]*) \| ([\d.,]+) \| ([\d.]+) \|",
        results.partition("## Money")[2].partition("| all |")[0],
        re.MULTILINE,
    ):
        if name != "Lambda, GB-seconds" and float(dollars):
            parts[name, number] = float(dollars)
    yield "| for 1,000 images | | USD |"
    yield "| --- | ---: | ---: |"
    for (name, number), dollars in parts.items():
        yield f"| {name} | {number} | {dollars:.4f} |"
    yield f"| all | | {sum(parts.values()):.3f} |"
    yield f"| all, where each comes alone | {alone:,.0f} GB-seconds | {each_alone:.3f} |"
    yield f"| traffic to Pixelcut, which fetches the images | for each MB of an image | {prices.TRAFFIC_GB:.3f} |"
    yield ""
    yield "| for a month, whatever is uploaded | | USD |"
    yield "| --- | ---: | ---: |"
    template = yaml_parse((ROOT / "template.yaml").read_text(encoding="utf-8"))["Resources"].values()
    for name, number, price in [
        ("SQS, requests of Lambda's pollers", prices.POLLS_MONTH, prices.SQS_REQUEST),
        ("Secrets Manager, secrets", 1, prices.SECRET_MONTH),
        (
            "CloudWatch, alarms",
            sum(alarm["Type"] == "AWS::CloudWatch::Alarm" and "Condition" not in alarm for alarm in template),
            prices.ALARM_MONTH,
        ),
        ("CloudWatch, metrics, each for the hours in which it is written", METRICS, prices.METRIC_MONTH),
        ("CloudWatch, dashboards", 1, prices.DASHBOARD_MONTH),
        ("For each cap on credits: a metric and two alarms", 1, prices.METRIC_MONTH + 2 * prices.ALARM_MONTH),
    ]:
        yield f"| {name} | {number:,} | {number * price:.2f} |"
    yield f"""
At AWS's list prices of us-east-1 (`bench/prices.py`), with the calls and times of [RESULTS.md](../bench/RESULTS.md) of
{measured}: a backlog at 5 requests a second, 3 seconds an answer. Without free tiers, storage and Pixelcut's price."""


def _find(text: str, pattern: str) -> str:
    found = re.search(pattern, text)
    if not found:
        sys.exit(f"bench/RESULTS.md has nothing like {pattern}.")
    return found[1]


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
    "operations.md": ("costs", costs),
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
    readme = ROOT / "README.md"
    cents = 100 * float(_find("\n".join(costs()), r"\| all \| \| ([\d.]+) \|"))
    yield readme, re.sub(r"[\d.]+(?= cents for 1,000 images)", f"{cents:.1f}", readme.read_text(encoding="utf-8"))


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
