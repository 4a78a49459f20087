# SPDX-License-Identifier: GPL-3.0-or-later
"""However a user spells his variables, what is the site's goes to endpoints that the site named."""

from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain, product
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
from spank_qrmi.job.acquirer import Acquired, Acquirer
from spank_qrmi.job.environment import collect_variables
from spank_qrmi.job.releaser import Releaser
from spank_qrmi.network import process
from spank_qrmi.network.worker_side import Network
from spank_qrmi.protocol import Request, Verb
from spank_qrmi.redaction import is_told_by
from spank_qrmi.state.journal import Journal
from spank_qrmi.state.token_cache import TokenCache
from spank_qrmi.trust import munge
from spank_qrmi.trust.worker_user import DEFAULT_WORKER_USER
from tests.unit.fake_services import begin_to_send, reply, token_reply, unread
from tests.unit.job.job_node import entries_in
from tests.unit.local_network import LocalNetwork, LocalServices
from tests.unit.munge_credentials import write_munge
from tests.unit.network.test_worker_side import PATIENCE_SECONDS, real, served
from tests.unit.outcomes import trying
from tests.unit.vendors import VENDORS, Vendor

BEARER = "bearer-of-the-site"
EVIL = "https://evil.test/api"
SITE = "https://site.test/"
# What a user may export that is SITE.
SITE_URLS = [
    *("https://SITE.test/", "HTTPS://site.test/", "https://site.test", "https://site.test//"),
    *("https://site.test:443/", " https://site.test/", "https://site.test/ "),
    *("\thttps://site.test/", "https://site.test/\r\n", "\u00a0https://site.test:443\u2003"),
]
# What a user may export in place of it.
ENDPOINTS = [
    *("https://evil.test", "https://site.test./", "https://site.test/a", "http://site.test:443/"),
    *("https://site.test@evil.test", "https://site.test:443@evil.test/", "https://site.test:8443/"),
    *("https://site.test%2eevil.test", "https://site.test%00.evil.test", "http://site.test/"),
    *("https://evil.test/#@site.test", "https://evil.test\\@site.test", "ftp://site.test/"),
    *("https://evil.test?https://site.test", "//evil.test", "https:evil.test", "https://[::1]/"),
    *("https:///evil.test", "https://site.test/ /", "https://site.test/../", "https://127.1"),
    *("https://s\u0456te.test", "https://site\u3002test", "https://site.test\r\nHost: evil.test"),
    *("\t", "", " ", "https://xn--ste-wla.test", "https://site.test/%2e%2e"),
    "https://evil.test\u2028",
]


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

    `asked` says which of them were, and `leaks` are the URLs of those others that were sent what is
    the site's.
    """

    def __init__(self, vendor: Vendor) -> None:
        self._answer = vendor.any_answer

    def listen(self, secrets: set[str]) -> None:
        """Forget what was asked before; these are the site's secrets from now on."""
        self.secrets = secrets
        self.asked: set[str] = set()
        self.leaks: list[str] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        begin_to_send(request)
        url, body = request.url, request.read().decode()
        hosts = {"iam.site.test", "api.site.test", "site.test"}
        is_sites = url.host in hosts and url.port in {None, 443} and url.scheme == "https"
        self.asked.add("the site" if is_sites else "others")
        if not is_sites:
            sent = [str(url), body, *(value for _, value in request.headers.multi_items())]
            if any(is_told_by(text, self.secrets) for text in sent):
                self.leaks.append(str(url))
        if url.path.endswith("/identity/token"):
            is_known = any(is_told_by(body, {secret}) for secret in self.secrets)
            return unread(token_reply(BEARER if is_known else "bearer-of-the-user"))
        return unread(reply(200 if is_sites else 401, self._answer))


@dataclass(frozen=True)
class Site:
    """A node with one resource of a type, and one of the same type that users bring all for."""

    vendor: Vendor
    folder: Path
    network: Network
    everybody: Everybody
    values: Mapping[str, str]

    def resource(self, name: str) -> Resource:
        type_name = self.vendor.type_name
        values = self.values if name == "a" else {}
        return Resource(name, type_name, values, also_as=tuple(other_names(type_name)))

    @property
    def alike(self) -> Mapping[str, str]:
        return keys_alike(self.vendor.type_name, other_names(self.vendor.type_name))

    @property
    def login(self) -> Login | None:
        return CLIENTS[self.vendor.type_name](Settings("a", self.values)).login

    def cached(self) -> dict[str, str]:
        """Return the first line of each token of the node, by its login."""
        return {path.name: path.read_text().split("\n")[3] for path in self.folder.glob("tokens/*")}

    def run_job(self, exported: Mapping[str, str], names: str = "ab") -> list[Acquired | QrmiError]:
        """Acquire and release as the job of a user; return what became of these resources."""
        journal = Journal(self.folder)
        request = Request(Verb.ACQUIRE, 7, 0, 0, 1000, 30)
        acquirer = Acquirer(request, {}, journal, Deadline(PATIENCE_SECONDS), self.network)
        secrets = self.resource("a").secrets()
        self.everybody.listen({BEARER, *secrets})
        resources = [self.resource(each) for each in names]
        taken = [collect_variables(each, 7, [*exported.items()], secrets) for each in resources]
        outcomes = acquirer.acquire_all([*zip(resources, taken, strict=True)])
        assert "gave no result in time" not in map(str, outcomes)
        Releaser(journal, Deadline(PATIENCE_SECONDS), self.network).release_all(entries_in(journal))
        # What was told to end is looked at again, by nobody here.
        for each in entries_in(journal):
            journal.take_away(each)
        return outcomes

    def check(self, exported: Mapping[str, str]) -> None:
        """Fail if such a job has anything of the site's sent elsewhere, or changes its token."""
        before = self.cached()
        with trying(exported):
            self.run_job(exported)
            assert self.everybody.leaks == []
            assert self.cached() == before

    def at(self, endpoint: str) -> "Site":
        """Return a site with this endpoint at SITE, a session of its own and no token at hand."""
        credentials = chain.from_iterable(self.vendor.sent_to.values())
        sessions = dict.fromkeys(credentials, "session-of-the-site")
        network = LocalNetwork()
        http = HttpClient(Deadline(PATIENCE_SECONDS), transport=self.everybody)
        network.services = lambda deadline, _: LocalServices(http.within(deadline), None)
        return replace(self, network=network, values={**sessions, **self.values, endpoint: SITE})


@pytest.fixture(scope="module", params=VENDORS, ids=lambda each: each.type_name)
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    vendor = request.param
    values = {key: f"program-key-of-the-site-{len(key)}" for key in vendor.program_keys}
    for key, credentials in vendor.sent_to.items():
        values[key] = f"https://{'iam' if 'IAM' in key else 'api'}.site.test/base"
        # With a session of the site's nothing would be opened, nor released.
        for each in credentials:
            if not each.endswith(("SESSION_ID", "ACQUISITION_TOKEN")):
                values[each] = basic_key(f"secret-of-the-site-{len(each):03}")
    everybody = Everybody(vendor)
    folder = tmp_path_factory.mktemp("site")
    write_munge(folder)
    with pytest.MonkeyPatch.context() as patch:
        client = HttpClient(Deadline(0), transport=everybody)
        patch.setattr(process, "open_client", lambda environment: client)
        patch.setattr(munge, "FOLDERS", [str(folder)])
        with served(real) as network:
            cache = TokenCache(folder)
            network.open([{}], DEFAULT_WORKER_USER, 600, cache)
            network.wait_until_open(Deadline(PATIENCE_SECONDS))
            site = Site(vendor, folder, network, everybody, values)
            if site.login is not None:
                cache.store(TokenCache.key_of(site.login), BEARER, 3600)
            yield site


def test_job_that_exports_nothing_uses_the_nodes_token(site: Site) -> None:
    before = site.cached()
    outcome, _ = site.run_job({})
    assert not isinstance(outcome, QrmiError)
    assert site.cached() == before
    assert len(before) == (site.login is not None)


def test_every_value_stays_home_in_every_spelling_and_under_every_name(site: Site) -> None:
    for endpoint, credentials in site.vendor.sent_to.items():
        for key, value in site.values.items():
            for spelled in spellings(value):
                site.check({f"a_{endpoint}": EVIL, f"a_{key}": spelled})
        # Beside credentials of the user's own, in a resource of the site's and in one of users'.
        own = {**dict.fromkeys(credentials, MINE), endpoint: EVIL}
        for name, key, value in product("ab", (*credentials, endpoint), site.values.values()):
            chosen = {**site.values, **own, key: value}
            site.check({f"{name}_{each}": text for each, text in chosen.items()})


@given(data=st.data())
def test_any_variables_of_a_user_keep_home_what_is_the_sites(
    site: Site, data: st.DataObject
) -> None:
    texts = sorted(set().union(*map(spellings, site.values.values())))
    keys = (*site.values, *site.alike, "QRMI_JOB_ACQUISITION_TOKEN")
    names = [f"{name}_{key}" for name in "ab" for key in keys]
    values = st.one_of(st.sampled_from(texts), st.sampled_from([EVIL, MINE, "", " "]))
    endpoints = [each for each in names if "ENDPOINT" in each or "URL" in each]
    evil = st.sampled_from([EVIL, f"{EVIL}/", "http://api.site.test"])
    block = data.draw(st.dictionaries(st.sampled_from(names), values, max_size=8))
    site.check({**block, data.draw(st.sampled_from(endpoints)): data.draw(evil)})


def test_credentials_of_the_site_go_to_its_endpoint_however_spelled_and_nowhere_else(
    site: Site,
) -> None:
    for key, credentials in site.vendor.sent_to.items():
        for endpoint in (*ENDPOINTS, *SITE_URLS):
            with trying((key, endpoint)):
                [outcome] = site.at(key).run_job({f"a_{key}": endpoint}, "a")
                assert site.everybody.leaks == []
                if endpoint in SITE_URLS:
                    assert isinstance(outcome, Acquired)
                    assert site.everybody.asked == {"the site"}
                elif credentials:
                    assert isinstance(outcome, QrmiError)
                    assert site.everybody.asked == set()


def test_other_name_of_a_type_brings_no_credential_elsewhere(site: Site) -> None:
    for other, key in site.alike.items():
        if key in site.vendor.sent_to:
            mine = {f"a_{key}": "https://mine.test"}
            for own, refusal in (({}, "is yours but"), (mine, "mean the same but")):
                [outcome] = site.at(key).run_job({**own, f"a_{other}": EVIL}, "a")
                assert site.everybody.asked == set()
                assert f"a_{other} " in str(outcome)
                assert refusal in str(outcome)


def test_variables_are_taken_by_their_exact_names_and_once(site: Site) -> None:
    for key in site.vendor.sent_to:
        for other in (key.lower(), f"QRMI_{key.removeprefix('QRMI_').lower()}"):
            site.run_job({f"a_{other}": EVIL}, "a")
            assert site.everybody.asked == {"the site"}
        # Of one that is exported twice, one value is checked and used.
        for values in ([SITE, EVIL], [EVIL] * 2):
            variables = [(f"a_{key}", each) for each in values]
            taken = collect_variables(site.at(key).resource("a"), 7, variables)
            assert (taken.is_users(key), taken.values[key]) == (True, EVIL)
    [outcome] = site.run_job({"a_QRMI_\udcff": "x"}, "a")
    assert str(outcome) == "a_QRMI_? is not UTF-8 text"
