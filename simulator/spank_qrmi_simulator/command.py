# SPDX-License-Identifier: GPL-3.0-or-later
"""`spank-qrmi simulate`: its options, its two or three lines of output, its signals."""

import argparse
import contextlib
import ipaddress
import logging
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from urllib.parse import urlsplit

from spank_qrmi_simulator import qrmi_config, server
from spank_qrmi_simulator.munge import Unmunge
from spank_qrmi_simulator.object_store import LocalObjectStore, ObjectStore
from spank_qrmi_simulator.site import Site

LARGEST_PORT = 65535
READY = "ready"
"""First word of the line on standard output that says where the site answers from now on."""


class SimulatorError(Exception):
    """The simulated QPU site cannot start."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGINT or SIGTERM, which exit with 0.

    Returns 1 with one line on stderr if there is no socket or file; exits with 2 on misuse.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    if not options.allow_remote and not _is_loopback(options.host):
        parser.error(
            f"--host {options.host!r} is not a loopback address: add --allow-remote if you mean it"
        )
    _check_own_bucket(options, parser)
    # uvicorn raises the signal again once it has stopped, for the handler that was there before.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)
    _log_requests()
    try:
        _serve(options)
    except (SimulatorError, OSError) as error:
        sys.stderr.write(f"{parser.prog}: {error}\n")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="spank-qrmi simulate",
        description="Serve a simulated QPU site over HTTP until SIGINT or SIGTERM.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=_port, default=0, help="port to listen on (0: a free one)")
    parser.add_argument(
        "--allow-remote", action="store_true", help="allow a host that is not loopback"
    )
    parser.add_argument(
        "--noise",
        action="store_true",
        help="run IBM programs with the errors of the machines that the backends are like",
    )
    parser.add_argument(
        "--munge-socket",
        metavar="PATH",
        help="ask the munged at this socket whose credentials Warden is sent, not the usual one",
    )
    parser.add_argument(
        "--write-config",
        type=Path,
        metavar="FILE",
        help="write the qrmi_config.json for this site to FILE instead of printing it",
    )
    own_bucket = parser.add_argument_group(
        "a bucket of your own",
        "Instead of the site's S3 service; AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are taken "
        "from the environment and end up in the FILE of --write-config.",
    )
    own_bucket.add_argument("--s3-endpoint", metavar="URL", help="S3 service, without a path")
    own_bucket.add_argument("--s3-bucket", metavar="NAME")
    own_bucket.add_argument("--s3-region", metavar="NAME", default="us-east-1")
    return parser


def _log_requests() -> None:
    """Write the site's own lines to stderr as they are."""
    handler = logging.StreamHandler(sys.stderr)
    # Other packages' lines are no requests to the site, and httpx's hold presigned URLs.
    logging.basicConfig(handlers=[handler], format="%(message)s")
    logger = logging.getLogger("spank_qrmi_simulator")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    # The command shows what goes wrong in the package, which would be the same once more.
    logger.propagate = False


def _serve(options: argparse.Namespace) -> None:
    try:
        listener, base_url = server.bind(options.host, options.port)
    except OSError as error:
        # socket.create_server goes on with the address, in Python's words.
        reason = str(error.strerror).partition(" (")[0]
        message = f"cannot listen on --host {options.host} --port {options.port}: {reason}"
        raise SimulatorError(message) from error
    with listener, _object_store(options) as store:
        config = qrmi_config.site_config(base_url, store)
        if options.write_config is not None:
            _write_config(options.write_config, config)
        else:
            _say(qrmi_config.config_text(config))
        site = Site(with_noise=options.noise, decode=Unmunge(options.munge_socket))
        site_server = server.SimulatorServer(site, lambda: _say(f"{READY} {base_url}\n"))
        site_server.run(sockets=[listener])


def _check_own_bucket(options: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    if options.s3_endpoint is None and options.s3_bucket is None:
        return
    if options.s3_endpoint is None or options.s3_bucket is None:
        parser.error("--s3-endpoint and --s3-bucket need each other")
    url = urlsplit(options.s3_endpoint)
    if url.scheme not in ("http", "https") or not url.netloc or url.path or url.query:
        parser.error("--s3-endpoint must be http://HOST:PORT or https://HOST, without a path")
    if options.write_config is None:
        parser.error("--s3-endpoint needs --write-config: your S3 key is not for a terminal")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        if not os.environ.get(name):
            parser.error(f"--s3-endpoint needs {name} in the environment")


def _object_store(options: argparse.Namespace) -> AbstractContextManager[ObjectStore]:
    if options.s3_endpoint is None:
        return LocalObjectStore(options.host)
    return contextlib.nullcontext(
        ObjectStore(
            options.s3_endpoint,
            options.s3_bucket,
            options.s3_region,
            os.environ["AWS_ACCESS_KEY_ID"],
            os.environ["AWS_SECRET_ACCESS_KEY"],
        )
    )


def _write_config(path: Path, config: dict[str, object]) -> None:
    try:
        qrmi_config.write_config(path, config)
    except OSError as error:
        message = f"cannot write --write-config {path}: {error.strerror}"
        raise SimulatorError(message) from error


def _port(text: str) -> int:
    is_number = text.isascii() and text.isdecimal() and len(text) <= len(str(LARGEST_PORT))
    if not is_number or int(text) > LARGEST_PORT:
        message = f"{text} is no port number: 0 to {LARGEST_PORT}"
        raise argparse.ArgumentTypeError(message)
    return int(text)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _leave(number: int, frame: object) -> None:
    raise SystemExit(0)


def _say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
