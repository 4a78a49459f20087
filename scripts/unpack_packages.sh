#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Unpacks Debian packages below a folder, which is made anew, instead of installing them: none of
# their servers is started, and nothing of the machine is changed but apt's lists if they are missing.
#
#   sh scripts/unpack_packages.sh FOLDER PACKAGE…
set -u
export LC_ALL=C
folder=$1
shift
if ! command -v apt-get >/dev/null; then
    echo "error: wanted on the PATH, by the names of Debian: $*" >&2
    exit 1
fi
rm -rf "$folder" && mkdir -p "$folder/new" && cd "$folder/new" || exit 1
# Whoever runs this may be root, whose folder apt's own user cannot write.
download() { apt-get -qq -o APT::Sandbox::User=root download "$@"; }
if ! download "$@" 2>/dev/null; then
    if [ "$(id -u)" != 0 ]; then
        echo "error: apt-get finds no $*; only root can: apt-get update" >&2
        exit 1
    fi
    apt-get -qq update >/dev/null && download "$@" || exit 1
fi
for package in *.deb; do
    dpkg-deb --extract "$package" .. || exit 1
done
cd .. && rm -r new
