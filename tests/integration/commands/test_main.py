from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import pytest
import typer

from cutout import __main__, extras, project
from cutout.failures import is_told


@pytest.mark.parametrize("name", list(__main__.COMMANDS))
def test_the_list_tells_of_a_command_what_its_own_help_says(name: str) -> None:
    listed = typer.main.get_group(__main__.app).commands[name]

    assert listed.get_short_help_str(1000) == __main__.load(name).get_short_help_str(1000)


def test_the_version_is_that_of_the_package(cutout: Callable[..., Any]) -> None:
    assert cutout("--version").out == f"{version('cutout')}\n"


def test_a_fault_of_the_command_itself_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(__main__, "app", fail)
    assert not is_told(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        __main__.main()


@pytest.mark.parametrize("command", ["demo", "local"])
def test_without_the_extra_it_is_named(
    command: str, cutout: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda module: None if module == "cv2" else module)

    call = cutout(command)

    assert (call.code, call.out) == (1, "")
    assert call.err == (
        "Error: This needs the extra `local`, which is not installed: "
        f"pip install 'cutout-{version('cutout')}-py3-none-any.whl[local]'\n"
    )


def test_the_files_of_the_project_are_found() -> None:
    assert project.TEMPLATE.is_file()
    assert project.SAMPLES.is_dir()
