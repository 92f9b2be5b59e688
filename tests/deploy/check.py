"""AWS's own clients deploy the stack to the local cloud, use it, change it and delete it: `make deploy-check`."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

ROOT = Path(__file__).parents[2]
CLIENTS = ROOT / ".venv-sam" / "bin"
PHOTO = ROOT / "samples" / "astronaut.jpg"
STACK = "cutout"  # as samconfig.toml has it
LOCAL_HOSTS = "localhost,127.0.0.1"
COMMAND_SECONDS = 300  # for any one; `sam build` may have packages to download
CUTOUT_SECONDS = 60


class Failed(Exception):
    """A step went wrong; the text is the command and what it said."""


@contextmanager
def step(name: str) -> Iterator[None]:
    began = time.monotonic()
    print(f"{name} ".ljust(64, "."), end=" ", flush=True)
    try:
        yield
    except BaseException:
        print("failed", flush=True)
        raise
    print(f"{time.monotonic() - began:5.1f} s", flush=True)


class Client:
    """`sam` and `aws`, run in `folder`, with the settings of the local cloud and none of the caller's."""

    def __init__(self, folder: Path, python: Path) -> None:
        self._folder = folder
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")} | {
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_DEFAULT_REGION": "us-east-1",
            "SAM_CLI_TELEMETRY": "0",
            "SAM_CLI_POLL_DELAY": "0.2",
            "PATH": f"{python.parent}:{os.environ['PATH']}",  # where `sam build` looks for the functions' Python
            "NO_PROXY": f"{os.environ.get('NO_PROXY', '')},{LOCAL_HOSTS}",
            "no_proxy": f"{os.environ.get('no_proxy', '')},{LOCAL_HOSTS}",
        }

    def use(self, exports: dict[str, str]) -> None:
        self._environment |= exports

    def run(self, command: str, *arguments: str) -> str:
        """The output of the command. Raises Failed."""
        done = subprocess.run(
            [CLIENTS / command, *arguments],
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        if done.returncode:
            raise Failed(f"$ {command} {' '.join(arguments)}\n{done.stdout}")
        return done.stdout

    def outputs(self) -> dict[str, str]:
        (stack,) = json.loads(self.run("aws", "cloudformation", "describe-stacks", "--stack-name", STACK))["Stacks"]
        return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}

    def use_command(self, folder: Path) -> None:
        """Runs each `cutout` command on the stack that `sam` deployed."""
        (folder / "photos").mkdir()
        shutil.copy(PHOTO, folder / "photos")
        (folder / "photos" / "broken.jpg").write_bytes(b"\0This is not an image.")
        sent = self.cutout("upload", "photos", "--wait", "--out", "cutouts", "--yes", code=1)
        (letter,) = self.cutout("letters", "list", "--all")["letters"]
        found = {
            "became": sent["became"],
            "fetched": [file.name for file in (folder / "cutouts").glob("*.png")],
            "letters": self.cutout("status")["letters"],
            "shown": [shown["code"] for shown in self.cutout("letters", "show", letter["id"])],
            "replayed": self.cutout("letters", "replay", letter["id"], "--yes")["replayed"],
            "inputs": self.cutout("backfill")["inputs"],
            "paused by": self.cutout("pause", "--yes")["paused_by"],
            "resumed": self.cutout("resume", "--yes")["paused_by"],
        }
        expected = {
            "became": {"cutout": 1, "letter": 1},
            "fetched": ["astronaut.png"],
            "letters": {"unsupported_image_format": 1},
            "shown": ["unsupported_image_format"],
            "replayed": 1,
            "inputs": 3,
            "paused by": "operator",
            "resumed": None,
        }
        if found != expected:
            raise Failed(f"$ cutout ...\nfound {found}\ninstead of {expected}")

    def cutout(self, *arguments: str, code: int = 0) -> Any:  # noqa: ANN401  # JSON
        done = subprocess.run(
            [sys.executable, "-m", "cutout", *arguments, "--json"],
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        if done.returncode != code:
            raise Failed(f"$ cutout {' '.join(arguments)}\n{done.stdout}{done.stderr}")
        return json.loads(done.stdout)

    def cut_out(self, name: str, outputs: dict[str, str], key: str) -> None:
        """Uploads the photo as `name`, and checks the cutout that appears as `key`."""
        self.run("aws", "s3", "cp", str(PHOTO), f"s3://{outputs['InputBucketName']}/{name}")
        cutout = self._folder / "cutout.png"
        deadline = time.monotonic() + CUTOUT_SECONDS
        while True:
            try:
                self.run("aws", "s3", "cp", f"s3://{outputs['OutputBucketName']}/{key}", str(cutout))
                break
            except Failed:
                if time.monotonic() > deadline:
                    raise
        with Image.open(cutout, formats=["PNG"]) as image:
            least, most = image.convert("RGBA").getchannel("A").getextrema()
        if (least, most) != (0, 255):
            raise Failed(f"the cutout {key} has an opacity of {least} to {most}; there should be both 0 and 255")


@contextmanager
def local_cloud(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Starts `cutout local --no-deploy`; its logs go to `folder`."""
    with subprocess.Popen(
        [sys.executable, "-m", "cutout", "local", "--no-deploy"],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


def read_until_ready(process: subprocess.Popen[str]) -> str:
    said = ""
    for line in process.stdout or ():
        said += line
        if line.startswith("Ready"):
            return said
    raise Failed(f"$ cutout local --no-deploy\n{said}")


def find_python() -> Path:
    """A Python 3.13: from $PYTHON313, this one, from the PATH, or from pyenv. Raises Failed."""
    candidates = [os.environ.get("PYTHON313"), sys.executable, shutil.which("python3.13")]
    if shutil.which("pyenv"):
        prefix = subprocess.run(["pyenv", "prefix", "3.13"], capture_output=True, text=True, check=False)
        candidates.append(f"{prefix.stdout.strip()}/bin/python3.13")
    for candidate in candidates:
        if candidate and shutil.which(candidate):
            said = subprocess.run([candidate, "--version"], capture_output=True, text=True, check=False).stdout
            if said.startswith("Python 3.13."):
                return Path(candidate)
    raise Failed(
        "`sam build` needs Python 3.13, and there is none on the PATH or in pyenv; name one with PYTHON313=..."
    )


def check(folder: Path) -> None:
    for name in ("template.yaml", "samconfig.toml"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "functions", folder / "functions", ignore=shutil.ignore_patterns("__pycache__"))
    python = find_python()
    client = Client(folder, python)
    deploy = ["sam", "deploy", "--no-confirm-changeset", "--no-progressbar"]
    with local_cloud(folder) as process:
        with step("sam validate --lint"):
            client.run("sam", "validate", "--lint")
        with step("sam build"):
            client.run("sam", "build")
        with step("make the artefact again"):
            check_artefact(folder, python)
        with step("cutout local --no-deploy"):
            said = read_until_ready(process)
            client.use(dict(re.findall(r"(AWS_\w+)=(\S+)", said)))
        with step("sam deploy"):
            client.run(*deploy, "--parameter-overrides", find(r"--parameter-overrides (\S+)", said))
            outputs = client.outputs()
        with step("aws secretsmanager put-secret-value"):
            secret = [
                "--secret-id",
                outputs["ApiKeySecretName"],
                "--secret-string",
                find(r"--secret-string (\S+)", said),
            ]
            client.run("aws", "secretsmanager", "put-secret-value", *secret)
        with step("aws s3 cp, there and back"):
            client.cut_out("first.jpg", outputs, "first.png")
        with step("cutout upload, status, letters, backfill, pause, resume"):
            client.use_command(folder)
        with step("sam deploy, with another OutputKey"):
            client.run(*deploy, "--parameter-overrides", "OutputKey=cutouts/{name}.png")
        with step("aws s3 cp, there and back from its new key"):
            client.cut_out("second.jpg", outputs, "cutouts/second.png")
        with step("sam deploy, with no change"):
            said = client.run(*deploy)
            if "No changes to deploy" not in said:
                raise Failed(f"$ sam deploy\n{said}")
        with step("sam delete"):
            client.run("sam", "delete", "--no-prompts")
            stacks = client.run("aws", "cloudformation", "describe-stacks", "--query", "Stacks[].StackName")
            functions = client.run("aws", "lambda", "list-functions", "--query", "Functions[].FunctionName")
            if STACK in json.loads(stacks) or json.loads(functions):
                raise Failed(f"`sam delete` left stacks {stacks} and functions {functions}")
            for bucket in (outputs["InputBucketName"], outputs["OutputBucketName"]):  # the pictures are people's
                client.run("aws", "s3", "ls", f"s3://{bucket}/")


def check_artefact(folder: Path, python: Path) -> None:
    """Raises Failed unless the same sources give the same bytes, and boto3 still finds AWS without what is left out."""
    built, again = folder / ".aws-sam" / "build" / "RemoveBackground", folder / "again"
    make = ["make", "--silent", "--directory", str(folder / "functions"), "build-RemoveBackground"]
    path = f"{python.parent}:{os.environ['PATH']}"
    subprocess.run(make, env=os.environ | {"ARTIFACTS_DIR": str(again), "PATH": path}, check=True)
    if _digests(built) != _digests(again):
        raise Failed("the artefact is another one when it is built again")
    script = ROOT / "tests" / "deploy" / "endpoints.py"
    of_artefact, of_whole_boto3 = (
        subprocess.run(
            [sys.executable, script],
            env={"PYTHONPATH": str(code), "PYTHONDONTWRITEBYTECODE": "1", "AWS_DEFAULT_REGION": "us-east-1"},
            stdout=subprocess.PIPE,
            check=True,
        ).stdout
        for code in (built, ROOT / "functions")
    )
    if of_artefact != of_whole_boto3:
        raise Failed("the artefact's boto3 would reach other hosts than a whole one")


def _digests(folder: Path) -> dict[str, str]:
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in folder.rglob("*")
        if file.is_file()
    }


def find(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    if not found:
        raise Failed(f"no {pattern} in:\n{text}")
    return found[1]


def main() -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # like Ctrl-C: its child processes are ended
    with tempfile.TemporaryDirectory(prefix="cutout-deploy-") as folder:
        try:
            check(Path(folder))
        except Failed as failed:
            logs = "".join(f"\n{log.name}:\n{log.read_text()}" for log in Path(folder).glob("cutout-*/*.log"))
            sys.exit(f"{failed}{logs}")


if __name__ == "__main__":
    main()
