"""The execution environments of the functions: a warm one is reused; a dead or outdated one is replaced."""

import io
import itertools
import json
import threading
import zipfile
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from cutout.local.lambda_runtime.runtime import Environment
from cutout.local.lambda_runtime.runtime_api import Function, Outcome

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient

# Each execution environment signs with its own access key id.
ACCESS_KEY_PREFIX = "environment-"


class Environments:
    """Unpacks artefacts in `folder`; a function's output goes to `log_dir`/<function name>.log and to `deliver`."""

    def __init__(
        self,
        client: "LambdaClient",
        read_code: Callable[[str], bytes],
        services: Mapping[str, str],
        folder: Path,
        log_dir: Path,
        deliver: Callable[[str, str, str], None],
    ) -> None:
        """`read_code` returns the artefact of the function with that ARN; for `deliver` see Environment."""
        self._client = client
        self._read_code = read_code
        self._services = services
        self._folder = folder
        self._log_dir = log_dir
        self._deliver = deliver
        self._idle: dict[str, list[Environment]] = defaultdict(list)  # by the function's ARN
        self._all: set[Environment] = set()
        self._functions: dict[str, str] = {}  # their names, by the access key id of an environment
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._closed = False

    def invoke(self, arn: str, event: object) -> Outcome:
        environment = self._acquire(self._look_up(arn))
        if environment is None:
            return Outcome(b'{"errorType": "Sandbox.Closed", "errorMessage": "The local cloud ends"}', failed=True)
        outcome = environment.invoke(event)
        with self._lock:
            if environment.alive and not self._closed:
                self._idle[arn].append(environment)
            else:
                self._discard(environment)
        return outcome

    def kill(self, access_key: str | None = None) -> int:
        """Sends SIGKILL to every environment, or to the one that signs with this key; returns how many there were."""
        with self._lock:
            return self._kill(access_key)

    def function_of(self, access_key: str) -> str:
        """The name of the function whose environment signs, or has signed, with this key."""
        with self._lock:
            return self._functions[access_key]

    def close(self) -> None:
        """Ends every environment. Invocations that run fail, and their threads clean up after them."""
        with self._lock:
            self._closed = True
            self._kill()
            for idle in self._idle.values():
                while idle:
                    self._discard(idle.pop())

    def _kill(self, access_key: str | None = None) -> int:
        running = [e for e in self._all if e.alive and access_key in (None, e.access_key)]
        for environment in running:
            environment.kill()
        return len(running)

    def _acquire(self, function: Function) -> Environment | None:
        """None when the local cloud ends."""
        with self._lock:
            if self._closed:
                return None
            idle = self._idle[function.arn]
            while idle:
                environment = idle.pop()
                if environment.alive and environment.function == function:
                    return environment
                self._discard(environment)
            access_key = f"{ACCESS_KEY_PREFIX}{next(self._numbers)}"
            log = self._log_dir / f"{function.name}.log"
            environment = Environment(function, access_key, self._services, log, self._deliver)
            self._all.add(environment)
            self._functions[access_key] = function.name
            return environment

    def _discard(self, environment: Environment) -> None:
        self._all.discard(environment)
        environment.close()

    def _look_up(self, arn: str) -> Function:
        configuration = self._client.get_function_configuration(FunctionName=arn)
        return Function(
            name=configuration["FunctionName"],
            arn=arn,
            handler=configuration["Handler"],
            runtime=configuration["Runtime"],
            timeout=configuration["Timeout"],
            memory=configuration["MemorySize"],
            code=self._unpack(arn, configuration["CodeSha256"]),
            log_group=configuration["LoggingConfig"]["LogGroup"],
            variables={
                # moto keeps the numbers and booleans of a template; CloudFormation converts them to text
                name: value if isinstance(value, str) else json.dumps(value)
                for name, value in configuration.get("Environment", {}).get("Variables", {}).items()
            },
        )

    def _unpack(self, arn: str, digest: str) -> Path:
        """Once for each artefact: its folder stays as long as the local cloud."""
        folder = self._folder / digest.replace("/", "_")
        with self._lock:
            if not folder.exists():
                with zipfile.ZipFile(io.BytesIO(self._read_code(arn))) as artefact:
                    artefact.extractall(folder)
        return folder
