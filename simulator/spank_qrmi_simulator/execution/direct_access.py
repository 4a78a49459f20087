# SPDX-License-Identifier: GPL-3.0-or-later
"""A Direct Access job as the service runs it: input from storage, result and log into storage.

Runs in a worker process, so that a storage that hangs can be cancelled like everything else.
"""

from collections.abc import Mapping
from typing import cast

import httpx
import orjson

from spank_qrmi_simulator.execution import ibm_primitives
from spank_qrmi_simulator.execution.errors import ExecutionError

STORAGE_TIMEOUT_SECONDS = 60


def run(order: Mapping[str, object]) -> dict[str, object]:
    """Return `quantum_nanoseconds` of the run; raises ExecutionError.

    `order` is that of a primitive with `storage` in place of `input`: presigned URLs of `input`,
    `results` and, if wanted, `logs`.
    """
    storage = cast("dict[str, str]", order["storage"])
    with httpx.Client(timeout=STORAGE_TIMEOUT_SECONDS, trust_env=False) as client:
        logs = ""
        try:
            outcome = ibm_primitives.run({**order, "input": _fetch(client, storage["input"])})
            logs = str(outcome["logs"])
            _store(client, storage["results"], str(outcome["results"]))
        except ExecutionError as error:
            logs += f"{error}\n"
            raise
        finally:
            if "logs" in storage:
                _store(client, storage["logs"], logs)
    return {"quantum_nanoseconds": outcome["quantum_nanoseconds"]}


def _fetch(client: httpx.Client, url: str) -> object:
    try:
        answer = client.get(url)
        answer.raise_for_status()
        return orjson.loads(answer.content)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        message = f"the input cannot be fetched: {_reason(error)}"
        raise ExecutionError(message) from error
    except orjson.JSONDecodeError as error:
        raise ExecutionError("the input is not JSON") from error


def _store(client: httpx.Client, url: str, text: str) -> None:
    try:
        # Presigned URLs sign the host alone, so no other header may matter.
        client.put(url, content=text.encode()).raise_for_status()
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        message = f"the result or the log cannot be stored: {_reason(error)}"
        raise ExecutionError(message) from error


def _reason(error: Exception) -> str:
    # httpx's own text of a status error holds the URL, and a presigned URL is a secret.
    if isinstance(error, httpx.HTTPStatusError):
        return f"HTTP {error.response.status_code}"
    return type(error).__name__
