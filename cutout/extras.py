"""What `cutout demo` and `cutout local` need besides the packages of the other commands: the extra `local`."""

from importlib.metadata import version
from importlib.util import find_spec

from cutout.failures import Failure

# One module of each package that the local cloud imports. Finding a module does not import it.
_MODULES = (
    "aws_lambda_powertools",
    "awslambdaric",
    "cv2",
    "flask",
    "moto",
    "numpy",
    "PIL",
    "pillow_heif",
    "pydantic",
    "samtranslator",
    "waitress",
)


def require_local() -> None:
    """Raises Failure when the extra is not installed."""
    if any(find_spec(module) is None for module in _MODULES):
        raise Failure(
            "This needs the extra `local`, which is not installed: "
            f"pip install 'cutout-{version('cutout')}-py3-none-any.whl[local]'"
        )
