"""The states of an event source mapping, and how long each lasts: moto 5.2.5 changes a mapping at once.

It also accepts settings that Lambda refuses, and reports no error for a mapping that does not exist.
A test in tests/unit/cutout/local/moto_without_patches/ fails when a newer moto does any of it right.

On AWS a call starts a transition (Creating, Enabling, Disabling, Updating, Deleting) and returns. While it lasts,
another change is refused. AWS does not document how long that takes.
https://docs.aws.amazon.com/lambda/latest/api/API_UpdateEventSourceMapping.html
"""

import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeAlias

from moto.awslambda.exceptions import LambdaClientError
from moto.awslambda.models import EventSourceMapping, LambdaBackend
from moto.sqs.models import sqs_backends

Untyped: TypeAlias = Any  # of moto, which has no types, or of JSON

GLANCE_SECONDS = 0.02  # how often CloudFormation looks whether a transition has ended
LARGE_BATCH = 10  # more messages than this need a batching window
CONCURRENCY = range(2, 1001)


class _ResourceInUse(LambdaClientError):
    def __init__(self, change: str) -> None:
        super().__init__("ResourceInUseException", f"Cannot {change} the event source mapping because it is in use.")


class _NotFound(LambdaClientError):
    code = 404

    def __init__(self) -> None:
        super().__init__("ResourceNotFoundException", "The resource you requested does not exist.")


class _Invalid(LambdaClientError):
    def __init__(self, message: str) -> None:
        super().__init__("InvalidParameterValueException", message)


@dataclass(frozen=True, slots=True)
class _Transition:
    state: str
    ends: float  # on the monotonic clock


class MappingStates:
    """The replacements of moto's methods. A mapping holds its own transition, so a reset of moto forgets it."""

    def __init__(self, seconds: Callable[[], float]) -> None:
        """`seconds`: how long a transition lasts, asked when it starts."""
        self._seconds = seconds
        self._lock = threading.RLock()

    def replacements(self) -> list[tuple[object, str, Callable[[Untyped], object]]]:
        return [
            (EventSourceMapping, "get_configuration", self._show),
            (EventSourceMapping, "create_from_cloudformation_json", self._create_by_stack),
            (EventSourceMapping, "update_from_cloudformation_json", self._update_by_stack),
            (EventSourceMapping, "delete", self._delete_by_stack),
            (LambdaBackend, "create_event_source_mapping", self._create),
            (LambdaBackend, "update_event_source_mapping", self._update),
            (LambdaBackend, "delete_event_source_mapping", self._delete),
            (LambdaBackend, "get_event_source_mapping", self._get),
            (LambdaBackend, "list_event_source_mappings", self._list),
        ]

    def _begin(self, mapping: Untyped, state: str) -> None:
        mapping.transition = _Transition(state, time.monotonic() + self._seconds())

    def _refuse_while_it_lasts(self, mapping: Untyped, change: str) -> None:
        if _is_changing(mapping):
            raise _ResourceInUse(change)

    def _show(self, original: Untyped) -> Untyped:
        def get_configuration(mapping: EventSourceMapping) -> dict[str, Any]:
            transition: _Transition | None = getattr(mapping, "transition", None)
            shown: dict[str, Any] = original(mapping)
            if transition and _is_changing(mapping):
                shown["State"] = transition.state
            return shown

        return get_configuration

    def _create(self, original: Untyped) -> Untyped:
        """Moto's queues invoke the function themselves, message by message, in addition to our poller.

        Since https://github.com/getmoto/moto/pull/2376
        """

        def create_event_source_mapping(backend: LambdaBackend, spec: dict[str, Any]) -> Untyped:
            _check(spec, spec)
            with self._lock:
                mapping = original(backend, spec)
                self._begin(mapping, "Creating")
            for queue in sqs_backends[backend.account_id][backend.region_name].queues.values():
                queue.lambda_event_source_mappings.clear()
            return mapping

        return create_event_source_mapping

    def _update(self, original: Untyped) -> Untyped:
        def update_event_source_mapping(backend: LambdaBackend, uuid: str, spec: dict[str, Any]) -> Untyped:
            with self._lock:
                mapping = backend.get_event_source_mapping(uuid)
                if mapping is None:
                    raise _NotFound
                self._refuse_while_it_lasts(mapping, "update")
                _check(spec, mapping.get_configuration() | spec)
                was = bool(mapping.enabled)
                original(backend, uuid, spec)
                switched = {(False, True): "Enabling", (True, False): "Disabling"}
                self._begin(mapping, switched.get((was, bool(mapping.enabled)), "Updating"))
            return mapping

        return update_event_source_mapping

    def _delete(self, _original: Untyped) -> Untyped:
        def delete_event_source_mapping(backend: LambdaBackend, uuid: str) -> Untyped:
            with self._lock:
                mapping = backend.get_event_source_mapping(uuid)
                if mapping is None:
                    raise _NotFound
                self._refuse_while_it_lasts(mapping, "delete")
                self._begin(mapping, "Deleting")
            return mapping

        return delete_event_source_mapping

    def _get(self, original: Untyped) -> Untyped:
        def get_event_source_mapping(backend: LambdaBackend, uuid: str) -> Untyped:
            mapping = original(backend, uuid)
            if mapping is None or not _is_gone(mapping):
                return mapping
            with self._lock:
                backend._event_source_mappings.pop(uuid, None)  # noqa: SLF001 as moto's own delete does
            return None

        return get_event_source_mapping

    def _list(self, original: Untyped) -> Untyped:
        def list_event_source_mappings(
            backend: LambdaBackend, *filters: Untyped, **named: Untyped
        ) -> Iterable[Untyped]:
            return [mapping for mapping in original(backend, *filters, **named) if not _is_gone(mapping)]

        return list_event_source_mappings

    # CloudFormation goes on with the next resource when the transition has ended.

    def _create_by_stack(self, original: Untyped) -> Untyped:
        def create_from_cloudformation_json(*arguments: Untyped, **named: Untyped) -> Untyped:
            mapping = original(*arguments, **named)
            _await_end(mapping)
            return mapping

        return create_from_cloudformation_json

    def _update_by_stack(self, original: Untyped) -> Untyped:
        def update_from_cloudformation_json(
            original_resource: Untyped, *arguments: Untyped, **named: Untyped
        ) -> Untyped:
            _await_end(original_resource)
            mapping = original(original_resource, *arguments, **named)
            _await_end(mapping)
            return mapping

        return update_from_cloudformation_json

    def _delete_by_stack(self, original: Untyped) -> Untyped:
        def delete(mapping: EventSourceMapping, account_id: str, region_name: str) -> None:
            _await_end(mapping)
            with suppress(_NotFound):  # it is deleted already
                original(mapping, account_id, region_name)
            _await_end(mapping)

        return delete


def _is_changing(mapping: Untyped) -> bool:
    transition: _Transition | None = getattr(mapping, "transition", None)
    return transition is not None and time.monotonic() < transition.ends


def _is_gone(mapping: Untyped) -> bool:
    transition: _Transition | None = getattr(mapping, "transition", None)
    return transition is not None and transition.state == "Deleting" and not _is_changing(mapping)


def _await_end(mapping: Untyped) -> None:
    while _is_changing(mapping):
        time.sleep(GLANCE_SECONDS)


def _check(changes: dict[str, Any], spec: dict[str, Any]) -> None:
    """What AWS refuses and moto accepts.

    https://docs.aws.amazon.com/lambda/latest/api/API_CreateEventSourceMapping.html
    """
    if int(spec.get("BatchSize") or 0) > LARGE_BATCH and not int(spec.get("MaximumBatchingWindowInSeconds") or 0):
        raise _Invalid(
            "Maximum batch window in seconds must be greater than 0 if maximum batch size is greater than 10"
        )
    most = (changes.get("ScalingConfig") or {}).get("MaximumConcurrency")
    if most is not None and int(most) not in CONCURRENCY:
        raise _Invalid(f"MaximumConcurrency must be between {CONCURRENCY[0]} and {CONCURRENCY[-1]}")
