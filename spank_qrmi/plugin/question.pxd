# SPDX-License-Identifier: GPL-3.0-or-later
# What a plugin's questions to its worker have in common, from the first byte to the answer.

from libc.stdio cimport snprintf
from libc.string cimport memset, strcmp, strlen

from slurm cimport (
    NO_VAL, compat_job_licenses, job_info_msg_t, slurm_free_job_info_msg, slurm_job_info_t)
from spank cimport slurm_debug, slurm_info
from spank_qrmi.plugin.arguments cimport argument_value
from spank_qrmi.plugin.byte_buffer cimport ByteBuffer, free_bytes
from spank_qrmi.plugin.job cimport Step, ask_for_job
from spank_qrmi.plugin.log cimport PLUGIN_LOG_NAME, log_line
from spank_qrmi.plugin.masking cimport SHOWN_BYTES, show_text
from spank_qrmi.plugin.message cimport (
    Answer, add_bytes, add_number, add_text, begin_request, end_request)
from spank_qrmi.plugin.worker_process cimport (
    Conversation, ask_worker, give_up, start_served_worker, start_worker)

cdef enum:
    # The worker keeps the deadline itself, and may then give back what it got (the grace of
    # at_once.py, and UNDO_SECONDS of job/acquire.py); the plugin's own deadline is for a worker that does not.
    TIMEOUT_MARGIN_SECONDS = 8


cdef inline bint try_worker_server(Conversation *talk, int argc, char **argv) noexcept nogil:
    """Take a worker that is ready; without the server the job only waits a little longer."""
    cdef const char *named = argument_value(argc, argv, b"--worker-server=")
    cdef const char *path = b"/run/spank_qrmi/worker.socket"
    cdef char shown[SHOWN_BYTES]
    if named != NULL:
        path = named
    if strcmp(path, b"none") == 0:
        return False
    show_text(shown, path)
    if start_served_worker(talk, path):
        slurm_debug(b"%s: worker of worker server %s", PLUGIN_LOG_NAME, shown)
        return True
    if named == NULL:
        slurm_debug(b"%s: no worker server at %s: %s", PLUGIN_LOG_NAME, shown, talk.failure)
    else:
        slurm_info(b"%s: warning: --worker-server=%s: %s; a worker is started without it",
                   PLUGIN_LOG_NAME, shown, talk.failure)
    talk.failure[0] = 0
    return False


cdef inline void begin_conversation(Conversation *talk, Answer *answer, ByteBuffer *request,
                                    const Step *step, long timeout_seconds, int argc,
                                    char **argv) noexcept nogil:
    """Start the worker: while the request is written, and slurmctld asked for it, Python starts."""
    memset(talk, 0, sizeof(talk[0]))
    memset(answer, 0, sizeof(answer[0]))
    memset(request, 0, sizeof(request[0]))
    answer.left = -1
    talk.log = log_line
    talk.job_id = step.job_id
    talk.timeout_milliseconds = (timeout_seconds + TIMEOUT_MARGIN_SECONDS) * 1000
    if not try_worker_server(talk, argc, argv):
        start_worker(talk)


cdef inline bint write_request(ByteBuffer *request, const Step *step, const char *verb,
                               long timeout_seconds, int argc, char **argv) noexcept nogil:
    cdef int i
    cdef bint is_written = (
        begin_request(request) and add_text(request, c"v", verb)
        and add_number(request, c"j", step.job_id)
        and add_number(request, c"r", step.restart_count)
        and add_number(request, c"s", step.step_id)
        and add_number(request, c"u", step.uid)
        and add_number(request, c"d", <unsigned long long>timeout_seconds))
    for i in range(argc):
        is_written = is_written and add_text(request, c"a", argv[i])
    return is_written


cdef inline bint add_optional_text(ByteBuffer *request, char tag,
                                   const char *text) noexcept nogil:
    """Add a text of Slurm's, in which NULL means empty."""
    return add_bytes(request, tag, text, 0 if text == NULL else strlen(text))


cdef inline bint add_place_in_group(ByteBuffer *request,
                                    const slurm_job_info_t *job) noexcept nogil:
    """Add which task of an array, or which component of a heterogeneous job, the job is."""
    if job.array_job_id != 0 and job.array_task_id != NO_VAL:
        if not (add_number(request, c"y", job.array_job_id)
                and add_number(request, c"Y", job.array_task_id)):
            return False
    return job.het_job_id == 0 or (add_number(request, c"h", job.het_job_id)
                                   and add_number(request, c"H", job.het_job_offset))


cdef inline bint add_job_record(ByteBuffer *request, const Step *step) noexcept nogil:
    """Add what slurmctld tells of the job: time limit and start, account, partition, licences, the
    user's name, and what the job is a part of.

    The job's environment has these too, but a user can write there whatever he likes.
    """
    cdef job_info_msg_t *reply = ask_for_job(step.job_id)
    cdef slurm_job_info_t *job
    cdef bint is_added
    if reply == NULL:
        slurm_info(b"%s: warning: slurmctld does not tell the job's time limit: taken as none",
                   PLUGIN_LOG_NAME)
        return True
    job = reply.job_array
    is_added = (add_number(request, c"l", job.time_limit)
                and add_number(request, c"b", <unsigned long long>job.start_time)
                and add_optional_text(request, c"A", job.account)
                and add_optional_text(request, c"p", job.partition)
                and add_optional_text(request, c"L", compat_job_licenses(job))
                and add_optional_text(request, c"U", job.user_name)
                and add_number(request, c"R", job.restart_cnt)
                and add_place_in_group(request, job))
    slurm_free_job_info_msg(reply)
    return is_added


cdef inline bint ask(Conversation *talk, ByteBuffer *request, bint is_written,
                     const char *what_is_too_long, Answer *answer) noexcept nogil:
    """Put a written request to the worker; `talk.failure` says why there is no answer."""
    cdef bint is_answered = False
    if talk.is_started:
        if is_written and end_request(request):
            is_answered = ask_worker(talk, request, answer)
        else:
            give_up(talk)
            snprintf(talk.failure, sizeof(talk.failure),
                     b"cannot be asked: %s too long (256 KiB each, 8 MiB in all)", what_is_too_long)
    free_bytes(request)
    if talk.complaint[0] != 0:
        slurm_info(b"%s: worker: %s", PLUGIN_LOG_NAME, talk.complaint)
    return is_answered
