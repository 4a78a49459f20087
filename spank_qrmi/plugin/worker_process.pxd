# SPDX-License-Identifier: GPL-3.0-or-later
# The worker as the plugin sees it: start it, hand it one request, wait for one answer within a
# deadline, and leave nothing of it behind. Called only from slurmstepd itself, never from a task,
# and always waited for before the hook returns, since slurmstepd reaps strays. It is slurmstepd's
# child, or one of the worker server's.

from libc.errno cimport EAGAIN, EINTR, ENOENT, errno
from libc.stdint cimport uint32_t
from libc.stdio cimport snprintf
from libc.string cimport memcpy, memmove, strcmp, strerror, strrchr
from libc.signal cimport SIGABRT, SIGCONT, SIGFPE, SIGILL, SIGKILL, SIGSEGV
from posix.signal cimport kill, sigdelset, sigfillset, siginfo_t, sigset_t
from posix.time cimport nanosleep, timespec
from posix.types cimport pid_t
from posix.unistd cimport close, read, readlink
from posix.wait cimport (
    P_PID, WEXITED, WEXITSTATUS, WIFEXITED, WIFSIGNALED, WNOHANG, WNOWAIT, WSTOPPED, WTERMSIG, waitid,
    waitpid)

from spank_qrmi.plugin.byte_buffer cimport ByteBuffer, append_bytes, free_bytes
from spank_qrmi.plugin.descriptors cimport (
    close_both, is_readable, monotonic_milliseconds, out_of_standard)
from spank_qrmi.plugin.worker_server cimport (
    WORKER_ENDED, WORKER_RUNS, WORKER_UNKNOWN, WorkerState, kill_served, served_worker,
    wait_for_served)
from spank_qrmi.plugin.job cimport JOB_OVER, JOB_UNKNOWN, JobState
from spank_qrmi.plugin.message cimport (
    MAX_MESSAGE_BYTES, Answer, log_record_f, mask_controls, read_available)
from unix cimport (
    AF_UNIX, MSG_DONTWAIT, MSG_NOSIGNAL, O_CLOEXEC, POLLIN, POLLOUT, POSIX_SPAWN_SETSID,
    POSIX_SPAWN_SETSIGDEF, POSIX_SPAWN_SETSIGMASK, SHUT_WR, SIGBUS, SOCK_CLOEXEC, SOCK_STREAM, Dl_info,
    dladdr, explicit_bzero, pipe2, poll, pollfd, posix_spawn, posix_spawn_file_actions_adddup2,
    posix_spawn_file_actions_destroy, posix_spawn_file_actions_init, posix_spawn_file_actions_t,
    posix_spawnattr_destroy, posix_spawnattr_init, posix_spawnattr_setflags,
    posix_spawnattr_setsigdefault, posix_spawnattr_setsigmask, posix_spawnattr_t, realpath, recv,
    send, shutdown, socketpair)

cdef enum:
    PATH_BYTES = 4096
    FAILURE_BYTES = 512
    COMPLAINT_BYTES = 1024
    CHUNK_BYTES = 2048
    MOST_LAST_READS = 128  # More than a pipe holds.
    UNDO_MILLISECONDS = 12000
    EXIT_MILLISECONDS = 2000
    LOOK_MILLISECONDS = 1000
    END_CHECK_NANOSECONDS = 200000  # A script that may start waits for it.
    JOB_CHECK_MILLISECONDS = 3000
    # A silent slurmctld keeps the asker waiting for MessageTimeout or longer.
    SILENCE_CHECK_MILLISECONDS = 30000

ctypedef JobState (*job_state_f)(uint32_t job_id) noexcept nogil

cdef struct Conversation:
    # What a caller fills in: the log sink, and how to ask whether waiting still makes sense
    # (NULL: it always does).
    log_record_f log
    job_state_f job_state
    uint32_t job_id
    long long timeout_milliseconds
    # What comes back: why there is no answer, the end of what the worker wrote to stderr, and
    # whether the job was over before there was an answer, or another killed the worker.
    char failure[FAILURE_BYTES]
    char complaint[COMPLAINT_BYTES]
    bint is_undoing
    bint is_killed
    # In between: `server` is the connection to a worker server that has started the worker, `pid` the
    # process that slurmstepd has.
    bint is_started
    bint is_served
    int server
    pid_t pid
    int socket
    int stderr_pipe
    size_t sent
    size_t complaint_length


cdef inline bint find_interpreter(char *interpreter, Conversation *talk) noexcept nogil:
    """Read the link `spank_qrmi.python` beside the plugin's own file, by whatever link it was loaded.

    The link's text is the path to start: followed by the kernel instead, the interpreter would not
    find its virtual environment.
    """
    cdef char real_file[PATH_BYTES]
    cdef char link[PATH_BYTES]
    cdef Dl_info info
    cdef const char *file
    cdef const char *slash
    cdef ssize_t length
    if dladdr(<const void *>find_interpreter, &info) == 0 or info.dli_fname == NULL:
        snprintf(talk.failure, FAILURE_BYTES, b"cannot tell where the plugin was loaded from")
        return False
    file = realpath(info.dli_fname, real_file)
    if file == NULL:
        file = info.dli_fname  # A plugin that was removed while its job ran; its link may be there.
    slash = strrchr(file, c"/")
    length = 0 if slash == NULL else slash + 1 - file
    snprintf(link, PATH_BYTES, b"%.*sspank_qrmi.python", <int>length, file)
    length = readlink(link, interpreter, PATH_BYTES - 1)
    if length <= 0:
        snprintf(talk.failure, FAILURE_BYTES,
                 b"cannot be found: %.300s should be a link to its Python interpreter (%s)",
                 link, strerror(errno))
        return False
    interpreter[length] = 0
    return True


cdef inline void block_slurm_signals(sigset_t *blocked) noexcept nogil:
    """Block all signals but those of a crash.

    Some process trackers (proctrack/linuxproc) count the worker among the step's tasks, and a step
    that ends is sent SIGTERM just while its exit hook releases.
    """
    sigfillset(blocked)
    sigdelset(blocked, SIGABRT)
    sigdelset(blocked, SIGBUS)
    sigdelset(blocked, SIGFPE)
    sigdelset(blocked, SIGILL)
    sigdelset(blocked, SIGSEGV)


cdef inline int spawn(const char *interpreter, int channel, int stderr_end,
                      pid_t *pid) noexcept nogil:
    """Start the worker with the channel as descriptors 0 and 1; return 0 or an error number."""
    cdef posix_spawn_file_actions_t actions
    cdef posix_spawnattr_t attributes
    cdef sigset_t every
    cdef sigset_t blocked
    cdef char *argv[5]
    cdef char *environment[3]
    cdef int error
    argv[0] = <char *>interpreter
    argv[1] = <char *>b"-I"
    argv[2] = <char *>b"-m"
    argv[3] = <char *>b"spank_qrmi.worker"
    argv[4] = NULL
    environment[0] = <char *>b"PATH=/usr/bin:/bin"
    environment[1] = <char *>b"LC_ALL=C.UTF-8"
    environment[2] = NULL
    sigfillset(&every)
    block_slurm_signals(&blocked)
    posix_spawn_file_actions_init(&actions)
    posix_spawnattr_init(&attributes)
    posix_spawnattr_setsigmask(&attributes, &blocked)
    posix_spawnattr_setsigdefault(&attributes, &every)
    posix_spawnattr_setflags(
        &attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID)
    error = posix_spawn_file_actions_adddup2(&actions, channel, 0)
    if error == 0:
        error = posix_spawn_file_actions_adddup2(&actions, channel, 1)
    if error == 0:
        error = posix_spawn_file_actions_adddup2(&actions, stderr_end, 2)
    if error == 0:
        error = posix_spawn(pid, interpreter, &actions, &attributes, argv, environment)
    posix_spawnattr_destroy(&attributes)
    posix_spawn_file_actions_destroy(&actions)
    return error


cdef inline int open_ends(int *channel, int *stderr_pair) noexcept nogil:
    """Open a socket and a pipe between the plugin, which has their first ends, and its worker.

    Return 0 or an error number.
    """
    cdef int i
    cdef int error = 0
    channel[0] = channel[1] = stderr_pair[0] = stderr_pair[1] = -1
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, channel) != 0
            or pipe2(stderr_pair, O_CLOEXEC) != 0):
        error = errno
    for i in range(2):
        if error == 0:
            channel[i] = out_of_standard(channel[i])
            stderr_pair[i] = out_of_standard(stderr_pair[i])
            if channel[i] < 0 or stderr_pair[i] < 0:
                error = errno
    return error


cdef inline void keep_ends(Conversation *talk, int *channel, int *stderr_pair) noexcept nogil:
    """Take the plugin's ends of a worker that was started, and close the worker's."""
    close(channel[1])
    close(stderr_pair[1])
    talk.socket = channel[0]
    talk.stderr_pipe = stderr_pair[0]
    talk.is_started = True


cdef inline bint start_served_worker(Conversation *talk, const char *path) noexcept nogil:
    """Have the worker server start a worker; `failure` says why where that is not possible."""
    cdef char interpreter[PATH_BYTES]
    cdef int channel[2]
    cdef int stderr_pair[2]
    cdef const char *problem = NULL
    cdef int error
    if not find_interpreter(interpreter, talk):
        return False
    error = open_ends(channel, stderr_pair)
    if error != 0:
        problem = strerror(error)
    else:
        talk.server = served_worker(path, interpreter, channel[1], stderr_pair[1], &problem)
    if problem != NULL:
        close_both(channel)
        close_both(stderr_pair)
        snprintf(talk.failure, FAILURE_BYTES, b"%s", problem)
        return False
    talk.is_served = True
    keep_ends(talk, channel, stderr_pair)
    return True


cdef inline void explain_no_start(Conversation *talk, const char *interpreter,
                                  int error) noexcept nogil:
    """An environment's interpreter is a link: what it leads to may be what is missing."""
    cdef char missing[PATH_BYTES]
    missing[0] = 0
    if (error == ENOENT and realpath(interpreter, missing) == NULL and missing[0] != 0
            and strcmp(missing, interpreter) != 0):
        snprintf(talk.failure, FAILURE_BYTES,
                 b"cannot be started: %.150s leads to %.150s, which is missing: install that Python "
                 b"again, or the plugin with another one", interpreter, missing)
    else:
        snprintf(talk.failure, FAILURE_BYTES, b"cannot be started: %.300s: %s", interpreter,
                 strerror(error))


cdef inline void start_worker(Conversation *talk) noexcept nogil:
    """Start a worker; `failure` says why where that is not possible."""
    cdef char interpreter[PATH_BYTES]
    cdef int channel[2]
    cdef int stderr_pair[2]
    cdef int error
    if not find_interpreter(interpreter, talk):
        return
    error = open_ends(channel, stderr_pair)
    if error == 0:
        error = spawn(interpreter, channel[1], stderr_pair[1], &talk.pid)
    if error != 0:
        close_both(channel)
        close_both(stderr_pair)
        explain_no_start(talk, interpreter, error)
        return
    keep_ends(talk, channel, stderr_pair)


cdef inline void keep_complaint(Conversation *talk) noexcept nogil:
    """Read what the worker wrote to stderr and keep the end of it, where the reason stands."""
    cdef char chunk[COMPLAINT_BYTES - 1]
    cdef size_t surplus
    cdef ssize_t count = read(talk.stderr_pipe, chunk, sizeof(chunk))
    if count < 0 and errno == EINTR:
        return
    if count <= 0:
        close(talk.stderr_pipe)
        talk.stderr_pipe = -1
        return
    if talk.complaint_length + count >= COMPLAINT_BYTES:
        surplus = talk.complaint_length + count + 1 - COMPLAINT_BYTES
        talk.complaint_length -= surplus
        memmove(talk.complaint, talk.complaint + surplus, talk.complaint_length)
    memcpy(talk.complaint + talk.complaint_length, chunk, count)
    talk.complaint_length += count
    talk.complaint[talk.complaint_length] = 0


cdef inline bint send_request(Conversation *talk, const ByteBuffer *request) noexcept nogil:
    """Send what the socket takes now; return False once the worker no longer listens."""
    cdef ssize_t count = send(talk.socket, request.bytes + talk.sent, request.length - talk.sent,
                              MSG_DONTWAIT | MSG_NOSIGNAL)
    if count >= 0:
        talk.sent += count
        return True
    return errno == EAGAIN or errno == EINTR


cdef inline int receive(Conversation *talk, ByteBuffer *received) noexcept nogil:
    """Receive what is there: 1 to go on, 0 at the end of the stream, -1 past the limit."""
    cdef char chunk[CHUNK_BYTES]
    cdef bint is_taken
    cdef ssize_t count = recv(talk.socket, chunk, sizeof(chunk), MSG_DONTWAIT)
    if count > 0:
        is_taken = append_bytes(received, chunk, count, MAX_MESSAGE_BYTES)
        explicit_bzero(chunk, count)
        return 1 if is_taken else -1
    if count < 0 and (errno == EAGAIN or errno == EINTR):
        return 1
    return 0


cdef inline WorkerState wait_for_end(pid_t pid, long long milliseconds) noexcept nogil:
    """Wait for the worker to end, without reaping it, and say what is known then."""
    cdef long long deadline = monotonic_milliseconds() + milliseconds
    cdef siginfo_t information
    cdef timespec nap
    nap.tv_sec = 0
    nap.tv_nsec = END_CHECK_NANOSECONDS
    while True:
        information.si_pid = 0
        if (waitid(P_PID, pid, &information, WEXITED | WNOHANG | WNOWAIT) != 0
                and errno != EINTR):
            return WORKER_UNKNOWN
        if information.si_pid == pid:
            return WORKER_ENDED
        if monotonic_milliseconds() >= deadline:
            return WORKER_RUNS
        nanosleep(&nap, NULL)


cdef inline void kill_worker(const Conversation *talk) noexcept nogil:
    """End it and all that it has started; it is not reaped yet, so the number is still its own."""
    if talk.is_served:
        kill_served(talk.server)
    else:
        kill(-talk.pid, SIGKILL)


cdef inline void reap_child(pid_t pid, int *status) noexcept nogil:
    """Its process group is ended before it is reaped: until then the number cannot be another's."""
    if wait_for_end(pid, EXIT_MILLISECONDS) != WORKER_UNKNOWN:
        kill(-pid, SIGKILL)
        if wait_for_end(pid, EXIT_MILLISECONDS) == WORKER_ENDED:
            waitpid(pid, status, WNOHANG)


cdef inline void leave_to_server(int server, int *status) noexcept nogil:
    if wait_for_served(server, EXIT_MILLISECONDS, status) == WORKER_RUNS:
        kill_served(server)
        wait_for_served(server, EXIT_MILLISECONDS, status)
    close(server)


cdef inline void end_worker(Conversation *talk, bint has_answered, int *status) noexcept nogil:
    """Leave nothing behind: neither the worker nor anything that it may have started.

    The job need not wait for the end of a server's worker that has nothing more to do.
    """
    close(talk.socket)
    if talk.is_served and has_answered:
        close(talk.server)
    elif talk.is_served:
        leave_to_server(talk.server, status)
    else:
        reap_child(talk.pid, status)
    for _ in range(MOST_LAST_READS):
        if talk.stderr_pipe < 0 or not is_readable(talk.stderr_pipe, 0):
            break
        keep_complaint(talk)
    if talk.stderr_pipe >= 0:
        close(talk.stderr_pipe)


cdef inline void explain_end(Conversation *talk, int status) noexcept nogil:
    if WIFSIGNALED(status):
        talk.is_killed = WTERMSIG(status) == SIGKILL
        snprintf(talk.failure, FAILURE_BYTES, b"was ended by signal %d before it had answered",
                 WTERMSIG(status))
    elif WIFEXITED(status) and WEXITSTATUS(status) != 0:
        snprintf(talk.failure, FAILURE_BYTES, b"ended with status %d before it had answered",
                 WEXITSTATUS(status))
    else:
        snprintf(talk.failure, FAILURE_BYTES, b"ended before it had answered")


cdef inline long long check_job(Conversation *talk) noexcept nogil:
    """Ask for the job's state, begin the undo if it is over, and return when to ask again."""
    cdef JobState state = talk.job_state(talk.job_id)
    if state == JOB_OVER:
        talk.is_undoing = True
        shutdown(talk.socket, SHUT_WR)
    return monotonic_milliseconds() + (
        SILENCE_CHECK_MILLISECONDS if state == JOB_UNKNOWN else JOB_CHECK_MILLISECONDS)


cdef inline void keep_running(pid_t pid) noexcept nogil:
    """Continue a child that was stopped with its job's tasks: it may be closing a session.

    Its network process is stopped with it.
    """
    cdef siginfo_t information
    information.si_pid = 0
    if (waitid(P_PID, pid, &information, WSTOPPED | WNOHANG | WNOWAIT) == 0
            and information.si_pid == pid):
        kill(-pid, SIGCONT)


cdef inline bint converse(Conversation *talk, const ByteBuffer *request,
                          Answer *answer) noexcept nogil:
    """Send the request and read the answer until it is whole or there will be none.

    A job that is over makes the plugin close its side of the socket, the request to undo.
    """
    cdef pollfd waiting[2]
    cdef ByteBuffer received
    cdef ByteBuffer line
    cdef size_t position = 0
    cdef long long now = monotonic_milliseconds()
    cdef long long deadline = now + talk.timeout_milliseconds
    cdef long long next_check = now + JOB_CHECK_MILLISECONDS
    cdef long long next_look = now + LOOK_MILLISECONDS
    cdef bint is_open = True
    cdef int state
    received.bytes = line.bytes = NULL
    received.length = received.capacity = line.length = line.capacity = 0
    while is_open and not answer.is_complete:
        now = monotonic_milliseconds()
        if now >= deadline:
            snprintf(talk.failure, FAILURE_BYTES, b"did not answer in time")
            break
        # By the clock: a worker that always has something to say must not keep us from it.
        if now >= next_look:
            if not talk.is_served:
                keep_running(talk.pid)
            next_look = now + LOOK_MILLISECONDS
        if not talk.is_undoing and talk.job_state != NULL and now >= next_check:
            next_check = check_job(talk)
            if talk.is_undoing:
                deadline = monotonic_milliseconds() + UNDO_MILLISECONDS
                talk.sent = request.length
        waiting[0].fd = talk.socket
        waiting[0].events = POLLIN | (POLLOUT if talk.sent < request.length else 0)
        waiting[1].fd = talk.stderr_pipe
        waiting[1].events = POLLIN
        waiting[0].revents = waiting[1].revents = 0
        if poll(waiting, 2, <int>min(deadline - now, LOOK_MILLISECONDS)) <= 0:
            continue
        if waiting[1].revents != 0:
            keep_complaint(talk)
        if waiting[0].revents & POLLOUT and not send_request(talk, request):
            talk.sent = request.length
        if waiting[0].revents & ~POLLOUT:
            state = receive(talk, &received)
            is_open = state == 1
            if state < 0 or not read_available(&received, &position, answer, &line, talk.log):
                snprintf(talk.failure, FAILURE_BYTES, b"gave an answer that cannot be read")
                is_open = False
                answer.is_complete = False
    free_bytes(&received)
    free_bytes(&line)
    return answer.is_complete


cdef inline bint ask_worker(Conversation *talk, const ByteBuffer *request,
                            Answer *answer) noexcept nogil:
    """Put one request to the worker and take its answer; `failure` says why there is none.

    Afterwards the worker is gone, or about to end, and nothing of it is open.
    """
    cdef int status = 0
    if not converse(talk, request, answer) and talk.failure[0] != 0:
        kill_worker(talk)
    end_worker(talk, answer.is_complete, &status)
    if not answer.is_complete and talk.failure[0] == 0:
        explain_end(talk, status)
    mask_controls(talk.complaint, talk.complaint_length)
    return answer.is_complete


cdef inline void give_up(Conversation *talk) noexcept nogil:
    """End a worker that cannot be asked."""
    cdef int status = 0
    kill_worker(talk)
    end_worker(talk, False, &status)
    talk.is_started = False
