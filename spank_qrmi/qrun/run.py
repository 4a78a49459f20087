# SPDX-License-Identifier: GPL-3.0-or-later
"""One run of `qrun`, from its input to its result, and what it leaves behind: nothing.

`perform` may be left in the middle of anything: `clean_up` works from what is noted here, in
another thread if need be.
"""

import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from spank_qrmi.clients import qrun_variables as names
from spank_qrmi.clients.base import Exchange
from spank_qrmi.clients.http import HttpClient
from spank_qrmi.clients.late_submission import LATE_SUBMISSION_SECONDS, remove_once_there
from spank_qrmi.clients.qrun_service import quantum_system_from
from spank_qrmi.clients.quantum_system import COMPLETED, FAILED, LONGEST_JOB_SECONDS, QuantumJob
from spank_qrmi.clients.tokens import TokenSource
from spank_qrmi.deadline import Deadline
from spank_qrmi.errors import ObjectStoreError, QrmiError
from spank_qrmi.qrun.delivery import MissingResultError, deliver_result, show_log
from spank_qrmi.qrun.object_store import ObjectStore
from spank_qrmi.qrun.outcome import ExitStatus, QrunError
from spank_qrmi.qrun.primitive_input import read_primitive_input
from spank_qrmi.qrun.progress import Progress
from spank_qrmi.qrun.result_file import ResultFile
from spank_qrmi.qrun.settings import RunSettings, read_settings
from spank_qrmi.qrun.submission import (
    StoppedError,
    Submission,
    id_taken_error,
    submit,
    wait_for_end,
)
from spank_qrmi.qrun.submission_mark import mark_step

SHORTEST_URL_LIFE_SECONDS = 86400
URL_LIFE_MARGIN_SECONDS = 3600

_TIMEOUTS_PER_REQUEST = 3
"""How many tries that are not answered a request may make."""

_JOB_SHARE = 2 / 3
"""Part of the time for cleaning up after which the objects have their turn."""


@dataclass(frozen=True)
class RunOptions:
    """What the user asked for; a `result_path` of None is standard output."""

    input_path: str
    result_path: str | None
    http_timeout_seconds: float
    keeps_objects: bool


class ObjectKeys(NamedTuple):
    """Names of a job's objects in the bucket."""

    input: str
    results: str
    logs: str


class QuantumRun:
    """One job of one user; `environment` holds the `IBMQRUN_*` variables."""

    def __init__(
        self, options: RunOptions, environment: Mapping[str, str], progress: Progress
    ) -> None:
        self._options = options
        self._environment = environment
        self._progress = progress
        self._deadline = Deadline(math.inf)
        self._target = ResultFile(options.result_path)
        self._submission = Submission()
        self._quantum_job_id = ""
        self._store: ObjectStore | None = None
        self._objects: tuple[str, ...] = ()
        self.is_delivered = False

    def stop(self) -> None:
        """Let `perform` end at its next step; it does not start anything any more."""
        self._deadline.cancel()

    @property
    def is_stopped(self) -> bool:
        """Return whether the run was told to stop."""
        return self._deadline.is_cancelled()

    def perform(self) -> ExitStatus:
        """Run the job and deliver its result; raise QrmiError if that cannot be done.

        Nothing is uploaded before settings, input, target and credentials are known to be good.
        """
        settings = read_settings(self._environment)
        self._quantum_job_id = settings.quantum_job_id
        content = read_primitive_input(self._options.input_path)
        self._target.check()
        # As IBM's own clients name them.
        keys = ObjectKeys(*(f"{kind}_{self._quantum_job_id}.json" for kind in ObjectKeys._fields))
        timeout_seconds = self._options.http_timeout_seconds
        store = ObjectStore(settings.store, timeout_seconds)
        with HttpClient(
            self._deadline,
            try_seconds=timeout_seconds,
            request_seconds=timeout_seconds * _TIMEOUTS_PER_REQUEST,
        ) as http:
            # It may wait for days: what IAM could not do once it may do later.
            exchange = Exchange(http, TokenSource(http, failures_are_final=False))
            system = quantum_system_from(self._environment)
            if system.job(exchange, settings.quantum_job_id) is not None:
                raise id_taken_error(settings.quantum_job_id)
            if self.is_stopped:
                raise StoppedError
            self._store, self._objects = store, keys
            store.upload(keys.input, content)
            self._announce()
            self._progress.state(f"job {settings.quantum_job_id}: submitting to {settings.backend}")
            try:
                submit(
                    system,
                    exchange,
                    lambda: job_order(settings, keys, store),
                    self._submission,
                    deadline=self._deadline,
                    progress=self._progress,
                )
            except QrunError:
                # The id, and so the objects, are another run's.
                self._objects = ()
                raise
            job = wait_for_end(
                system, exchange, settings.quantum_job_id, self._deadline, self._progress
            )
        return self._deliver(job, store, keys)

    def clean_up(self, seconds: float) -> None:
        """Take the job from the service and the objects from the bucket, within so many seconds.

        May run at any moment of `perform`, and twice. What may be left is told on stderr.
        """
        deadline = Deadline(seconds)
        self._target.abandon()
        if self._submission.is_possible:
            self._remove_job(Deadline(seconds * _JOB_SHARE))
        if self._store is not None and self._objects and not self._options.keeps_objects:
            self._delete_objects(self._store, deadline)

    def _announce(self) -> None:
        """Have the step look after the job, in case this process is killed."""
        is_in_step = self._environment.get(names.JOB_ID) and "SLURM_JOB_ID" in self._environment
        if not mark_step(self._quantum_job_id) and is_in_step:
            self._progress.error(
                f"job {self._quantum_job_id}: this step's slurmstepd cannot be told of it: if qrun "
                "is killed, look for the job at the service, cancel and delete it"
            )

    def _deliver(self, job: QuantumJob, store: ObjectStore, keys: ObjectKeys) -> ExitStatus:
        """Hand over what the job has brought; return how it ended."""
        if job.status != COMPLETED:
            self._progress.error(_end_text(job))
            show_log(store, keys.logs, self._progress)
            return ExitStatus.FAILED if job.status == FAILED else ExitStatus.CANCELLED
        try:
            deliver_result(store, keys.results, self._target, self._deadline)
        except MissingResultError:
            show_log(store, keys.logs, self._progress)
            raise
        except QrunError as error:
            # It took time on a quantum computer: who can read the bucket can still get it.
            self._objects = (keys.input, keys.logs)
            raise QrunError(f"{error}; {keys.results} stays in the bucket", error.status) from error
        except StoppedError:
            raise
        except Exception:
            # A fault of ours, or too little memory, must not lose it either.
            self._objects = (keys.input, keys.logs)
            self._progress.error(f"{keys.results} stays in the bucket")
            raise
        self.is_delivered = True
        show_log(store, keys.logs, self._progress)
        return ExitStatus.COMPLETED

    def _remove_job(self, deadline: Deadline) -> None:
        late_submission = deadline.within(LATE_SUBMISSION_SECONDS)
        try:
            try_seconds = deadline.remaining_seconds() / _TIMEOUTS_PER_REQUEST
            with HttpClient(deadline, try_seconds=try_seconds) as http:
                exchange = Exchange(http, TokenSource(http, failures_are_final=False))
                system = quantum_system_from(self._environment)

                def is_done() -> bool:
                    is_removed = system.remove(exchange, self._quantum_job_id)
                    return is_removed or not self._submission.is_open

                remove_once_there(is_done, late_submission)
        except QrmiError as error:
            self._progress.error(f"job {self._quantum_job_id} may still be on the service: {error}")
        else:
            self._submission.is_possible = False

    def _delete_objects(self, store: ObjectStore, deadline: Deadline) -> None:
        # The library keeps time for each exchange only, so a thread may have to be left behind.
        reasons = ["the object store does not answer in time"]

        def delete() -> None:
            try:
                store.delete(self._objects)
            except ObjectStoreError as error:
                reasons[:] = [str(error)]
            else:
                reasons.clear()

        thread = threading.Thread(target=delete, daemon=True)
        thread.start()
        thread.join(deadline.remaining_seconds())
        if reasons:
            shown = ", ".join(self._objects)
            self._progress.error(f"{shown} may still be in the bucket: {reasons[0]}")
        else:
            self._objects = ()


def job_order(settings: RunSettings, keys: ObjectKeys, store: ObjectStore) -> dict[str, object]:
    """Return the body of a submission (Direct Access REST, POST /v1/jobs), with URLs made now."""
    lifetime_seconds = url_life_seconds(settings.time_limit_seconds)
    urls = {
        "input": store.presign("get_object", keys.input, lifetime_seconds),
        "results": store.presign("put_object", keys.results, lifetime_seconds),
        "logs": store.presign("put_object", keys.logs, lifetime_seconds),
    }
    return {
        "id": settings.quantum_job_id,
        "backend": settings.backend,
        "program_id": settings.primitive,
        "log_level": settings.log_level,
        "timeout_secs": settings.time_limit_seconds,
        "storage": {
            name: {"type": "s3_compatible", "presigned_url": url} for name, url in urls.items()
        },
    }


def url_life_seconds(time_limit_seconds: int) -> int:
    """Return how long the service may use the URLs of a job.

    A job waits at the service at most as long as we wait for it, which Slurm's time limit bounds;
    the margin is for clocks that differ and limits that Slurm stretches. Seven days are the most
    that a URL can have, a day the least, for those who set a short limit by hand.
    """
    seconds = max(SHORTEST_URL_LIFE_SECONDS, time_limit_seconds + URL_LIFE_MARGIN_SECONDS)
    return min(seconds, LONGEST_JOB_SECONDS)


def _end_text(job: QuantumJob) -> str:
    text = f"job {job.quantum_job_id} {'failed' if job.status == FAILED else 'was cancelled'}"
    code = f" ({job.reason_code})" if job.reason_code is not None else ""
    reason = f": {job.reason_message}{code}" if job.reason_message else code
    return f"{text}{reason}" + (f"; {job.reason_solution}" if job.reason_solution else "")
