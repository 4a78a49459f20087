# SPDX-License-Identifier: GPL-3.0-or-later
"""However a user spells his variables, what is the site's goes to endpoints that the site named."""

from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spank_qrmi.clients import CLIENTS, keys_alike, other_names
from spank_qrmi.clients.base import Settings
from spank_qrmi.clients.http import HttpClient
from spank_qrmi.clients.tokens import Login
from spank_qrmi.configuration.qrmi_config import Resource
from spank_qrmi.deadline import Deadline
from spank_qrmi.errors import QrmiError
from spank_qrmi.job.acquirer import Acquirer
from spank_qrmi.job.environment import collect_variables
from spank_qrmi.job.releaser import Releaser
from spank_qrmi.network import process
from spank_qrmi.network.worker_side import Network
from spank_qrmi.protocol import Request, Verb
from spank_qrmi.redaction import is_told_by
from spank_qrmi.state.journal import Entry, Journal
from spank_qrmi.state.token_cache import TokenCache
from spank_qrmi.trust import munge
from spank_qrmi.trust.worker_user import DEFAULT_WORKER_USER
from tests.unit.fake_services import begin_to_send, reply, token_reply, unread
from tests.unit.munge_credentials import write_munge
from tests.unit.network.test_worker_side import PATIENCE_SECONDS, real, served
from tests.unit.outcomes import trying
from tests.unit.vendors import VENDORS, Vendor

BEARER = "bearer-of-the-site"
EVIL = "https://evil.test/api"
IAM_PATH = "/identity/token"

Block = Mapping[str, str]
"""What a user exports."""


def basic_key(password: str) -> str:
    """Return what Basic authentication takes, and any other service as well."""
    return b64encode(f"user:{password}".encode()).decode()


MINE = basic_key("mine-and-nobody-else's")


def spellings(text: str) -> set[str]:
    """Return in how many ways a user may write what an administrator has configured."""
    blanks = (" ", "\t", "\n", "\r\n", "\x0b", "\x85", "\u00a0", "\u2003")
    encoded = quote(text, safe="")
    return {
        *(text, "", text.upper(), text.swapcase(), f"{text}/", f"{text}//", f"/{text}"),
        *(f"{text}{blank}" for blank in blanks),
        *(f"{blank}{text}" for blank in blanks),
        *(f'"{text}"', f"'{text}'", f' "{text}" ', f"{MINE}{text}"),
        *(encoded, quote(encoded, safe=""), "".join(f"%{byte:02X}" for byte in text.encode())),
        *(f"%{ord(text[0]):02x}{text[1:]}", f"\\u{ord(text[0]):04x}{text[1:]}"),
        *(text.replace(".test", ".test:443"), text.replace(".test", ".test.")),
        *(text.replace("site.test", "SITE.test"), text.replace("https:", "HTTPS:")),
    }


class Everybody(httpx.BaseTransport):
    """All services of the world: the site's, where all is well, and others, which refuse all.

    `leaks` are the URLs of those others that were sent what is the site's.
    """

    def __init__(self, vendor: Vendor) -> None:
        self._answer = vendor.any_answer
        self.secrets: set[str] = set()
        self.leaks: list[str] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        begin_to_send(request)
        url, body = request.url, request.read().decode()
        is_sites = url.host in {"iam.site.test", "api.site.test"} and url.port in {None, 443}
        if not (is_sites and url.scheme == "https"):
            sent = [str(url), body, *(value for _, value in request.headers.multi_items())]
            if any(is_told_by(text, self.secrets) for text in sent):
                self.leaks.append(str(url))
        if url.path.endswith(IAM_PATH):
            is_known = any(is_told_by(body, {secret}) for secret in self.secrets)
            return unread(token_reply(BEARER if is_known else "bearer-of-the-user"))
        return unread(reply(200 if is_sites else 401, self._answer))


@dataclass
class Site:
    """A node with one resource of a type, and one of the same type that users bring all for."""

    vendor: Vendor
    folder: Path
    network: Network
    everybody: Everybody
    values: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for key, credentials in self.vendor.sent_to.items():
            host = "iam" if "IAM" in key else "api"
            self.values[key] = f"https://{host}.site.test/base"
            # With a session of the site's nothing would be opened, nor released.
            for each in credentials:
                if not each.endswith(("SESSION_ID", "ACQUISITION_TOKEN")):
                    self.values[each] = basic_key(f"secret-of-the-site-{len(each):03}")
        for key in self.vendor.program_keys:
            self.values[key] = f"program-key-of-the-site-{len(key)}"
        self.everybody.secrets = {BEARER, *self.resource.secrets()}
        if self.login is not None:
            self.cache.store(TokenCache.key_of(self.login), BEARER, 3600)

    @property
    def resource(self) -> Resource:
        return self.resource_with("a", self.values)

    def resource_with(self, name: str, values: Mapping[str, str]) -> Resource:
        also_as = tuple(other_names(self.vendor.type_name))
        return Resource(name, self.vendor.type_name, values, also_as=also_as)

    @property
    def keys(self) -> list[str]:
        alike = keys_alike(self.vendor.type_name, self.resource.also_as)
        return [*self.values, *alike, "QRMI_JOB_ACQUISITION_TOKEN"]

    @property
    def login(self) -> Login | None:
        return CLIENTS[self.vendor.type_name](Settings("a", self.values)).login

    @property
    def cache(self) -> TokenCache:
        return TokenCache(self.folder)

    def cached(self) -> dict[str, str]:
        """Return the first line of each token of the node, by its login."""
        return {
            path.name: path.read_text().split("\n")[3]
            for path in self.folder.joinpath("tokens").glob("*")
        }

    def run_job(self, exported: Block) -> list[object]:
        """Acquire and release as the job of a user; return what became of both resources."""
        journal = Journal(self.folder)
        request = Request(Verb.ACQUIRE, 7, 0, 0, 1000, 30)
        acquirer = Acquirer(request, {}, journal, Deadline(PATIENCE_SECONDS), self.network)
        resources = [self.resource, self.resource_with("b", {})]
        secrets = self.resource.secrets()
        outcomes = acquirer.acquire_all(
            [(each, collect_variables(each, 7, [*exported.items()], secrets)) for each in resources]
        )
        entries = [each for each in journal.entries() if isinstance(each, Entry)]
        Releaser(journal, Deadline(PATIENCE_SECONDS), self.network).release_all(entries)
        for each in entries:
            journal.take_away(each)
        return list(outcomes)

    def check(self, exported: Block) -> None:
        """Fail if such a job has anything of the site's sent elsewhere, or changes its token."""
        before = self.cached()
        self.everybody.leaks.clear()
        with trying(exported):
            self.run_job(exported)
            assert self.everybody.leaks == []
            assert self.cached() == before


@pytest.fixture(scope="module", params=VENDORS, ids=lambda each: each.type_name)
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    everybody = Everybody(request.param)
    folder = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch:
        client = HttpClient(Deadline(0), transport=everybody)
        patch.setattr(process, "open_client", lambda environment: client)
        folder_of_munge = tmp_path_factory.mktemp("munge")
        write_munge(folder_of_munge)
        patch.setattr(munge, "FOLDERS", [str(folder_of_munge)])
        with served(real) as network:
            network.open([{}], DEFAULT_WORKER_USER, 600, TokenCache(folder))
            network.wait_until_open(Deadline(PATIENCE_SECONDS))
            yield Site(request.param, folder, network, everybody)


def test_job_that_exports_nothing_uses_the_nodes_token(site: Site) -> None:
    before = site.cached()
    outcome, _ = site.run_job({})
    assert not isinstance(outcome, QrmiError)
    assert site.cached() == before
    assert len(before) == (site.login is not None)


def test_every_spelling_of_every_value_stays_home(site: Site) -> None:
    for endpoint in site.vendor.sent_to:
        for key, value in site.values.items():
            for spelled in spellings(value):
                site.check({f"a_{endpoint}": EVIL, f"a_{key}": spelled})


def test_every_spelling_stays_home_under_every_name(site: Site) -> None:
    """Beside credentials of the user's own, in a resource of the site's and in one of users'."""
    for endpoint, credentials in site.vendor.sent_to.items():
        own = {**dict.fromkeys(credentials, MINE), endpoint: EVIL}
        for name in "ab":
            for key in (*credentials, endpoint):
                for value in site.values.values():
                    chosen = {**site.values, **own, key: value}
                    site.check({f"{name}_{each}": text for each, text in chosen.items()})


@given(data=st.data())
def test_any_variables_of_a_user_keep_home_what_is_the_sites(
    site: Site, data: st.DataObject
) -> None:
    texts = sorted(set().union(*map(spellings, site.values.values())))
    names = [f"{name}_{key}" for name in "ab" for key in site.keys]
    values = st.one_of(st.sampled_from(texts), st.sampled_from([EVIL, MINE, "", " "]))
    endpoints = [each for each in names if "ENDPOINT" in each or "URL" in each]
    evil = st.sampled_from([EVIL, f"{EVIL}/", "http://api.site.test"])
    block = data.draw(st.dictionaries(st.sampled_from(names), values, max_size=8))
    site.check({**block, data.draw(st.sampled_from(endpoints)): data.draw(evil)})
