"""The Pixelcut API key as a secret holds it. Importing it changes nothing, so that the command may as well."""

from .errors import ApiKeyMissing


def check(value: object, secret: str) -> str:
    """The key that a secret holds. Raises ApiKeyMissing for any value that can be none."""
    key = value.strip() if isinstance(value, str) else ""
    # Anything else would be refused by the HTTP client with the key in its message.
    if not key or not key.isascii() or not key.isprintable() or " " in key or key.startswith("{"):
        raise ApiKeyMissing(f"The secret {secret} must hold the Pixelcut API key as plain text, nothing else.")
    return key
