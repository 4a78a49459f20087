# SPDX-License-Identifier: GPL-3.0-or-later
"""The logs of Direct Access jobs that have no worker any more to write them into storage."""

import logging

import httpx

from spank_qrmi_simulator.jobs import Job
from spank_qrmi_simulator.quantum_system_orders import storage_urls

STORAGE_TIMEOUT_SECONDS = 5
"""Shorter than a worker's: who cancels a job waits for this."""

logger = logging.getLogger("spank_qrmi_simulator")


async def keep_log(job: Job, text: str) -> None:
    """Store a log of one line if the job's order asks for one; a storage that fails is logged."""
    url = storage_urls(job.params).get("logs")
    if url is None:
        return
    try:
        async with httpx.AsyncClient(timeout=STORAGE_TIMEOUT_SECONDS, trust_env=False) as client:
            (await client.put(url, content=f"{text}\n".encode())).raise_for_status()
    # ValueError: of host names that the resolver cannot encode.
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        # Neither the URL nor httpx's text, which may hold it: a presigned URL is a secret.
        logger.info("the log of a stopped job cannot be stored: %s", type(error).__name__)
