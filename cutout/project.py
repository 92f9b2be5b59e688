"""Where the command finds the project's files: the template, the functions' sources, the samples."""

from pathlib import Path

_PACKAGE = Path(__file__).parent
# A wheel has them in the package (see pyproject.toml), a checkout beside it. The template finds the functions itself.
_FOLDER = next(folder for folder in (_PACKAGE / "project", _PACKAGE.parent) if (folder / "template.yaml").is_file())

TEMPLATE = _FOLDER / "template.yaml"
SAMPLES = _FOLDER / "samples"
