# SPDX-License-Identifier: GPL-3.0-or-later
"""What the environment tells qrun, and how long URLs live."""

import uuid

from spank_qrmi.errors import VariableError
from spank_qrmi.qrun.run import url_life_seconds
from spank_qrmi.qrun.settings import read_settings, service_log_level
from tests.unit.outcomes import refusal_of, trying

GOOD = {
    "IBMQRUN_BACKEND": " ibm_torino ",
    "IBMQRUN_PRIMITIVE": "estimator",
    "IBMQRUN_TIMEOUT_SECONDS": "600",
    "IBMQRUN_JOB_ID": "6f1d-a.b_c",
    "IBMQRUN_AWS_ACCESS_KEY_ID": "access-id",
    "IBMQRUN_AWS_SECRET_ACCESS_KEY": "access-secret",
    "IBMQRUN_S3_ENDPOINT": "http://s3.test:9000/",
    "IBMQRUN_S3_BUCKET": "bucket",
    "IBMQRUN_S3_REGION": "eu-de",
}


def test_settings_are_read_and_hold_no_secret_in_their_repr() -> None:
    settings = read_settings({**GOOD, "SRUN_DEBUG": "5"})
    assert (settings.backend, settings.primitive) == ("ibm_torino", "estimator")
    assert (settings.quantum_job_id, settings.log_level) == ("6f1d-a.b_c", "debug")
    assert settings.time_limit_seconds == 600
    assert settings.store.endpoint_url == "http://s3.test:9000"
    assert "access-" not in repr(settings)
    # The id is random without one.
    first, second = (read_settings({**GOOD, "IBMQRUN_JOB_ID": ""}).quantum_job_id for _ in range(2))
    assert uuid.UUID(first).version == uuid.UUID(second).version == 4
    assert first != second


def test_time_limit_may_be_up_to_seven_days_or_none_and_urls_outlive_the_job() -> None:
    limits = {"1": 1, "604800": 604800, "4294967295": 604800, " 60 ": 60}
    assert {
        text: read_settings({**GOOD, "IBMQRUN_TIMEOUT_SECONDS": text}).time_limit_seconds
        for text in limits
    } == limits
    lives = {60: 86400, 86400: 90000, 604800: 604800, 604000: 604800}
    assert {limit: url_life_seconds(limit) for limit in lives} == lives


def test_variables_are_checked() -> None:
    for name, problems in {
        "BACKEND": {
            "": "is not set: use qrun in a job that was submitted with --q-backend",
            "a\nb": "must be the name of a backend",
            "x" * 257: "must be the name of a backend",
        },
        "PRIMITIVE": {"Sampler": "must be sampler or estimator", "": "is not set"},
        "TIMEOUT_SECONDS": {
            "": "is not set",
            "0": "must be a whole number of seconds from 1 to 604800: the service",
            "604801": "longer than 7 days",
            "1e3": "must be a whole number",
        },
        "JOB_ID": dict.fromkeys(["..", "a/b", "x" * 257], "must be up to 256 letters"),
        "S3_ENDPOINT": dict.fromkeys(["s3.test", "http://user:password@s3.test"], "must be a URL"),
        "S3_BUCKET": {" ": "is not set"},
        "AWS_SECRET_ACCESS_KEY": {"": "is not set"},
    }.items():
        for value, problem in problems.items():
            with trying((name, value)):
                text = refusal_of(VariableError, read_settings, {**GOOD, f"IBMQRUN_{name}": value})
                assert text is not None
                assert text.startswith(f"IBMQRUN_{name} ")
                assert problem in text
                assert text.isprintable()
                assert "password" not in text


def test_log_level_follows_srun() -> None:
    levels = {"2": "error", "4": "debug", "9": "debug"}
    levels |= dict.fromkeys(["", "3", "-4", "x", "1"], "info")
    assert {text: service_log_level(text) for text in levels} == levels
