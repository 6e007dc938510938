"""The requests that a server on this machine serves: those of its own pages and of programs, and no other page's."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.webserver import guard_of
from resources.authorities import Authority, hosts
from resources.guard import (
    BODY_LIMIT,
    HEADERS,
    REFUSED,
    Guard,
    Guarded,
    GuardedRequest,
    Scope,
)
from resources.peers import GONE

PORT = 3000
PROXIED = hosts("dailies.example.com, studio.example.com:8443")
DAGSTER = guard_of(PROXIED)
JSON = {"content-type": "application/json"}


def ask(
    method: str = "POST",
    path: str = "/graphql",
    query: str = "",
    websocket: bool = False,
    more: tuple[tuple[str, str], ...] = (),
    host: str | None = f"127.0.0.1:{PORT}",
    **headers: str,
) -> GuardedRequest:
    given = {"host": host, **(JSON if method == "POST" and not websocket else {})}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    said = tuple((name, value) for name, value in given.items() if value is not None)
    return GuardedRequest(method, path, query, PORT, (*said, *more), websocket)


def passes(asked: GuardedRequest, guard: Guard = DAGSTER) -> bool:
    return guard.refusal(asked) is None


@pytest.mark.parametrize("host", ["127.0.0.1:3000", "localhost:3000", "LOCALHOST:3000", "[::1]:3000"])
def test_a_program_of_this_machine_is_served(host: str) -> None:
    assert passes(ask(host=host))
    assert passes(ask("GET", "/", host=host))
    assert passes(ask("GET", websocket=True, host=host))


@pytest.mark.parametrize(
    "host",
    [
        None,
        "",
        "evil.test:3000",
        "evil.test",
        "127.0.0.1",
        "127.0.0.1:3001",
        "127.0.0.1:03000",
        "127.0.0.1:3000:3000",
        "127.0.0.1:",
        "localhost.:3000",
        "localhost.evil.test:3000",
        "127.0.0.1.evil.test:3000",
        "evil.test@127.0.0.1:3000",
        "127.0.0.1:3000@evil.test",
        "127.0.0.1:3000/evil.test",
        "127.0.0.1:3000, evil.test",
        " 127.0.0.1:3000",
        "127.1:3000",
        "2130706433:3000",
        "0.0.0.0:3000",
        "[::1:3000",
        "[::ffff:127.0.0.1]:3000",
        "::1:3000",
        "localh\u043est:3000",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_nothing_is_served_under_another_name(host: str | None, method: str) -> None:
    """For the browser, a page whose name now resolves to this machine (DNS rebinding) is same-origin; the page's Host gives it away."""
    assert not passes(ask(method, "/", host=host))
    assert not passes(ask("GET", websocket=True, host=host))


def test_two_host_headers_are_refused() -> None:
    assert not passes(ask(more=(("host", f"127.0.0.1:{PORT}"),)))
    assert not passes(ask(more=(("host", "evil.test"),)))


@pytest.mark.parametrize(
    ("host", "origin", "served"),
    [
        ("dailies.example.com", "https://dailies.example.com", True),
        ("dailies.example.com:443", "https://dailies.example.com", True),
        ("DAILIES.example.com", "https://dailies.example.com", True),
        ("studio.example.com:8443", "https://studio.example.com:8443", True),
        # a proxy that names its target as the Host
        ("127.0.0.1:3000", "https://dailies.example.com", True),
        ("studio.example.com", "https://studio.example.com:8443", False),
        ("dailies.example.com:8443", "https://dailies.example.com", False),
        ("dailies.example.com", "https://dailies.example.com:8443", False),
        ("dailies.example.com", "https://evil.test", False),
        ("dailies.example.com", "http://127.0.0.1:3000", False),
        ("more.dailies.example.com", "https://more.dailies.example.com", False),
        ("example.com", "https://example.com", False),
    ],
)
def test_a_proxy_is_reached_by_the_configured_names(host: str, origin: str, served: bool) -> None:
    assert passes(ask(host=host, origin=origin)) is served
    assert passes(ask("GET", websocket=True, host=host, origin=origin)) is served
    assert not passes(ask(host=host, origin=origin), guard_of(frozenset()))


def test_another_port_of_a_tunnel_can_be_configured_too() -> None:
    tunnel = ask(host="localhost:8080", origin="http://localhost:8080")
    assert passes(tunnel, guard_of(hosts("localhost:8080")))
    assert not passes(tunnel)
    assert not passes(
        ask(host="localhost:8080", origin="http://localhost:8081"), guard_of(hosts("localhost:8080"))
    )


@pytest.mark.parametrize(
    "setting",
    [
        "*",
        "*.example.com",
        "https://dailies.example.com",
        "a b",
        "dailies.example.com/",
        "me@x.example",
        "x:y",
    ],
)
def test_an_invalid_host_is_an_invalid_setting(setting: str) -> None:
    with pytest.raises(ValueError, match="names of hosts"):
        hosts(setting)


OWN = f"http://127.0.0.1:{PORT}"
FOREIGN = [
    "null",
    "",
    "http://127.0.0.1:3001",
    "http://127.0.0.1",
    "https://127.0.0.1:3000",
    "http://localhost:3000",
    "http://[::1]:3000",
    "http://evil.test",
    "https://evil.test:3000",
    "http://127.0.0.1:3000.evil.test",
    "http://evil.test@127.0.0.1:3000",
    "http://127.0.0.1:3000/",
    "http://127.0.0.1:3000 http://evil.test",
    "http://dailies.example.com.evil.test",
    "file://",
    "chrome-extension://abcdef",
    "127.0.0.1:3000",
]


@pytest.mark.parametrize("origin", FOREIGN)
def test_another_pages_request_is_refused_whatever_it_is(origin: str) -> None:
    """Any page may be on another port, name or scheme of this machine."""
    assert not passes(ask(origin=origin))
    assert not passes(ask("GET", "/", origin=origin))
    assert not passes(ask("GET", websocket=True, origin=origin))


def test_requests_of_its_own_pages_are_served() -> None:
    assert passes(ask(origin=OWN, sec_fetch_site="same-origin"))
    assert passes(ask("GET", websocket=True, origin=OWN))
    assert passes(ask(origin="http://localhost:3000", host="localhost:3000"))
    assert not passes(ask(origin=OWN, more=(("origin", OWN),)))


@pytest.mark.parametrize(
    "site", ["cross-site", "same-site", "none", "same-origin, same-origin", "Same-Origin", ""]
)
def test_a_request_caused_by_another_site_changes_nothing(site: str) -> None:
    """For a browser, another port of this machine is the same site."""
    assert not passes(ask(sec_fetch_site=site))
    assert not passes(ask("GET", websocket=True, sec_fetch_site=site))


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_another_sites_link_opens_a_page_and_nothing_else(site: str) -> None:
    """The link in an alarm is such a link."""
    link: dict[str, Any] = {
        "sec_fetch_site": site,
        "sec_fetch_mode": "navigate",
        "sec_fetch_dest": "document",
    }
    assert passes(ask("GET", "/runs/1", **link))
    assert not passes(ask("GET", "/runs/1", **link | {"sec_fetch_dest": "iframe"}))
    assert not passes(ask("GET", "/runs/1", **link | {"sec_fetch_mode": "no-cors"}))
    assert not passes(ask("GET", "/runs/1", sec_fetch_site=site))
    assert not passes(ask("POST", "/graphql", **link))
    assert not passes(ask("GET", "/graphql", "query=mutation{x}", **link))


@pytest.mark.parametrize(
    "kind",
    [
        None,
        "",
        "text/plain",
        "text/plain; application/json",
        "text/plain; json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=application/json",
        "application/json-patch+json",
        "application/json; charset=utf-16",
        "application/json; charset=utf-8; text/plain",
        "application/json, text/plain",
        "application/jsonx",
        "application/graphql",
        "application/json;",
        "application/json\x00",
    ],
)
def test_a_change_must_be_json(kind: str | None) -> None:
    """A page may send every other content type to another server without a preflight request."""
    said: dict[str, Any] = {} if kind is None else {"content_type": kind}
    asked = ask(**said)
    if kind is None:
        asked = GuardedRequest("POST", "/graphql", "", PORT, (("host", f"127.0.0.1:{PORT}"),))
    assert not passes(asked)


@pytest.mark.parametrize(
    "kind",
    [
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        "application/json;charset=UTF-8",
    ],
)
def test_json_is_accepted_only_in_utf_8(kind: str) -> None:
    assert passes(ask(content_type=kind))
    assert not passes(ask(content_type=kind, more=(("content-type", "application/json"),)))


@pytest.mark.parametrize(
    "query",
    [
        "query=mutation{x}",
        "op=A&query=mutation{x}",
        "op=A;query=x",
        "op=%71uery",
        "query",
        "op=A%26query=x",
        "OP=A",
    ],
)
def test_a_change_must_have_no_query(query: str) -> None:
    assert not passes(ask(query=query))
    assert passes(ask(query="op=RunsRootQuery")), "Dagster's UI names its operation there"
    assert not passes(ask(query="op=RunsRootQuery"), Guard())


@pytest.mark.parametrize(
    "path", ["/graphql", "/graphql/", "/GraphQL", "//graphql", "/x/graphql", "/%67raphql", "/graphql//"]
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_no_operation_is_accepted_by_get(path: str, method: str) -> None:
    assert not passes(ask(method, path, "query=mutation{x}"))
    assert not passes(ask(method, path, "query={version}"))
    assert passes(ask(method, path)), "Dagster's playground"
    assert passes(ask(method, "/runs", "q[]=status:FAILURE"))


@pytest.mark.parametrize(
    "method", ["PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "QUERY", "post", "get"]
)
def test_other_methods_are_refused(method: str) -> None:
    refusal = DAGSTER.refusal(ask(method, content_type="application/json"))
    assert refusal is not None
    assert refusal.status == 405


@pytest.mark.parametrize("path", ["http://evil.test/graphql", "", "*", "127.0.0.1:3000"])
def test_a_target_that_is_no_path_is_refused(path: str) -> None:
    assert not passes(ask(path=path))
    assert not passes(ask("GET", path))


@pytest.mark.parametrize(
    ("user", "served"), [(None, True), (0, True), (1001, True), (1002, False), (GONE, False)]
)
def test_another_user_of_the_machine_is_let_in_by_name_only(user: int | None, served: bool) -> None:
    guard = guard_of(frozenset(), frozenset({1001}))
    for asked in (ask(), ask("GET", "/"), ask("GET", websocket=True)):
        assert passes(replace(asked, user=user), guard) is served
        assert passes(replace(asked, user=user), Guard(websockets=True)), (
            "a server with a token does not check the user"
        )


def test_a_server_without_websockets_accepts_none() -> None:
    assert not passes(ask("GET", websocket=True), Guard())


def test_a_silent_server_answers_only_that_nothing_is_there() -> None:
    refusal = Guard(silent=True).refusal(ask("GET", "/", host="evil.test"))
    assert refusal is not None
    assert (refusal.status, refusal.why) == (404, "not found")


TEXT = st.text(st.characters(max_codepoint=255), max_size=40)
VALUES = st.one_of(
    TEXT,
    st.sampled_from(
        [f"127.0.0.1:{PORT}", OWN, "application/json", "same-origin", "null", "navigate", "document"]
    ),
)
NAMES = st.sampled_from(
    ["host", "origin", "sec-fetch-site", "sec-fetch-mode", "sec-fetch-dest", "content-type", "referer"]
)


@given(
    st.sampled_from(["GET", "HEAD", "POST", "PUT", "OPTIONS"]),
    st.sampled_from(["/graphql", "/", "/runs"]) | TEXT,
    st.just("") | TEXT,
    st.lists(st.tuples(NAMES, VALUES), max_size=6),
    st.booleans(),
)
def test_every_passing_request_is_our_own(
    method: str, path: str, query: str, headers: list[tuple[str, str]], websocket: bool
) -> None:
    """The same rule in the opposite form: the properties that every passing request must have."""
    asked = GuardedRequest(method, path, query, PORT, tuple(headers), websocket)
    if not passes(asked, guard_of(frozenset())):
        return
    host = [value.lower() for name, value in headers if name == "host"]
    assert host in [[f"{name}:{PORT}"] for name in ("127.0.0.1", "localhost", "[::1]")]
    assert [value.lower() for name, value in headers if name == "origin"] in [[], [f"http://{host[0]}"]]
    sites = [value for name, value in headers if name == "sec-fetch-site"]
    if websocket or method == "POST":
        assert sites in [[], ["same-origin"]]
    if method == "POST" and not websocket:
        kinds = [value.lower() for name, value in headers if name == "content-type"]
        assert len(kinds) == 1
        assert kinds[0].startswith("application/json")
        assert "query" not in query
    assert websocket or method in {"GET", "HEAD", "POST"}


@given(TEXT)
def test_any_text_is_a_host_or_none(text: str) -> None:
    found = Authority.parse(text)
    assert found is None or (found.name + (f":{found.port}" if found.port else "")) == text.lower()


class Application:
    """Answers, and records its requests."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = bool(message.get("more_body"))
        self.bodies.append(body)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x-app", b"1")]})
        await send({"type": "http.response.body", "body": b"done"})


async def answered(
    app: Guarded, pieces: list[bytes | None], *, stuck: bool = False, **more: Any
) -> list[Any]:
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/graphql",
        "query_string": b"",
        "server": ("127.0.0.1", PORT),
        "headers": [(b"Host", f"127.0.0.1:{PORT}".encode()), (b"content-type", b"application/json")],
        **more,
    }
    waiting = list(pieces)
    said: list[Any] = []

    async def receive() -> Any:
        if not waiting and stuck:
            await asyncio.Event().wait()
        piece = waiting.pop(0)
        if piece is None:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": piece, "more_body": bool(waiting) or stuck}

    async def send(message: Any) -> None:
        said.append(message)

    await app(scope, receive, send)
    return said


async def test_a_body_arrives_whole_and_every_answer_forbids_frames() -> None:
    app = Application()
    said = await answered(Guarded(app, DAGSTER), [b'{"query":', b'"{version}"}'])
    assert app.bodies == [b'{"query":"{version}"}']
    assert said[0]["status"] == 200
    assert set(said[0]["headers"]) == {(b"x-app", b"1"), *HEADERS}


async def test_a_body_without_end_is_neither_kept_nor_waited_for() -> None:
    app = Application()
    large = await answered(Guarded(app, DAGSTER), [b"x" * (1 << 20)] * ((BODY_LIMIT >> 20) + 1))
    slow = await answered(Guarded(app, DAGSTER, seconds=0.01), [b"{"], stuck=True)
    assert (large[0]["status"], slow[0]["status"]) == (413, 408)
    assert app.bodies == []


async def test_a_body_that_is_cut_off_changes_nothing() -> None:
    app = Application()
    assert await answered(Guarded(app, DAGSTER), [b"{}", None]) == []
    assert app.bodies == []


async def test_a_refusal_repeats_nothing_and_forbids_frames() -> None:
    app = Application()
    said = await answered(Guarded(app, DAGSTER), [b"{}"], query_string=b"query=<script>")
    assert said[0]["status"] == 403
    assert {*HEADERS, (REFUSED.encode(), b"1")} <= set(said[0]["headers"])
    assert b"script" not in said[1]["body"]
    assert app.bodies == []


async def test_a_websocket_of_another_page_is_never_accepted() -> None:
    app = Application()
    headers = [(b"host", f"127.0.0.1:{PORT}".encode()), (b"origin", b"http://evil.test")]
    said = await answered(Guarded(app, DAGSTER), [b""], type="websocket", headers=headers)
    assert [message["type"] for message in said] == ["websocket.close"]
    assert app.bodies == []
