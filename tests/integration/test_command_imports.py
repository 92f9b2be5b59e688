"""What the command imports, and what importing it changes in the process. Each test uses its own process."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = {"aws_lambda_powertools", "boto3", "cv2", "moto", "requests", "urllib3"}
MOST_MODULES = 250  # of --help 146, with typer 0.29 and Python 3.11; it was 640 when all commands were imported

IMPORT_WHAT_IS_SHARED = """
import logging, re, sys
from importlib import import_module
from pathlib import Path
import boto3, requests, urllib3
from botocore import httpsession

def state():
    loggers = {name: (logger.level, logger.handlers) for name, logger in logging.root.manager.loggerDict.items()
               if isinstance(logger, logging.Logger) and logger.level}
    return httpsession.create_urllib3_context, loggers, logging.root.level, logging.root.handlers

before = state()
sources = [path for path in Path("cutout").rglob("*.py") if "local" not in path.parts and path.stem != "__main__"]
modules = {".".join(path.with_suffix("").parts) for path in sources}
for module in sorted(modules):
    import_module(module)
shared = set(re.findall(r"from (remove_background[.]\\w+) import", "".join(map(Path.read_text, sources))))
for module in sorted(shared):
    import_module(module)
print(len(modules), len(shared))
print(state() == before)
print(sorted({"aws_lambda_powertools", "remove_background.aws", "moto", "cv2"} & set(sys.modules)))
"""


def imported_by(*arguments: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "cutout", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return re.findall(r"^import time:.*\|\s*([\w.]+)$", done.stderr, re.MULTILINE)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
def test_the_list_of_commands_imports_none_of_them(arguments: list[str]) -> None:
    modules = imported_by(*arguments)

    assert not (HEAVY | {"botocore", "rich"}) & set(modules)
    assert [module for module in modules if module.startswith("cutout.")] in ([], ["cutout.__main__"])
    assert 0 < len(modules) < MOST_MODULES


@pytest.mark.parametrize(
    "command",
    [
        "demo",
        "local",
        "upload",
        "cancel",
        "download",
        "status",
        "logs",
        "open",
        "backfill",
        "pause",
        "cap",
        "letters",
        "letters list",
    ],
)
def test_the_help_of_a_command_imports_no_client(command: str) -> None:
    assert not HEAVY & set(imported_by(*command.split(), "--help"))


def test_importing_what_the_command_shares_with_the_function_changes_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_WHAT_IS_SHARED],
        cwd=ROOT,
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'functions'}"},
        capture_output=True,
        text=True,
        check=True,
    )
    counts, unchanged, loaded = done.stdout.splitlines()

    assert min(int(count) for count in counts.split()) > 5
    assert (unchanged, loaded) == ("True", "[]")
