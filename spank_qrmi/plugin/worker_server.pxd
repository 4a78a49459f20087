# SPDX-License-Identifier: GPL-3.0-or-later
# The worker server as the plugin sees it (spank_qrmi/worker/server.py): it is handed the ends that a worker needs,
# tells that one runs, ends it when it is told to, and tells how it ended.

from libc.errno cimport EACCES, ENAMETOOLONG, errno
from libc.string cimport memcpy, memset, strerror, strlen
from posix.unistd cimport close, geteuid

from spank_qrmi.plugin.descriptors cimport is_readable, out_of_standard
from unix cimport (
    AF_UNIX, CMSG_DATA, CMSG_FIRSTHDR, CMSG_LEN, CMSG_SPACE, MSG_DONTWAIT, MSG_NOSIGNAL, SCM_RIGHTS,
    SO_PEERCRED, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_SEQPACKET, SOL_SOCKET, cmsghdr, connect, getsockopt,
    iovec, msghdr, recv, send, sendmsg, sockaddr, sockaddr_un, socket, socklen_t, ucred)

cdef extern from *:
    """
    #define ORDER_START 'S'
    #define ORDER_KILL 'K'
    #define REPORT_STARTED 'R'
    """
    const char ORDER_START
    const char ORDER_KILL
    const char REPORT_STARTED

cdef enum:
    PASSED_COUNT = 2
    # systemd may have to start the server first. Where hundreds of jobs begin at once it has little of the
    # processors: workers that were started besides would leave it less.
    START_MILLISECONDS = 5000

cdef enum WorkerState:
    WORKER_RUNS
    WORKER_ENDED
    WORKER_UNKNOWN  # Nobody can tell any more, nor end it.


cdef inline int connect_to(const char *path) noexcept nogil:
    """Connect to the server; return -1 and set errno where there is none of this process's user."""
    cdef sockaddr_un address
    cdef ucred peer
    cdef socklen_t length = sizeof(peer)
    cdef int server
    memset(&address, 0, sizeof(address))
    address.sun_family = AF_UNIX
    if strlen(path) >= sizeof(address.sun_path):
        (&errno)[0] = ENAMETOOLONG
        return -1
    memcpy(address.sun_path, path, strlen(path))
    server = out_of_standard(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0))
    if server < 0:
        return -1
    if (connect(server, <const sockaddr *>&address, sizeof(address)) == 0
            and getsockopt(server, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0):
        if peer.uid == geteuid():
            return server
        (&errno)[0] = EACCES
    close_quietly(server)
    return -1


cdef inline void close_quietly(int descriptor) noexcept nogil:
    """Close it and leave errno as it was."""
    cdef int error = errno
    close(descriptor)
    (&errno)[0] = error


cdef inline bint hand_over(int server, const char *interpreter, int channel,
                           int stderr_end) noexcept nogil:
    cdef char order = ORDER_START
    cdef int[PASSED_COUNT] passed = [channel, stderr_end]
    cdef size_t[8] room  # Aligned as the header must be.
    cdef iovec[2] content
    cdef msghdr message
    cdef cmsghdr *header
    memset(&message, 0, sizeof(message))
    memset(room, 0, sizeof(room))
    content[0].iov_base = &order
    content[0].iov_len = 1
    content[1].iov_base = <void *>interpreter
    content[1].iov_len = strlen(interpreter)
    message.msg_iov = content
    message.msg_iovlen = 2
    message.msg_control = room
    message.msg_controllen = CMSG_SPACE(sizeof(passed))
    header = CMSG_FIRSTHDR(&message)
    header.cmsg_level = SOL_SOCKET
    header.cmsg_type = SCM_RIGHTS
    header.cmsg_len = CMSG_LEN(sizeof(passed))
    memcpy(CMSG_DATA(header), passed, sizeof(passed))
    return sendmsg(server, &message, MSG_NOSIGNAL) > 0


cdef inline int served_worker(const char *path, const char *interpreter, int channel,
                              int stderr_end, const char **problem) noexcept nogil:
    """Have the server start a worker with these ends; return the connection that stands for it.

    -1 where there is none, with the reason in `problem`. A server that runs in another environment
    than that of `interpreter` starts none.
    """
    cdef char report = 0
    cdef int server = connect_to(path)
    if server < 0 or not hand_over(server, interpreter, channel, stderr_end):
        problem[0] = strerror(errno)
    elif not is_readable(server, START_MILLISECONDS):
        problem[0] = b"it does not answer"
    elif recv(server, &report, 1, MSG_DONTWAIT) != 1 or report != REPORT_STARTED:
        problem[0] = b"it cannot start a worker"
    else:
        return server
    if server >= 0:
        close(server)
    return -1


cdef inline void kill_served(int server) noexcept nogil:
    cdef char order = ORDER_KILL
    send(server, &order, 1, MSG_DONTWAIT | MSG_NOSIGNAL)


cdef inline WorkerState wait_for_served(int server, long long milliseconds, int *status) noexcept nogil:
    """Wait so long for the worker to end; `status` is that of waitpid."""
    cdef int told = 0
    if not is_readable(server, milliseconds):
        return WORKER_RUNS
    if recv(server, &told, sizeof(told), MSG_DONTWAIT) != sizeof(told):
        return WORKER_UNKNOWN
    status[0] = told
    return WORKER_ENDED
