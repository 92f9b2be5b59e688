"""What some commands need besides the packages of the others: the extras `local` and `console`."""

from collections.abc import Iterable
from importlib.metadata import version
from importlib.util import find_spec

from cutout.failures import Failure

# One module of each package that the console, and the local cloud, import. Finding a module does not import it.
_CONSOLE = ("PIL", "flask", "pillow_heif", "waitress", "zipstream")
_LOCAL = (
    *_CONSOLE,
    "aws_lambda_powertools",
    "awslambdaric",
    "cv2",
    "moto",
    "numpy",
    "pydantic",
    "samtranslator",
)


def require_local() -> None:
    """For `cutout demo` and `cutout local`. Raises Failure when the extra is not installed."""
    _require("local", _LOCAL)


def require_console() -> None:
    """For `cutout console`. Raises Failure when the extra is not installed."""
    _require("console", _CONSOLE)


def _require(extra: str, modules: Iterable[str]) -> None:
    if any(find_spec(module) is None for module in modules):
        raise Failure(
            f"This needs the extra `{extra}`, which is not installed: "
            f"pip install 'cutout-{version('cutout')}-py3-none-any.whl[{extra}]'"
        )
