"""Builds the wheel twice, and uses it as an operator does, without a checkout, git or make: `make wheel-check`.

Its dependencies are resolved from the ranges that it names, on an index with exactly the locked releases.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urljoin
from urllib.request import HTTPCookieProcessor, build_opener

from tests.deploy.check import COMMAND_SECONDS, PHOTO, ROOT, Failed, read_until_ready, step

INDEX = ROOT / ".venv" / "wheels"
MADE_BY_TOOLS = shutil.ignore_patterns(".*", "__pycache__", "build", "dist", "out")
NEEDS_EXTRA = "Error: This needs the extra `{extra}`, which is not installed: pip install '{wheel}[{extra}]'\n"


class Folder:
    """An empty folder, with only `bin` on the path, and none of the caller's settings."""

    def __init__(self, path: Path, bin_: Path) -> None:
        path.mkdir()
        self.path = path
        self.environment = {"PATH": str(bin_), "HOME": str(path), "TMPDIR": str(path.parent)}

    def run(self, *command: str | Path, code: int = 0) -> str:
        """The output of the command. Raises Failed."""
        return run(command, self.path, self.environment, code)

    def cutout(self, *arguments: str, code: int = 0) -> Any:  # noqa: ANN401  # JSON
        return json.loads(self.run("cutout", *arguments, "--json", code=code))


def run(command: Sequence[str | Path], folder: Path, environment: Mapping[str, str], code: int = 0) -> str:
    program = shutil.which(command[0], path=environment["PATH"])
    if not program:
        raise Failed(f"there is no {command[0]}")
    done = subprocess.run(
        [program, *command[1:]],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
    )
    if done.returncode != code:
        raise Failed(f"$ {' '.join(map(str, command))}\nexit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout or done.stderr


def build_twice(folder: Path) -> Path:
    """Raises Failed unless files with other times and modes give the same bytes."""
    copy = folder / "copy"
    shutil.copytree(ROOT, copy, ignore=MADE_BY_TOOLS)
    shutil.copy(ROOT / ".gitignore", copy)
    for path in copy.rglob("*"):
        os.utime(path, (0, 0))
        path.chmod(0o700 if path.is_dir() else 0o600)
    built: list[Path] = []
    for source in (ROOT, copy):
        pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir"]
        wheels = folder / f"built-{len(built)}"
        run([*pip, wheels, "."], source, dict(os.environ))
        built += wheels.iterdir()
    first, second = built
    if (first.name, first.read_bytes()) != (second.name, second.read_bytes()):
        raise Failed(f"the wheel is another one when it is built again: {first}, {second}")
    return first


def install(folder: Path, requirement: str) -> Path:
    """Installs into a new virtual environment; returns the folder of its programs."""
    run([sys.executable, "-m", "venv", folder], folder.parent, dict(os.environ))
    pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
    settings = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    offline = settings | {"PIP_CONFIG_FILE": os.devnull}
    run([*pip, "install", "--quiet", "--no-index", "--find-links", INDEX, requirement], folder, offline)
    run([*pip, "check"], folder, offline)
    return folder / "bin"


@contextmanager
def local_cloud(folder: Folder) -> Iterator[dict[str, str]]:
    """`cutout local`, and the variables that lead to it."""
    program = shutil.which("cutout", path=folder.environment["PATH"])
    with subprocess.Popen(
        [str(program), "local"],
        cwd=folder.path,
        env=folder.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield dict(re.findall(r"(AWS_\w+)=(\S+)", read_until_ready(process)))
        finally:
            process.terminate()


def use(operator: Folder) -> None:
    """What an operator does on a stack."""
    (operator.path / "photos").mkdir()
    shutil.copy(PHOTO, operator.path / "photos")
    (operator.path / "photos" / "broken.jpg").write_bytes(b"\0This is not an image.")
    sent = operator.cutout("upload", "photos", "--wait", "--out", "cutouts", "--yes", code=1)
    found = {
        "became": sent["became"],
        "fetched": [file.name for file in (operator.path / "cutouts").glob("*.png")],
        "letters": operator.cutout("status")["letters"],
        "listed": [letter["code"] for letter in operator.cutout("letters", "list", "--all")["letters"]],
        "inputs": operator.cutout("backfill")["inputs"],
    }
    expected = {
        "became": {"cutout": 1, "letter": 1},
        "fetched": ["astronaut.png"],
        "letters": {"unsupported_image_format": 1},
        "listed": ["unsupported_image_format"],
        "inputs": 2,
    }
    if found != expected:
        raise Failed(f"$ cutout ...\nfound {found}\ninstead of {expected}")


def open_console(viewer: Folder) -> None:
    """Its pages and what they load come from the wheel."""
    program = shutil.which("cutout", path=viewer.environment["PATH"])
    with subprocess.Popen(
        [str(program), "console"], cwd=viewer.path, env=viewer.environment, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout
            address = process.stdout.readline().removeprefix("Open ").strip()
            browser = build_opener(HTTPCookieProcessor())
            page = browser.open(address).read().decode()
            loaded = [urljoin(address, path) for path in re.findall(r'(?:src|href)="(/[^"]*/static/[^"]+)"', page)]
            if "Letters" not in page or not loaded or not all(browser.open(url).read() for url in loaded):
                raise Failed(f"$ cutout console\n{page}")
        finally:
            process.terminate()


def check(folder: Path) -> None:
    with step("build the wheel twice"):
        wheel = build_twice(folder)
    with step("pip install WHEEL"):
        operator = Folder(folder / "operator", install(folder / "alone", str(wheel)))
    with step("cutout --help, --version"):
        operator.run("cutout", "--help")
        said = operator.run("cutout", "--version")
        if said.strip() != wheel.name.split("-")[1]:
            raise Failed(f"$ cutout --version\n{said}")
    with step("cutout demo, local, console, without their extras"):
        for command, extra in (("demo", "local"), ("local", "local"), ("console", "console")):
            said = operator.run("cutout", command, code=1)
            if said != NEEDS_EXTRA.format(wheel=wheel.name, extra=extra):
                raise Failed(f"$ cutout {command}\n{said}")
    with step("pip install WHEEL[console]"):
        viewer = Folder(folder / "viewer", install(folder / "with-console", f"{wheel}[console]"))
    with step("pip install WHEEL[local]"):
        host = Folder(folder / "host", install(folder / "with-local", f"{wheel}[local]"))
    with step("cutout upload, status, letters, backfill, console"), local_cloud(host) as exports:
        operator.environment |= exports
        use(operator)
        viewer.environment |= exports
        open_console(viewer)
    uv = Folder(folder / "uv", Path(sys.executable).parent)
    uv.environment["PATH"] += f":{os.defpath}"  # its programs are scripts that call others
    uvx = f"uv tool run --no-config --offline --no-index --python {sys.executable} --find-links".split()
    uvx += [str(INDEX), "--cache-dir", str(folder / "uv-cache"), "--from"]
    with step("uvx --from WHEEL cutout --help"):
        uv.run(*uvx, wheel, "cutout", "--help")
    with step("uvx --from WHEEL[local] cutout demo"):
        uv.run(*uvx, f"{wheel}[local]", "cutout", "demo")
        made = sorted(path.name for path in (uv.path / "out").glob("*.png"))
        if made != ["astronaut.png", "coffee.png", "eagle.png", "grace-hopper.png"]:
            raise Failed(f"$ cutout demo\nmade {made}")


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="cutout-wheel-") as folder:
        try:
            check(Path(folder))
        except Failed as failed:
            sys.exit(str(failed))


if __name__ == "__main__":
    main()
