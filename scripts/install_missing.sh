#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# `make deps`: installs those of the Debian packages named that are wanted and not there, after it
# has said which, and what for.
#
#   PYTHON=/usr/bin/python3 SLURM_INCLUDE_DIRS=DIR sh scripts/install_missing.sh PACKAGE…
#
# What counts is not the package but what it is wanted for, whoever has put that there. No package
# is removed for it. Where any Slurm is, none of its packages is asked for: another one could take
# its place, or start daemons beside it.
set -u
export LC_ALL=C
CC=${CC:-gcc}
PYTHON=${PYTHON:-/usr/bin/python3}
SLURM_INCLUDE_DIRS=${SLURM_INCLUDE_DIRS:-}
# Where headers are, also for a compiler that is not there yet, and where Slurm may be though the PATH
# does not say so. Tests have folders of their own.
HEADER_FOLDERS=${HEADER_FOLDERS-"/usr/include /usr/local/include"}
SLURM_FOLDERS=${SLURM_FOLDERS-"/usr/sbin /usr/bin /usr/local/sbin /usr/local/bin
    /opt/slurm*/sbin /opt/slurm*/bin /opt/slurm*/*/sbin /usr/local/slurm*/sbin"}

has() { command -v "$1" >/dev/null 2>&1; }

has_header() {
    for folder in $(echo "$SLURM_INCLUDE_DIRS" | tr : ' ') $HEADER_FOLDERS; do
        if [ -e "$folder/$1" ]; then return 0; fi
    done
    has "$CC" && echo "#include <$1>" | "$CC" -E $2 - >/dev/null 2>&1
}

python_headers() {
    "$PYTHON" -c 'import sysconfig; print("-I" + sysconfig.get_path("include"))' 2>/dev/null
}

# What the package is wanted for, as words for the one who reads it.
purpose_of() {
    case $1 in
    gcc) echo 'compiles the plugins' ;;
    libc6-dev) echo "headers of the C library, for the plugins" ;;
    libslurm-dev) echo "Slurm's headers (slurm/spank.h), for the plugins" ;;
    python3-dev) echo "Python's headers (Python.h), for the plugins" ;;
    python3-venv) echo "Python's modules venv and ensurepip, for the environment" ;;
    slurm-wlm) echo 'slurmctld, slurmd and sbatch, for a cluster on loopback' ;;
    slurmdbd) echo "Slurm's accounting, for the tests that look into it" ;;
    munge) echo 'munged, for a cluster on loopback' ;;
    mariadb-server-core | mariadb-client-core) echo 'the database of slurmdbd, for the tests' ;;
    valgrind) echo 'runs the plugins in the tests' ;;
    rpm) echo 'rpmbuild, for the rpm' ;;
    debootstrap) echo 'makes the clean root of the tests' ;;
    clang | libclang-rt-dev) echo 'compiles the plugins for fuzzing' ;;
    *) echo 'wanted here' ;;
    esac
}

is_there() {
    case $1 in
    gcc) has "$CC" ;;
    libc6-dev) has_header stdlib.h '' ;;
    libslurm-dev) has_header slurm/spank.h '' ;;
    python3-dev) has_header Python.h "$(python_headers)" ;;
    python3-venv) "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null ;;
    slurm-wlm) has slurmctld && has slurmd && has sbatch ;;
    slurmdbd) has slurmdbd ;;
    munge) has munged ;;
    mariadb-server-core) has mariadbd && has mariadb-install-db ;;
    mariadb-client-core) has mariadb ;;
    rpm) has rpmbuild ;;
    valgrind | debootstrap | clang) has "$1" ;;
    *) dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null | grep -qx installed ;;
    esac
}

# Print where something of a Slurm is, of whatever packaging.
slurm_here() {
    for program in slurmctld slurmd slurmstepd slurmdbd scontrol sbatch srun munged; do
        command -v "$program" && return
        for folder in $SLURM_FOLDERS; do
            if [ -x "$folder/$program" ]; then
                echo "$folder/$program"
                return
            fi
        done
    done
}

missing='' of_slurm=''
for package; do
    if ! is_there "$package"; then
        case $package in
        libslurm-dev | slurm-wlm | slurmdbd | munge) of_slurm="$of_slurm $package" ;;
        esac
        missing="$missing $package"
    fi
done
if [ -z "$missing" ]; then exit 0; fi

say_wanted() {
    for package; do echo "  $package: $(purpose_of "$package")"; done
}

slurm=$(slurm_here)
if [ -n "$of_slurm" ] && [ -n "$slurm" ]; then
    {
        echo "error: Slurm is here already ($slurm), so no package of Slurm is installed; wanted:"
        say_wanted $of_slurm
        echo 'Install it from where this Slurm comes from, or put it on the PATH; headers elsewhere'
        echo 'are named by SLURM_INCLUDE_DIRS=DIR, the folder that holds slurm/spank.h.'
        echo "If this Slurm is Debian's or Ubuntu's own: apt-get install --no-remove$of_slurm"
    } >&2
    exit 1
fi
if ! has apt-get; then
    echo 'error: wanted here, by the names of Debian; install it as this system does:' >&2
    say_wanted $missing >&2
    exit 1
fi

# What apt-get writes goes to a log, kept where it fails. Not in build/: only root runs this, and others
# may build here afterwards.
apt() {
    if [ -n "${VERBOSE:-}" ]; then
        apt-get "$@"
        return
    fi
    log=$(mktemp -t spank-qrmi-apt-XXXXXX) || return 1
    if apt-get "$@" >"$log" 2>&1; then
        rm "$log"
        return
    fi
    tail -n 20 "$log" >&2
    echo "error: apt-get failed; all of it is in $log" >&2
    return 1
}

echo 'installing with apt-get, which is to remove nothing:'
say_wanted $missing
if [ "$(id -u)" != 0 ]; then
    echo "error: only root can: apt-get install --no-remove$missing" >&2
    exit 1
fi
export DEBIAN_FRONTEND=noninteractive
options='-qq -y --no-install-recommends --no-remove'
echo 'reading the lists of packages'
apt update -qq || exit 1
plan=$(apt-get -s $options install $missing) || {
    echo 'error: apt-get cannot install them without removing others: nothing was changed' >&2
    exit 1
}
# A package that is there and gets another version: "Inst NAME [OLD] (NEW …".
changed=$(echo "$plan" | sed -n 's/^Inst \([^ ]*\) \[.*/\1/p' | tr '\n' ' ')
case " $changed" in
*' slurm'* | *' libslurm'* | *' munge'* | *' libmunge'*)
    echo "error: apt-get would put another version in place of $changed: nothing was changed" >&2
    exit 1
    ;;
esac
if [ -n "$changed" ]; then echo "  put in newer versions for it: $changed"; fi
echo "fetching and installing, with what they depend on (packages: $(echo "$plan" | grep -c "^Inst "))"
apt $options install $missing
