"""The stack on the local cloud, with the stand-in or another API behind it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cutout.local.cloud import LocalCloud, Watcher
from cutout.local.pixelcut.server import API_KEY, StandIn
from cutout.operations.deployment import Deployment

_STACK = "cutout"


@dataclass(frozen=True)
class Pixelcut:
    url: str
    key: str
    parameters: dict[str, str]  # of the stack that uses it


@dataclass(frozen=True)
class LocalStack:
    cloud: LocalCloud
    pixelcut_url: str
    outputs: dict[str, str]
    function_log: Path

    @property
    def deployed(self) -> Deployment:
        """The same, for the operations that work on any stack."""
        return Deployment(_STACK, self.outputs, self.cloud.client)


@contextmanager
def pixelcut(api: tuple[str, str] | None = None) -> Iterator[Pixelcut]:
    """The stand-in, until the end of the block, or `api`: the base URL and the key of another service.

    The other service is sent the images themselves, as it may be unable to reach a bucket on this machine.
    """
    if api:
        url, key = api
        yield Pixelcut(url, key, {"PixelcutApiUrl": url, "ImageDelivery": "upload"})
    else:
        with StandIn() as stand_in:
            yield Pixelcut(stand_in.url, API_KEY, {"PixelcutApiUrl": stand_in.url})


@contextmanager
def local_stack(
    template: Path,
    log_dir: Path,
    *,
    port: int = 0,
    api: tuple[str, str] | None = None,
    watcher: Watcher | None = None,
    state: Path | None = None,
) -> Iterator[LocalStack]:
    """Deploys the template and sets the API key. Everything is removed at the end of the block.

    `api` as in `pixelcut`, `state` as of `LocalCloud`. Raises OSError when the port is taken.
    """
    with LocalCloud(port=port, log_dir=log_dir, watcher=watcher, state=state) as cloud, pixelcut(api) as service:
        outputs = cloud.deploy(template, stack_name=_STACK, parameters=service.parameters)
        cloud.client("secretsmanager").put_secret_value(SecretId=outputs["ApiKeySecretName"], SecretString=service.key)
        cloud.restore()
        yield LocalStack(cloud, service.url, outputs, log_dir / f"{outputs['FunctionName']}.log")
