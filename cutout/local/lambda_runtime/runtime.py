"""An execution environment of a function: a process of AWS's own runtime client.

The process is `python -m awslambdaric HANDLER` with the Python that runs the local cloud, whatever Runtime the template
names. Packages that the function's artefact lacks (boto3, Powertools, ...) come from that Python.
"""

import contextlib
import functools
import json
import math
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, cast

from cutout.local.lambda_runtime.runtime_api import Function, Outcome, RuntimeApi

INIT_SECONDS = 10  # Lambda's own limit for the time before the first event is asked for
OUTPUT_BYTES = 1 << 20  # more than a pipe holds
GLANCE_SECONDS = 0.1  # how often a silent process is checked


class Environment:
    """One process, which runs one invocation at a time. Its output goes to `log`, line by line."""

    def __init__(
        self,
        function: Function,
        access_key: str,
        services: Mapping[str, str],
        log: Path,
        deliver: Callable[[str, str, str], None],
    ) -> None:
        """`access_key` is the id of the key that it signs with; `services` leads the AWS SDK to the local cloud.

        `deliver` takes each line of the log as well, with the log group and the environment's stream.
        """
        self.function = function
        self.access_key = access_key
        self._log_stream = f"{time.strftime('%Y/%m/%d', time.gmtime())}/[$LATEST]{uuid.uuid4().hex}"
        self._deliver = functools.partial(deliver, function.log_group, self._log_stream)
        self._log = log.open("ab", buffering=0)  # environments share the file, so a line is one system call
        self._partial_line = b""
        self._started_at = time.monotonic()
        self._warm = False
        # Each environment has its own /tmp, and no home directory with settings for the SDK.
        self._temporary = tempfile.TemporaryDirectory(prefix="cutout-environment-", ignore_cleanup_errors=True)
        self._api = RuntimeApi()
        self._process = subprocess.Popen(  # noqa: S603 the handler is the template's own
            [sys.executable, "-m", "awslambdaric", function.handler],
            cwd=function.code,
            env=self._variables(services),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
            start_new_session=True,  # Ctrl-C is for the local cloud, which then ends its environments
        )
        self._output = cast("IO[bytes]", self._process.stdout)
        os.set_blocking(self._output.fileno(), False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._api, selectors.EVENT_READ)
        self._selector.register(self._output, selectors.EVENT_READ)

    def _variables(self, services: Mapping[str, str]) -> dict[str, str]:
        """https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html"""
        function = self.function
        return {
            **function.variables,
            **services,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.access_key,  # moto takes any
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{self._api.server_port}",
            "AWS_LAMBDA_FUNCTION_NAME": function.name,
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory),
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "AWS_LAMBDA_LOG_GROUP_NAME": function.log_group,
            "AWS_LAMBDA_LOG_STREAM_NAME": self._log_stream,
            "AWS_EXECUTION_ENV": f"AWS_Lambda_{function.runtime}",
            "LAMBDA_TASK_ROOT": str(function.code),
            "_HANDLER": function.handler,
            "HOME": self._temporary.name,
            "TMPDIR": self._temporary.name,
            "LANG": "en_US.UTF-8",
            "PATH": os.environ.get("PATH", os.defpath),
            "TZ": ":UTC",
        }

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        """Sends SIGKILL to the process and to those that it started; returns when it has ended.

        Safe while `invoke` runs: its invocation then fails.
        """
        if self.alive:
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def close(self) -> None:
        self.kill()
        self._end_output()
        self._selector.close()
        self._output.close()
        self._log.close()
        self._api.server_close()
        self._temporary.cleanup()

    def invoke(self, event: object) -> Outcome:
        """Runs the handler once. After a failure check `alive`: Lambda kills what exceeds its timeout."""
        request_id = str(uuid.uuid4())
        offered_at = time.monotonic()
        self._api.offer(self.function, request_id, event)
        self._write(f"START RequestId: {request_id} Version: $LATEST")
        outcome = self._wait(request_id)
        self._end_output()
        self._report(request_id, offered_at)
        self._warm = True
        return outcome

    def _wait(self, request_id: str) -> Outcome:
        init_ends = time.monotonic() + max(INIT_SECONDS, self.function.timeout)
        while True:
            taken_at = self._api.taken_at
            ends = init_ends if taken_at is None else taken_at + self.function.timeout
            for key, _ in self._selector.select(timeout=max(0, min(GLANCE_SECONDS, ends - time.monotonic()))):
                if key.fileobj is self._api:
                    self._api.handle_request()
                else:
                    self._read_output()
            if self._api.outcome is not None:
                if self._api.taken_at is None:  # the handler could not be loaded: the process is about to exit
                    self.kill()
                return self._api.outcome
            if not self.alive:
                reason = f"Error: Runtime exited with {_exit_reason(self._process.returncode)}"
                return self._fail("Runtime.ExitError", f"RequestId: {request_id} {reason}")
            if time.monotonic() >= ends:
                self.kill()
                return self._fail(
                    "Sandbox.Timedout",
                    f"RequestId: {request_id} Error: Task timed out after {self.function.timeout:.2f} seconds",
                )

    def _fail(self, kind: str, message: str) -> Outcome:
        self._end_output()
        self._write(message)
        return Outcome(json.dumps({"errorType": kind, "errorMessage": message}).encode(), failed=True)

    def _report(self, request_id: str, offered_at: float) -> None:
        now = time.monotonic()
        milliseconds = (now - (self._api.taken_at or offered_at)) * 1000
        fields = [
            f"REPORT RequestId: {request_id}",
            f"Duration: {milliseconds:.2f} ms",
            f"Billed Duration: {math.ceil(milliseconds)} ms",
            f"Memory Size: {self.function.memory} MB",
        ]
        if (peak := _peak_memory_mb(self._process.pid)) is not None:
            fields.append(f"Max Memory Used: {peak} MB")
        if not self._warm:
            fields.append(f"Init Duration: {((self._api.taken_at or now) - self._started_at) * 1000:.2f} ms")
        self._write(f"END RequestId: {request_id}")
        self._write("\t".join(fields))

    def _read_output(self) -> None:
        """Reads the pipe once and passes the lines on: a process that never stops printing must not hold us up."""
        chunk = self._output.read(OUTPUT_BYTES)
        if chunk is None:  # nothing for now
            return
        if not chunk:  # the end of the output
            if self._output in self._selector.get_map():
                self._selector.unregister(self._output)
            return
        # The runtime client puts a carriage return between the lines of a traceback.
        *lines, self._partial_line = (self._partial_line + chunk).replace(b"\r", b"\n").split(b"\n")
        for line in lines:
            self._write(line.decode(errors="replace"))

    def _end_output(self) -> None:
        """Passes on everything printed so far, including a last line without its end."""
        self._read_output()
        if self._partial_line:
            self._write(self._partial_line.decode(errors="replace"))
            self._partial_line = b""

    def _write(self, line: str) -> None:
        self._log.write(f"{line}\n".encode())
        self._deliver(line)


def _exit_reason(returncode: int) -> str:
    if returncode < 0:
        return f"error: signal: {signal.Signals(-returncode).name}"
    return f"error: exit status {returncode}" if returncode else "without providing a reason"


def _peak_memory_mb(pid: int) -> int | None:
    """None where there is no /proc, and for a process that has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    return next((int(line.split()[1]) // 1024 for line in status.splitlines() if line.startswith("VmHWM:")), None)
