"""The credits that are left at Pixelcut, asked for with the deployed stack's own key."""

import contextlib

import requests
from botocore.exceptions import BotoCoreError, ClientError

from cutout.deployment import Deployment
from cutout.failures import describe
from remove_background import api_key
from remove_background.errors import CutoutError
from remove_background.pixelcut import Pixelcut


def read(deployed: Deployment) -> float | str:
    """The credits; a sentence where they cannot be known, since nothing else depends on them."""
    try:
        secret = deployed.settings["PIXELCUT_API_KEY_SECRET"]
        value = deployed.secrets.get_secret_value(SecretId=secret).get("SecretString")
    except deployed.secrets.exceptions.ResourceNotFoundException:
        return "The stack's secret has no value. Put the Pixelcut API key into it."
    except (ClientError, BotoCoreError) as error:
        return describe(error)
    with requests.Session() as session:
        pixelcut = Pixelcut(
            session,
            deployed.settings["PIXELCUT_API_URL"],
            lambda _: api_key.check(value, secret),
            lambda _: contextlib.nullcontext(),
        )
        try:
            left = pixelcut.read_credits()
        except CutoutError as error:
            return error.message
    return "Pixelcut does not say." if left is None else left
