"""The local cloud: the AWS services, the stack deployed to them, and the functions running, on one machine."""

import os
import tempfile
import threading
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self

import boto3
import botocore.session
from botocore.config import Config

import cutout.local.aws.moto_resources
import cutout.local.aws.queue_metrics  # noqa: F401 moto finds them by their being defined
from cutout.local.aws import deploy as stack
from cutout.local.aws import moto_patches
from cutout.local.aws import server as aws
from cutout.local.aws.event_faults import EventFault
from cutout.local.aws.kept_state import SUFFIX, KeptState
from cutout.local.aws.log_streams import LogStreams
from cutout.local.aws.middleware import AwsFault, Call, FunctionCalls
from cutout.local.aws.permissions import Permissions, Use
from cutout.local.lambda_runtime.delivery_faults import DeliveryFault, DeliveryFaults
from cutout.local.lambda_runtime.environments import Environments
from cutout.local.lambda_runtime.event_source_mapping import EventSources
from cutout.local.lambda_runtime.log_delivery import LogDelivery
from cutout.local.lambda_runtime.schedules import Schedules

ACCESS_KEY = "local"  # moto takes any
NO_PARAMETERS: Mapping[str, str] = MappingProxyType({})


class Watcher:
    """Receives what happens, in several threads. Override the methods for what you want to know."""

    def uploaded(self, key: str, size: int) -> None:
        """An object was created, and a queue is sent S3's event."""

    def printed(self, line: str) -> None:
        """A function printed a line."""


class LocalCloud:
    """A context manager. Only one at a time in a process, as moto's state belongs to the process.

    Starts empty. `endpoint_url` is for people and the official clients; `log_dir` gets a file for each function.
    """

    region = "us-east-1"

    def __init__(
        self,
        *,
        port: int = 0,
        log_dir: Path,
        speed: float = 1,
        mapping_seconds: float = 0.3,
        watcher: Watcher | None = None,
        state: Path | None = None,
    ) -> None:
        """`port` 0: a free one. Schedules run `speed` times as fast.

        `state` is a folder that is kept from one start to the next; call `restore` when the stack is deployed.

        `mapping_seconds` is how long an event source mapping is Enabling, Disabling and so on; it may be changed later.
        """
        self._watcher = watcher or Watcher()
        self._port = port
        self._state = KeptState(state, self.region) if state else None
        self._speed = speed
        self.mapping_seconds = mapping_seconds
        self.log_dir = log_dir
        self._exit = ExitStack()
        # The caller's AWS settings are for another cloud.
        settings = {"profile": (None, None, None, None), "config_file": (None, None, os.devnull, None)}
        self._session = boto3.Session(
            ACCESS_KEY, ACCESS_KEY, region_name=self.region, botocore_session=botocore.session.Session(settings)
        )
        self._clients: dict[str, Any] = {}
        self._making_client = threading.Lock()  # clients may be shared between threads, sessions not
        self._permissions = Permissions(self.region)
        self._calls = FunctionCalls(self._kill_environment, self._may)
        self._delivery_faults = DeliveryFaults()
        self._event_faults: tuple[EventFault, ...] = ()

    def __enter__(self) -> Self:
        with ExitStack() as exiting:
            self.log_dir.mkdir(parents=True, exist_ok=True)
            if self._state:
                exiting.enter_context(self._state.held())
            folder = exiting.enter_context(tempfile.TemporaryDirectory(prefix="cutout-artefacts-"))
            self._port = exiting.enter_context(aws.serving(self._port, self._calls))
            if self._state:
                exiting.callback(self._state.save)
            exiting.callback(self._calls.set_faults)  # the server ends when no answer is held back
            logs = LogDelivery(LogStreams(self.region).put)
            exiting.callback(logs.stop)

            def deliver(group: str, stream: str, line: str) -> None:
                logs.add(group, stream, line)
                self._watcher.printed(line)

            self._environments = Environments(
                self.client("lambda"), aws.read_code, self._services(), Path(folder), self.log_dir, deliver
            )
            exiting.enter_context(
                moto_patches.applied(
                    self._environments.invoke,
                    self.endpoint_url,
                    mapping_seconds=lambda: self.mapping_seconds,
                    event_faults=lambda: self._event_faults,
                    uploaded=self._watcher.uploaded,
                    suffix=SUFFIX if self._state else None,
                )
            )
            sources = EventSources(
                self.client("lambda"),
                self.client("sqs"),
                self._environments.invoke,
                lambda: self._delivery_faults,
                lambda: self._state is None or self._state.restored,
            )
            exiting.callback(sources.join)
            schedules = Schedules(self.client("events"), self._environments.invoke, self._speed)
            exiting.callback(schedules.join)
            exiting.callback(self._environments.close)
            exiting.callback(schedules.stop)
            exiting.callback(sources.stop)
            self._exit = exiting.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._exit.close()

    def _services(self) -> dict[str, str]:
        """Variables that lead a function's AWS SDK here. An IP address keeps the bucket in the path of a URL."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self._port}",
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
        }

    @property
    def endpoint_url(self) -> str:
        return f"http://localhost:{self._port}"  # moto finds a TemplateURL only under this name

    def client(self, service: str) -> Any:  # noqa: ANN401 its type depends on the service
        """A boto3 client of the local cloud, independent of the caller's AWS settings and proxies."""
        with self._making_client:
            if service not in self._clients:
                make: Any = self._session.client  # has an overload for each of the services' names
                config = Config(proxies={}, max_pool_connections=50)
                self._clients[service] = make(service, endpoint_url=self.endpoint_url, config=config)
            return self._clients[service]

    def deploy(
        self, template: Path, *, stack_name: str = "cutout", parameters: Mapping[str, str] = NO_PARAMETERS
    ) -> dict[str, str]:
        """Creates or updates a stack; returns its Outputs. Raises stack.DeployError."""
        return stack.deploy(
            template, stack_name, parameters, self._session, self.client("cloudformation"), self.client("s3")
        )

    def restore(self) -> None:
        """Fills the stack with what the last cloud with this `state` has left. Raises Failure."""
        if self._state:
            self._state.restore()

    def kill_environments(self) -> int:
        """Sends SIGKILL to every execution environment; returns how many there were."""
        return self._environments.kill()

    def _kill_environment(self, access_key: str) -> None:
        self._environments.kill(access_key)

    def _may(self, call: Call) -> bool:
        return self._permissions.allow(self._environments.function_of(call.access_key), call)

    def uses(self) -> set[Use]:
        """The permissions that functions have used so far."""
        return self._permissions.uses()

    def set_faults(self, *faults: AwsFault, seed: int = 0) -> None:
        """From now on exactly these faults apply to the functions' calls to AWS; of several that match, the first."""
        self._calls.set_faults(*faults, seed=seed)

    def faults_fired(self) -> list[int]:
        """How often each of them has, in their order."""
        return self._calls.fired()

    def set_delivery_faults(self, *faults: DeliveryFault, seed: int = 0) -> None:
        """From now on exactly these faults apply to what event source mappings deliver."""
        self._delivery_faults = DeliveryFaults(*faults, seed=seed)

    def set_event_faults(self, *faults: EventFault) -> None:
        """From now on exactly these faults apply to S3's events; of several that match, the first."""
        self._event_faults = faults

    def delivery_faults_fired(self) -> list[int]:
        """How often each of them has, in their order."""
        return self._delivery_faults.fired()

    def calls(self) -> Counter[str]:
        """How often functions have called each action of AWS since the last `clear_calls`, failures included."""
        return self._calls.made()

    def clear_calls(self) -> None:
        self._calls.clear()
