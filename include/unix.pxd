# SPDX-License-Identifier: GPL-3.0-or-later
# POSIX and glibc calls that Cython's own libc and posix declarations leave out.

from posix.signal cimport sigset_t
from posix.types cimport pid_t, uid_t

cdef extern from "<poll.h>" nogil:
    struct pollfd:
        int fd
        short events
        short revents
    enum:
        POLLIN
        POLLOUT
    int poll(pollfd *descriptors, unsigned long count, int timeout_milliseconds)

cdef extern from "<signal.h>" nogil:
    enum:
        SIGBUS

cdef extern from "<sys/socket.h>" nogil:
    enum:
        AF_UNIX
        SOCK_STREAM
        SOCK_DGRAM
        SOCK_CLOEXEC
        MSG_DONTWAIT
        MSG_NOSIGNAL
        SHUT_WR
        SOCK_NONBLOCK
        SOCK_SEQPACKET
        SOL_SOCKET
        SCM_RIGHTS
        SO_PEERCRED
    ctypedef unsigned int socklen_t
    struct sockaddr:
        pass
    struct iovec:
        void *iov_base
        size_t iov_len
    struct msghdr:
        iovec *msg_iov
        size_t msg_iovlen
        void *msg_control
        size_t msg_controllen
    struct cmsghdr:
        size_t cmsg_len
        int cmsg_level
        int cmsg_type
    struct ucred:
        pid_t pid
        uid_t uid
    size_t CMSG_LEN(size_t length)
    size_t CMSG_SPACE(size_t length)
    cmsghdr *CMSG_FIRSTHDR(msghdr *message)
    unsigned char *CMSG_DATA(cmsghdr *header)
    int socket(int domain, int kind, int protocol)
    int bind(int descriptor, const sockaddr *address, socklen_t length)
    int connect(int descriptor, const sockaddr *address, socklen_t length)
    int getsockopt(int descriptor, int level, int name, void *value, socklen_t *length)
    ssize_t sendmsg(int descriptor, const msghdr *message, int flags)
    int socketpair(int domain, int kind, int protocol, int *descriptors)
    ssize_t send(int descriptor, const void *data, size_t length, int flags)
    int shutdown(int descriptor, int how)
    ssize_t recv(int descriptor, void *data, size_t length, int flags)

cdef extern from "<sys/un.h>" nogil:
    struct sockaddr_un:
        unsigned short sun_family
        char sun_path[108]

cdef extern from "<errno.h>" nogil:
    char *program_invocation_short_name

cdef extern from "<fcntl.h>" nogil:
    enum:
        F_DUPFD_CLOEXEC
        O_CLOEXEC
        O_NOFOLLOW
        O_NONBLOCK
    int fcntl(int descriptor, int command, ...)

cdef extern from "<unistd.h>" nogil:
    int pipe2(int *descriptors, int flags)
    void _exit(int status)

cdef extern from "<stdlib.h>" nogil:
    char *realpath(const char *path, char *resolved)

cdef extern from "<string.h>" nogil:
    const char *strcasestr(const char *text, const char *part)
    void explicit_bzero(void *bytes, size_t count)

cdef extern from "<malloc.h>" nogil:
    int malloc_trim(size_t left_over)

cdef extern from "<sys/random.h>" nogil:
    ssize_t getrandom(void *bytes, size_t count, unsigned int flags)

cdef extern from "<spawn.h>" nogil:
    ctypedef struct posix_spawn_file_actions_t:
        pass
    ctypedef struct posix_spawnattr_t:
        pass
    enum:
        POSIX_SPAWN_SETSIGMASK
        POSIX_SPAWN_SETSIGDEF
        POSIX_SPAWN_SETSID
    int posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
                    const posix_spawnattr_t *attributes, char **argv, char **environment)
    int posix_spawn_file_actions_init(posix_spawn_file_actions_t *actions)
    int posix_spawn_file_actions_destroy(posix_spawn_file_actions_t *actions)
    int posix_spawn_file_actions_adddup2(posix_spawn_file_actions_t *actions, int old, int new)
    int posix_spawnattr_init(posix_spawnattr_t *attributes)
    int posix_spawnattr_destroy(posix_spawnattr_t *attributes)
    int posix_spawnattr_setflags(posix_spawnattr_t *attributes, short flags)
    int posix_spawnattr_setsigmask(posix_spawnattr_t *attributes, const sigset_t *mask)
    int posix_spawnattr_setsigdefault(posix_spawnattr_t *attributes, const sigset_t *mask)

cdef extern from "<dirent.h>" nogil:
    ctypedef struct DIR:
        pass
    struct dirent:
        char *d_name
    DIR *opendir(const char *path)
    dirent *readdir(DIR *folder)
    int closedir(DIR *folder)

cdef extern from "<dlfcn.h>" nogil:
    ctypedef struct Dl_info:
        const char *dli_fname
    int dladdr(const void *address, Dl_info *info)
