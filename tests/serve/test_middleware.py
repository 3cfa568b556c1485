"""Who may ask, by which name, and what they are told where something is wrong."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st
from openai import AuthenticationError

from gptsmith.base.errors import UserError
from gptsmith.serve.app import make_app
from gptsmith.serve.auth import ApiKeys, read_api_keys
from gptsmith.serve.hosts import host_name, is_loopback
from gptsmith.serve.settings import ServeSettings

from .conftest import QUESTION, Served, serving, until

KEY = "sk-0123456789abcdef"
ELSEWHERE = "https://elsewhere.example"
FRIEND = "https://friend.example"
BODY: dict[str, Any] = {"model": "base", "prompt": "a", "max_tokens": 2}


@pytest.fixture(scope="module")
def guarded(runs: Path) -> Iterator[Served]:
    """A server with a key, a friendly origin and tight bounds."""
    bounds = {"max_body_bytes": 4000, "max_tokens": 20, "max_choices": 2, "body_timeout_s": 1.0}
    with serving([str(runs / "base")], ApiKeys([KEY]), cors=(FRIEND,), hosts=("smith.example",), **bounds) as running:
        yield running


def test_without_a_key_nothing_is_told(guarded: Served) -> None:
    for method, path in (
        ("GET", "/v1/models"), ("POST", "/v1/completions"), ("GET", "/metrics"), ("GET", "/none"),
    ):  # fmt: skip
        for given in ({}, {"Authorization": f"Bearer {KEY}x"}, {"Authorization": KEY}, {"Authorization": "Bearer "},
                      {"Authorization": f"Basic {KEY}"}, {"Authorization": "Bearer é"}):  # fmt: skip
            answer = guarded.ask(method, path, headers=given)
            assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")
            assert answer.headers["www-authenticate"] == "Bearer"
    with pytest.raises(AuthenticationError):
        guarded.client(api_key="sk-wrong").models.list()
    assert [model.id for model in guarded.client(api_key=KEY).models.list()] == ["base"]
    assert guarded.ask("GET", "/health").status == 200


def test_a_page_from_elsewhere_may_not_ask(guarded: Served) -> None:
    key = {"Authorization": f"Bearer {KEY}"}
    answer = guarded.ask("GET", "/v1/models", headers={**key, "Origin": ELSEWHERE})
    assert (answer.status, answer.error["code"]) == (403, "origin_not_allowed")
    assert "access-control-allow-origin" not in answer.headers
    own = guarded.ask("GET", "/v1/models", headers={**key, "Origin": guarded.address})
    assert own.status == 200
    assert "access-control-allow-origin" not in own.headers


def test_a_page_that_is_let_in_may(guarded: Served) -> None:
    wanted = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    before = guarded.ask("OPTIONS", "/v1/completions", headers={**wanted, "Origin": FRIEND})
    assert before.status == 200
    assert before.headers["access-control-allow-origin"] == FRIEND
    assert "authorization" in before.headers["access-control-allow-headers"]
    assert guarded.ask("OPTIONS", "/v1/completions", headers={**wanted, "Origin": ELSEWHERE}).status == 403
    headers = {"Authorization": f"Bearer {KEY}", "Origin": FRIEND}
    assert guarded.ask("POST", "/v1/completions", BODY, headers).headers["access-control-allow-origin"] == FRIEND


def test_a_name_that_is_not_its_own_is_not_answered(guarded: Served) -> None:
    for name in ("evil.example", f"evil.example:{guarded.port}", "", "127.0.0.1.evil.example", "[", "10.0.0.1"):
        answer = guarded.ask("GET", "/health", headers={"Host": name})
        assert (answer.status, answer.error["code"]) == (403, "host_not_allowed")
    for name in ("localhost:9", "LOCALHOST", "[::1]:80", "smith.example", "127.0.0.1"):
        assert guarded.ask("GET", "/health", headers={"Host": name}).status == 200


def test_names_and_addresses() -> None:
    assert [host_name(host) for host in ("a:1", "[::1]:1", "A.b", "a:b", "")] == ["a", "::1", "a.b", "a", ""]
    assert all(map(is_loopback, ("127.0.0.1", "127.8.0.1", "::1", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.168.0.1", "example.org", "")))


def test_every_answer_has_an_id_and_headers_against_misuse(served: Served) -> None:
    answers = [served.ask("GET", path) for path in ("/health", "/none", "/v1/models")]
    assert len({answer.headers["x-request-id"] for answer in answers}) == 3
    for answer in answers:
        assert answer.headers["x-content-type-options"] == "nosniff"
        policy = answer.headers["content-security-policy"].split("; ")
        assert policy[0] == "default-src 'none'"
        assert {"require-trusted-types-for 'script'", "trusted-types 'none'"} <= set(policy)
        assert not any("unsafe" in rule for rule in policy)
        assert answer.headers["cache-control"] == "no-store"
        assert "access-control-allow-origin" not in answer.headers
        assert "server" not in answer.headers


def test_what_is_not_there_is_told_in_the_same_shape(served: Served) -> None:
    missing = served.ask("GET", "/v1/nothing")
    assert (missing.status, missing.error["type"]) == (404, "invalid_request_error")
    wrong = served.ask("GET", "/v1/completions")
    assert (wrong.status, wrong.error["code"], wrong.headers["allow"]) == (405, "method_not_allowed", "POST")
    assert served.ask("DELETE", "/v1/models/base").status == 405


DEEP = b'{"model": "base", "prompt": ' + b"[" * 4000 + b"]" * 4000 + b"}"


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        (b"", None, "invalid_json"),
        (b"{", None, "invalid_json"),
        (b"[]", None, "invalid_json"),
        (b'"a"', None, "invalid_json"),
        (b'{"model": "base", "prompt": "\xff\xfe"}', None, "invalid_json"),
        (b'{"model": "base", "prompt": "\\ud800"}', None, "invalid_json"),
        (b'{"model": "base", "prompt": "a", "temperature": NaN}', None, "invalid_json"),
        (b'{"model": "base", "prompt": "a", "temperature": 1e999}', "temperature", "invalid_value"),
        (b'{"model": "base", "prompt": "a", "seed": ' + b"9" * 5000 + b"}", None, "invalid_json"),
        (b'{"model": "base", "prompt": "a", "seed": ' + b"9" * 30 + b"}", "seed", "invalid_value"),
        (b'{"model": "base", "prompt": "a", "max_tokens": 1e3}', "max_tokens", "invalid_type"),
        (b'{"model": "base", "prompt": "a", "max_tokens": "5"}', "max_tokens", "invalid_type"),
        (b'{"model": "base", "prompt": "a", "max_tokens": true}', "max_tokens", "invalid_type"),
        (b'{"model": "base", "prompt": {"a": 1}}', "prompt", "invalid_type"),
        (b'{"model": "base", "prompt": [1, "a"]}', "prompt.0", "invalid_type"),
        (b'{"model": 5, "prompt": "a"}', "model", "invalid_type"),
        (b'{"prompt": "a"}', "model", "missing_required_parameter"),
        (b'{"model": "base", "prompt": "a", "temprature": 1}', "temprature", "unknown_parameter"),
        (DEEP, None, "invalid_json"),
    ],
)
def test_a_bad_body_is_a_400_that_names_the_field(served: Served, body: bytes, param: str | None, code: str) -> None:
    answer = served.ask("POST", "/v1/completions", body)
    assert (answer.status, answer.error["param"], answer.error["code"]) == (400, param, code)
    assert answer.error["type"] == "invalid_request_error"


def test_a_misspelt_field_is_told_the_right_one(served: Served) -> None:
    assert "temperature" in served.ask("POST", "/v1/completions", {**BODY, "temprature": 1}).error["message"]


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions", "/v1/responses", "/v1/embeddings",
                                  "/tokenize", "/detokenize"])  # fmt: skip
def test_every_route_reads_a_body_with_the_same_care(served: Served, path: str) -> None:
    for body in (b"", b"[]", b'"a"', b"null", b'{"model": "\xff"}', b'{"model": "\\udc00"}', DEEP):
        assert served.ask("POST", path, body).error["code"] == "invalid_json"
    for body in (b'{"model": 5}', b'{"model": ' + b"9" * 4000 + b"}", b'{"modle": "base"}', b"{}"):
        answer = served.ask("POST", path, body)
        assert answer.status == 400
        assert answer.error["param"]


@pytest.mark.parametrize("number", [b"1e999", b"-1e999", b"9" * 4000, b"1e-999", b"0." + b"1" * 4000])
@pytest.mark.parametrize("place", ["response_format", "tools"])
def test_a_number_in_a_schema_that_is_none_of_ours_harms_nobody(served: Served, number: bytes, place: str) -> None:
    schema = b'{"type": "object", "properties": {"a": {"type": "integer", "maximum": ' + number + b"}}}"
    form = {
        "response_format": b'{"type": "json_schema", "json_schema": {"name": "a", "schema": ' + schema + b"}}",
        "tools": b'[{"type": "function", "function": {"name": "f", "parameters": ' + schema + b"}}]",
    }[place]
    body = b'{"model": "chat", "messages": [{"role": "user", "content": "a"}], "max_tokens": 2, '
    answer = served.ask("POST", "/v1/chat/completions", body + b'"' + place.encode() + b'": ' + form + b"}")
    assert answer.status in (200, 400)
    if answer.status == 400:
        assert answer.error["param"] in (place, "messages")  # a model is told of tools, and these are long
    if b"1e999" in number and place == "response_format":  # a tool takes an object, whatever its numbers are
        assert "not finite" in answer.error["message"]


def test_paths_that_are_no_text_are_not_found(served: Served) -> None:
    for path in (
        "/%ff",
        "/v1/models/%ff",
        "/v1/models/%00",
        "/v1/models/..%2f..%2fetc%2fpasswd",
        "/v1/models/" + "a" * 5000,
    ):
        assert served.ask("GET", path).status == 404


def test_a_schema_that_is_deep_or_odd_harms_nobody(served: Served) -> None:
    schema: dict[str, Any] = {"type": "boolean"}
    for _ in range(80):
        schema = {"type": "array", "items": schema}
    form = {"type": "json_schema", "json_schema": {"name": "deep", "schema": schema}}
    body = {"model": "chat", "messages": QUESTION, "max_tokens": 3, "response_format": form}
    assert served.ask("POST", "/v1/chat/completions", body).status in (200, 400)
    form["json_schema"]["schema"] = {"$ref": "#"}  # type: ignore[index]
    assert served.ask("POST", "/v1/chat/completions", body).status in (200, 400)
    assert served.ask("POST", "/v1/completions", BODY).status == 200


def test_a_body_that_is_too_long_is_not_read(guarded: Served) -> None:
    key = {"Authorization": f"Bearer {KEY}"}
    answer = guarded.ask("POST", "/v1/completions", {**BODY, "prompt": "a" * 5000}, key)
    assert (answer.status, answer.error["code"]) == (413, "request_too_large")
    with socket.create_connection(("127.0.0.1", guarded.port)) as connection:
        head = f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\n"
        connection.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        connection.sendall(b"1388\r\n" + b"a" * 5000 + b"\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 413")


def test_bounds_are_kept(guarded: Served) -> None:
    key = {"Authorization": f"Bearer {KEY}"}
    for wrong, param in (({"max_tokens": 21}, "max_tokens"), ({"n": 3}, "n")):
        answer = guarded.ask("POST", "/v1/completions", {**BODY, **wrong}, key)
        assert (answer.status, answer.error["param"]) == (400, param)


def test_a_client_that_says_nothing_is_cut_off(guarded: Served) -> None:
    with socket.create_connection(("127.0.0.1", guarded.port)) as silent:
        silent.settimeout(30)
        silent.sendall(b"GET /health HT")
        assert silent.recv(100) == b""
    with socket.create_connection(("127.0.0.1", guarded.port)) as slow:
        slow.settimeout(30)
        head = f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\n"
        slow.sendall(f"{head}Content-Length: 100\r\n\r\n{{".encode())
        assert slow.recv(100).startswith(b"HTTP/1.1 408")


def test_the_log_has_ids_and_counts_and_no_text(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    answer = served.ask("POST", "/v1/completions", {**BODY, "prompt": "secretword"})
    served.ask("POST", "/v1/completions", {**BODY, "secretword": 1})
    served.ask("GET", "/secretword?secretword=1")
    until(lambda: len(caplog.records) >= 3, "three lines in the log")
    lines = caplog.text
    assert "secretword" not in lines
    assert answer.headers["x-request-id"] in lines
    assert "model=base" in lines
    assert "tokens=2" in lines


def test_our_own_fault_is_a_500_that_tells_nothing(
    served: Served, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("secretword")

    monkeypatch.setattr(served.state.models.loaded["base"].engine, "submit", fail)
    answer = served.ask("POST", "/v1/completions", BODY)
    assert (answer.status, answer.error["type"]) == (500, "server_error")
    assert b"secretword" not in answer.data
    assert "RuntimeError" in caplog.text
    assert "secretword" not in caplog.text


def test_keys_are_read_from_a_file_that_only_its_owner_reads(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(f"# two\n{KEY}\n\n{KEY}-2\n", encoding="ascii")
    path.chmod(0o600)
    keys = read_api_keys(path)
    assert keys.accepts(f"Bearer {KEY}")
    assert keys.accepts(f"bearer {KEY}-2")
    assert not keys.accepts(f"Bearer {KEY}-3")
    assert not keys.accepts("Bearer # two")
    for mode in (0o644, 0o640, 0o604):
        path.chmod(mode)
        with pytest.raises(UserError, match=f"{mode:03o}.*chmod 600"):
            read_api_keys(path)


@pytest.mark.parametrize(
    ("content", "problem"),
    [(b"", "no key"), (b"# none\n", "no key"), (b"short\n", "key 1 needs 16"), (b"\xff" * 20, "ASCII"),
     (b"with spaces in the key\n", "no spaces")],
)  # fmt: skip
def test_a_bad_file_of_keys_is_refused(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "keys"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(UserError, match=problem):
        read_api_keys(path)
    with pytest.raises(UserError, match="cannot be read"):
        read_api_keys(tmp_path / "none")


@pytest.mark.parametrize(
    "origin", ["http://[", "junk", "", "null", "http://", "//", "http://127.0.0.1:99999999", "\xff"]
)
def test_an_origin_that_is_no_address_is_refused(guarded: Served, origin: str) -> None:
    answer = guarded.ask("GET", "/health", headers={"Origin": origin})
    assert (answer.status, answer.error["code"]) == (403, "origin_not_allowed")
    assert "--allow-host" in answer.error["message"]
    assert "--cors" in answer.error["message"]


def test_a_page_behind_a_proxy_may_ask_under_the_name_that_was_given(guarded: Served) -> None:
    """The proxy passes its own Host, or the name without the port."""
    key = {"Authorization": f"Bearer {KEY}"}
    for host in (f"127.0.0.1:{guarded.port}", "smith.example", "localhost"):
        for origin in ("https://smith.example", "http://SMITH.example:8080"):
            answer = guarded.ask("POST", "/v1/completions", BODY, {**key, "Host": host, "Origin": origin})
            assert answer.status == 200
        for origin in ("https://smith.example.org", "http://localhost:1", ELSEWHERE):
            assert guarded.ask("POST", "/v1/completions", BODY, {**key, "Host": host, "Origin": origin}).status == 403


def raw(served: Served, request: bytes) -> bytes:
    """All that comes for a request until the connection is closed."""
    with socket.create_connection(("127.0.0.1", served.port), timeout=30) as connection:
        connection.sendall(request)
        seen = b""
        while data := connection.recv(65536):
            seen += data
        return seen


def test_a_header_that_decides_is_there_once(guarded: Served) -> None:
    good, close = f"Authorization: Bearer {KEY}\r\n", "Connection: close\r\n\r\n"
    for twice in (f"{good}Authorization: Bearer no\r\n", f"{good}{good}", f"{good}Origin: a\r\nOrigin: b\r\n"):
        answer = raw(guarded, f"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n{twice}{close}".encode())
        assert answer.startswith(b"HTTP/1.1 400")
        assert b"more than once" in answer or b"invalid_header" in answer


def test_two_lengths_end_the_connection(guarded: Served) -> None:
    head = f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\n"
    answer = raw(
        guarded, f"{head}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\n".encode()
    )
    assert answer.startswith(b"HTTP/1.1 400")
    assert answer.count(b"HTTP/1.1") == 1


def test_the_document_names_models_for_those_with_a_key_alone(guarded: Served) -> None:
    for headers, names in (({}, None), ({"Authorization": f"Bearer {KEY}"}, ["base"])):
        document = guarded.ask("GET", "/openapi.json", headers=headers).json
        field = document["components"]["schemas"]["CompletionRequest"]["properties"]["model"]
        assert field["anyOf"][0].get("enum") == names


def test_origins_are_taken_as_browsers_send_them(runs: Path) -> None:
    given = ("https://A.example/", "http://a.example:80", "https://a.example:8443", "*", "http://[::1]:3000")
    expected = ("https://a.example", "http://a.example", "https://a.example:8443", "*", "http://[::1]:3000")
    assert ServeSettings(cors=given).cors == expected
    for odd in ("a.example", "https://", "https://a.example/page", "http://[", "http://a:b"):
        with pytest.raises(UserError, match="is no origin"):
            ServeSettings.parse({"cors": (odd,)})


def test_any_origin_may_ask_where_that_was_said(runs: Path) -> None:
    with serving([str(runs / "base")], cors=("*",)) as running:
        answer = running.ask("POST", "/v1/completions", BODY, {"Origin": ELSEWHERE})
        assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, "*")


HEADER = st.binary(max_size=40).map(lambda value: bytes(byte for byte in value if byte >= 32))
NAMES = (
    "host", "origin", "authorization", "accept", "accept-encoding", "content-type", "content-length", "connection",
    "transfer-encoding", "access-control-request-method", "access-control-request-headers", "cookie", "range", "te",
    "x-forwarded-for", "forwarded", "if-none-match", "x-request-id", "user-agent", "expect",
)  # fmt: skip


@hypothesis.settings(
    max_examples=300,
    derandomize=True,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
@hypothesis.given(
    st.sampled_from([("GET", "/health"), ("GET", "/metrics"), ("GET", "/"), ("GET", "/v1/models/a"), ("OPTIONS", "/"),
                     ("GET", "/openapi.json"), ("POST", "/v1/completions"), ("GET", "/page/chat.css")]),
    st.dictionaries(
        st.sampled_from(NAMES),
        HEADER | st.sampled_from([b"http://[", b"*/*", b"application/openmetrics-text; version=\xff", b"-1"]),
        max_size=4,
    ),
)  # fmt: skip
def test_no_header_gives_a_server_error(served: Served, target: tuple[str, str], given: dict[str, bytes]) -> None:
    statuses = []
    headers = {"host": b"localhost", **given}
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": target[0], "path": target[1],
        "raw_path": target[1].encode(), "query_string": b"", "root_path": "", "scheme": "http",
        "headers": [(name.encode(), value) for name, value in headers.items()],
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80),
    }  # fmt: skip

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"[]", "more_body": False}

    async def send(message: Any) -> None:
        statuses.append(message.get("status", 0))

    asyncio.run(make_app(served.state)(scope, receive, send))
    assert 200 <= statuses[0] < 500
