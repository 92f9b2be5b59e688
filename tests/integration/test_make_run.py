"""What `make run` passes to the command."""

import subprocess
from pathlib import Path

import pytest

MAKEFILE = Path(__file__).parents[2] / "Makefile"


@pytest.mark.parametrize(
    ("images", "arguments"),
    [
        ("", []),
        ("a.jpg b.png", ["a.jpg", "b.png"]),
        ("shoe 1.webp", ["shoe 1.webp"]),
        ("'shoe 1.webp' b.png", ["shoe 1.webp", "b.png"]),
        ("bob's shoe.webp", ["bob's shoe.webp"]),
        ("*.webp", ["bob's shoe.webp", "shoe 1.webp"]),
    ],
)
def test_each_image_is_one_argument(tmp_path: Path, images: str, arguments: list[str]) -> None:
    for name in ("shoe 1.webp", "bob's shoe.webp"):
        (tmp_path / name).touch()
    cutout = tmp_path / "cutout"
    cutout.write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
    cutout.chmod(0o755)

    run = subprocess.run(
        [
            "make",
            "--silent",
            f"--include-dir={MAKEFILE.parent}",
            f"--makefile={MAKEFILE}",
            "--old-file=.venv/run",
            "run",
            f"BIN={tmp_path}",
            f"IMAGES={images}",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )

    assert run.stdout.splitlines() == ["demo", *arguments]
