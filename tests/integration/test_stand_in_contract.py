"""The stand-in keeps to its own OpenAPI description, whatever schemathesis sends it."""

import requests
import schemathesis
from hypothesis import strategies
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema

from cutout.local.pixelcut.server import API_KEY, StandIn


def test_schemathesis_finds_no_violation(stand_in: StandIn, photo: bytes) -> None:
    answer = requests.post(
        f"{stand_in.url}/v1/remove-background", headers={"X-API-KEY": API_KEY}, files={"image": photo}, timeout=10
    )
    url = answer.json()["result_url"]
    # Otherwise no image_url could be fetched and no image decoded: no valid request would get its 200.
    schemathesis.openapi.format("uri", strategies.just(url))
    schemathesis.openapi.format("binary", strategies.just(photo))
    config = SchemathesisConfig.from_dict(
        {
            "seed": 1,
            "headers": {"X-API-KEY": API_KEY},
            "continue-on-failure": True,
            "suppress-health-check": ["all"],
            "generation": {"max-examples": 100, "deterministic": True, "database": "none"},
        }
    )
    schema = schemathesis.openapi.from_url(f"{stand_in.url}/openapi.yaml", config=config)

    def is_fine_after_all(check: str, body: object) -> bool:
        """schemathesis counts a body as invalid if one alternative of an anyOf is, although the other is valid."""
        if check != "negative_data_rejection" or not isinstance(body, dict) or body.get("format", "png") != "png":
            return False
        return body.get("image_url") == url or getattr(body.get("image"), "data", None) == photo

    checked, violations, errors = set(), [], []
    for event in from_schema(schema).execute():
        if isinstance(event, events.NonFatalError | events.FatalError):
            errors.append(event)
        if isinstance(event, events.ScenarioFinished):
            for case_id, checks in event.recorder.checks.items():
                case = event.recorder.cases[case_id].value
                for check in checks:
                    checked.add(check.name)
                    if check.failure_info and not is_fine_after_all(check.name, case.body):
                        violations.append((check.name, case.as_curl_command(), check.failure_info.failure))

    assert errors == []
    assert violations == []
    assert {
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
        "negative_data_rejection",
        "positive_data_acceptance",
        "missing_required_header",
        "unsupported_method",
        "allow_header_conformance",
        "ignored_auth",
    } <= checked
    answers = stand_in.state()["answers"]
    assert answers["removal"]["200"] > 20
    assert answers["removal"]["400"] > 20
    assert answers["removal"]["401"] > 0
    assert answers["credits"]["200"] > 0
