"""How cutouts are named after their uploads."""

import posixpath
import string

from .errors import OutputKeyTooLong

MAX_KEY_BYTES = 1_024


class OutputKey:
    """The pattern by which cutouts are named after their uploads.

    For the upload photos/cat.jpg, `{key}` is photos/cat.jpg, `{stem}` photos/cat, `{ext}` jpg, `{dir}` photos/ and
    `{name}` cat.
    """

    FIELDS = ("key", "stem", "ext", "dir", "name")

    def __init__(self, pattern: str) -> None:
        """Raises ValueError, with a sentence for a person, for a pattern that cannot name cutouts."""
        try:
            parts = list(string.Formatter().parse(pattern))
        except ValueError:
            parts = []
        plain = all(not spec and not conversion for _, _, spec, conversion in parts)
        fields = {field for _, field, _, _ in parts if field is not None}
        if not plain or not fields <= set(self.FIELDS) or not fields & {"key", "stem", "name"}:
            raise ValueError("must hold {key}, {stem} or {name}, and of other fields only {ext} and {dir}")
        self._pattern = pattern
        self._begins = parts[0][0]  # before the first field

    def keeps_clear_of(self, prefix: str) -> bool:
        """Whether no cutout's key can begin with the prefix."""
        length = min(len(self._begins), len(prefix))
        return self._begins[:length] != prefix[:length]

    def of(self, key: str) -> str:
        """Raises OutputKeyTooLong."""
        file_name = posixpath.basename(key)
        stem, extension = posixpath.splitext(key)
        output_key = self._pattern.format(
            key=key,
            stem=stem,
            ext=extension.removeprefix("."),
            dir=key.removesuffix(file_name),
            name=posixpath.splitext(file_name)[0],
        )
        if len(output_key.encode()) > MAX_KEY_BYTES:
            raise OutputKeyTooLong(
                "The cutout's key would be longer than the 1,024 bytes that S3 allows. Upload under a shorter key."
            )
        return output_key
