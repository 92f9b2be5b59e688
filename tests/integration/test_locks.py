"""Locks hold whatever is released later: the Makefiles' rules install from a local index with newer releases.

pip 23.2.1, which Python 3.11.7 and 3.12.1 bring, refuses a newer release of a package that another wants with an extra.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BACKEND = """
import shutil
def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    return shutil.copy("cutout-1.0-py3-none-any.whl", wheel_directory).rpartition("/")[2]
"""
NO_FILES: Mapping[str, str] = {}


def make_wheel(
    folder: Path, name: str, version: str, metadata: Sequence[str] = (), files: Mapping[str, str] = NO_FILES
) -> str:
    """Writes a wheel; returns its line in a lock file."""
    wheel = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        headers = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *metadata]
        archive.writestr(f"{info}/METADATA", "\n".join(headers) + "\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        for path, content in files.items():
            archive.writestr(path, content)
        archive.writestr(f"{info}/RECORD", "".join(f"{path},,\n" for path in [*archive.namelist(), f"{info}/RECORD"]))
    return f"{name}=={version} --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n"


@pytest.fixture
def index(tmp_path: Path) -> Path:
    folder = tmp_path / "index"
    folder.mkdir()
    return folder


@pytest.fixture
def lock(index: Path) -> str:
    """A lock of plugin, which needs coverage with an extra, and pytest. The index has newer releases of both."""
    coverage = ["Provides-Extra: toml", 'Requires-Dist: toml; extra == "toml"']
    locked = [
        make_wheel(index, "coverage", "1.0", coverage),
        make_wheel(index, "pytest", "1.0"),
        make_wheel(index, "toml", "1.0"),
        make_wheel(index, "plugin", "1.0", ["Requires-Dist: coverage[toml]>=1.0", "Requires-Dist: pytest>=1.0"]),
    ]
    make_wheel(index, "coverage", "1.1", coverage)
    make_wheel(index, "pytest", "1.1")
    return "".join(locked)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The real rules, with a project that builds without anything, and no lock files yet."""
    folder = tmp_path / "checkout"
    (folder / "functions").mkdir(parents=True)
    shutil.copy(ROOT / "Makefile", folder)
    for file in ROOT.glob("functions/*"):
        if file.name == "Makefile" or file.suffix == ".mk":
            shutil.copy(file, folder / "functions")
    (folder / "pyproject.toml").write_text('[build-system]\nrequires = []\nbuild-backend = "b"\nbackend-path = ["."]')
    (folder / "b.py").write_text(BACKEND)
    make_wheel(folder, "cutout", "1.0", ["Requires-Dist: plugin>=1.0"])
    return folder


def make(folder: Path, index: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "MAKE", "MFLAGS"))}
    return subprocess.run(
        ["make", f"PYTHON={sys.executable}", f"RUNTIME={sys.executable}", *arguments],
        cwd=folder,
        env=environment | {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(index)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def versions(folder: Path) -> dict[str, str]:
    """Versions of the lock's packages that are installed under a folder."""
    found = (path.name.removesuffix(".dist-info").split("-") for path in folder.rglob("*.dist-info"))
    return {name: version for name, version in found if name in ("coverage", "pytest", "toml", "plugin", "botocore")}


LOCKED = {"coverage": "1.0", "pytest": "1.0", "toml": "1.0", "plugin": "1.0"}


def test_run_and_dev_take_the_locked_releases(checkout: Path, index: Path, lock: str) -> None:
    (checkout / "requirements.txt").write_text(lock)
    (checkout / "requirements-dev.txt").write_text(lock)

    done = make(checkout, index, ".venv/dev")

    assert (done.returncode, versions(checkout / ".venv")) == (0, LOCKED), done.stdout


def test_a_separate_environment_takes_the_locked_releases(checkout: Path, index: Path, lock: str) -> None:
    (checkout / "requirements-sam.txt").write_text(lock)

    done = make(checkout, index, ".venv-sam/ready")

    assert (done.returncode, versions(checkout / ".venv-sam")) == (0, LOCKED), done.stdout


def test_a_changed_lock_rebuilds_its_environment(checkout: Path, index: Path, lock: str) -> None:
    (checkout / "requirements-sam.txt").write_text(lock)
    assert make(checkout, index, ".venv-sam/ready").returncode == 0
    (checkout / "requirements-sam.txt").write_text(make_wheel(index, "toml", "1.1"))
    os.utime(checkout / ".venv-sam" / "ready", (0, 0))

    done = make(checkout, index, ".venv-sam/ready")

    assert (done.returncode, versions(checkout / ".venv-sam")) == (0, {"toml": "1.1"}), done.stdout


def test_a_lock_that_lacks_a_package_is_refused(checkout: Path, index: Path, lock: str) -> None:
    (checkout / "requirements-sam.txt").write_text(
        "".join(line for line in lock.splitlines(True) if "pytest" not in line)
    )

    done = make(checkout, index, ".venv-sam/ready")

    assert done.returncode
    assert "plugin 1.0 requires pytest, which is not installed." in done.stdout
    assert not (checkout / ".venv-sam" / "ready").exists()


def test_the_functions_take_the_locked_releases(checkout: Path, index: Path, lock: str) -> None:
    botocore = {"botocore/data/s3/model": "", "botocore/data/ec2/model": "", "botocore-1.0.data/scripts/jp": ""}
    (checkout / "functions" / "requirements.txt").write_text(lock + make_wheel(index, "botocore", "1.0", (), botocore))
    for name in ("remove_background", "reopen_intake"):
        (checkout / "functions" / name).mkdir()
    artefact = checkout / "artefact"

    done = make(checkout / "functions", index, f"ARTIFACTS_DIR={artefact}", "build-RemoveBackground")

    assert (done.returncode, versions(artefact)) == (0, LOCKED | {"botocore": "1.0"}), done.stdout
    assert [path.name for path in (artefact / "botocore" / "data").iterdir()] == ["s3"]
