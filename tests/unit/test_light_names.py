# SPDX-License-Identifier: GPL-3.0-or-later
"""What light modules take from below the standard library is what that gives."""

import http
import queue
import signal

from spank_qrmi.light import http_status, queues, signals


def test_statuses_are_those_of_http() -> None:
    ours = {name: value for name, value in vars(http_status.HTTPStatus).items() if name.isupper()}
    assert ours == {name: http.HTTPStatus[name].value for name in ours} != {}


def test_queues_are_those_of_queue() -> None:
    assert {name: getattr(queues, name) for name in queues.__all__} == {
        name: getattr(queue, name) for name in queues.__all__
    }


def test_signals_are_those_of_signal() -> None:
    ours = signals.signal
    for name in ("SIG_SETMASK", *signal.Signals.__members__):
        assert getattr(ours, name) == getattr(signal, name)
    assert ours.valid_signals() == signal.valid_signals()
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    assert ours.pthread_sigmask(ours.SIG_SETMASK, blocked) == blocked
