# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of a session's id, for each vendor with sessions: none is lost, shown or made up."""

import httpx
import orjson
import pytest

from spank_qrmi.clients.http import HttpClient
from spank_qrmi.errors import ReleaseError, ServiceError
from tests.unit.fake_services import (
    FakeService,
    RecordingDeadline,
    Reply,
    failure_of,
    reply,
    text_of,
    token_reply,
    unread,
)
from tests.unit.local_network import asking
from tests.unit.outcomes import outcome_of, trying
from tests.unit.vendors import HOLDERS, TOKEN, Vendor, each_of

pytestmark = each_of(HOLDERS)

SESSION = "session-do-not-show"

ODD_IDS = ("", ".", "..", "a/b", "a%2fb", "a b", "a\r\nX: y", "a\n", "x" * 257, "\uff0e\uff0e", "ü")


def opened_by(vendor: Vendor, answer: Reply) -> tuple[ServiceError, int]:
    """Return how a session fails to which this is the answer, and how often it was asked for."""
    opening = list(vendor.acquire)[-1]
    documents = {asked: reply(json=each) for asked, each in vendor.documents.items()}
    service = FakeService({**documents, opening: answer})
    error, _ = failure_of(lambda: vendor.client().acquire(service.exchange()))
    return error, service.asked.count(opening)


def test_session_whose_answer_is_lost_is_told_and_not_asked_for_again(vendor: Vendor) -> None:
    beginning = orjson.dumps(list(vendor.acquire.values())[-1]).removesuffix(b"}")
    for answer, token in (
        (httpx.ReadError("broken"), None),
        (httpx.Response(200, content=beginning), TOKEN),
    ):
        error, times_asked = opened_by(vendor, answer)
        assert times_asked == 1, "the request that opens a session needs is_repeatable=False"
        assert error.may_have_acted
        assert error.token == token, "acquire opens its session within keep_readable_id()"


def test_odd_id_is_neither_taken_nor_sent(vendor: Vendor) -> None:
    for odd in ODD_IDS:
        with trying(odd):
            error, _ = opened_by(vendor, reply(200, {"id": odd}))
            assert (error.may_have_acted, error.token) == (True, None)
            service = FakeService({})
            # What is sent all the same, the service does not know.
            with pytest.raises(ReleaseError, match="no session id") as caught:
                vendor.client().release(service.exchange(), odd)
            text_of(caught.value)
            assert service.requests == []


@pytest.mark.parametrize("status", [400, 403, 500])
def test_id_is_shown_nowhere(vendor: Vendor, status: int, caplog: pytest.LogCaptureFixture) -> None:
    def repeat_url(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("token"):
            return unread(token_reply())
        return unread(reply(status, {"message": f"no {request.url}"}))

    http = HttpClient(RecordingDeadline(), transport=httpx.MockTransport(repeat_url))
    client = asking(vendor.client(), http)
    texts = [str(outcome_of(call, SESSION)) for call in (client.release, client.usage)]
    assert "answered" in texts[0]
    for text in (caplog.text, *texts):
        assert SESSION not in text, "requests about a session need secrets=(its id,)"
