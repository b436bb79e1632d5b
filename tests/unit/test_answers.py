"""What an answer means, as far as no server is needed to say it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessionsync.errors import IssueLocked, Limited, Missing, NotPermitted, RemoteError, RepositoryMissing
from sessionsync.remote.answers import (
    MOST_WAIT_S,
    WORDS,
    Answer,
    Call,
    Scope,
    expiry,
    failure,
    http_date,
    next_page,
    one_line,
    problem,
    rate_limit,
    wanted_wait_s,
)

NOW = 1_800_000_000.0
CALL = Call("create_comment", "issue 5 of o/r", "issue", writes=True)


def answer(status: int, message: str = "", docs: str = "", **headers: str) -> Answer:
    body = json.dumps({"message": message, "documentation_url": docs}).encode()
    return Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, body)


def limit(given: Answer, strikes: int = 1) -> Limited:
    error = failure(given, CALL, now=NOW, strikes=strikes)
    assert isinstance(error, Limited)
    return error


def test_below_400_nothing_failed() -> None:
    for status in (200, 201, 204, 304, 307):
        assert failure(answer(status), CALL, now=NOW) is None


@pytest.mark.parametrize(
    ("given", "kind", "wait_s"),
    [
        (answer(429), "secondary", 60),
        (answer(403, retry_after="7"), "secondary", 7),
        (answer(403, retry_after="0"), "secondary", 1),
        (answer(403, "You have exceeded a SECONDARY rate limit"), "secondary", 60),
        (answer(403, docs="https://docs.github.com/x#secondary-rate-limits"), "secondary", 60),
        (answer(403, docs="https://developer.github.com/v3/#abuse-rate-limits"), "secondary", 60),
        (answer(403, "API rate limit exceeded for user ID 1."), "primary", 60),
        (answer(403, x_ratelimit_remaining="0", x_ratelimit_reset=str(int(NOW) + 9)), "primary", 10),
        (answer(429, x_ratelimit_remaining="0", x_ratelimit_reset=str(int(NOW) - 99)), "primary", 1),
        (answer(429, x_ratelimit_remaining="0", x_ratelimit_reset="9999999999"), "primary", MOST_WAIT_S),
        (answer(429, x_ratelimit_remaining="0", retry_after="3"), "primary", 3),
        (answer(403, "secondary rate limit", x_ratelimit_remaining="0"), "secondary", 60),
        (answer(429, x_ratelimit_remaining="4771"), "secondary", 60),
        (answer(429, retry_after="soon"), "secondary", 60),
        (answer(429, retry_after="99999999"), "secondary", MOST_WAIT_S),
    ],
)
def test_limits_by_headers_first_and_words_second(given: Answer, kind: str, wait_s: float) -> None:
    error = limit(given)
    assert (error.kind, error.retry_at) == (kind, NOW + wait_s)


def test_a_limit_without_a_time_doubles_up_to_64_minutes() -> None:
    waits = [limit(answer(403, "secondary rate limit"), strikes).retry_at - NOW for strikes in range(1, 10)]
    assert waits == [60, 120, 240, 480, 960, 1920, 3840, 3840, 3840]


def test_times_are_by_the_server_s_clock() -> None:
    behind = http_date("Fri, 15 Jan 2027 08:00:00 GMT")
    assert behind is not None
    given = answer(
        403,
        x_ratelimit_remaining="0",
        x_ratelimit_reset=str(int(behind) + 600),
        date="Fri, 15 Jan 2027 08:00:00 GMT",
    )
    error = failure(given, CALL, now=behind + 5000)
    assert isinstance(error, Limited)
    assert error.retry_at == behind + 5000 + 601


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (answer(403, "Resource not accessible by integration"), NotPermitted),
        (answer(403, "Resource not accessible by integration", x_ratelimit_remaining="1"), NotPermitted),
        (answer(403, "unable to create comment because ISSUE IS LOCKED."), IssueLocked),
        (answer(422, "API rate limit exceeded is a fine title"), RemoteError),
    ],
)
def test_what_is_no_limit(given: Answer, kind: type[RemoteError]) -> None:
    error = failure(given, CALL, now=NOW)
    assert isinstance(error, kind)
    assert not isinstance(error, Limited)


@pytest.mark.parametrize(
    ("scope", "kind"), [("repository", RepositoryMissing), ("issue", Missing), ("comment", Missing)]
)
@pytest.mark.parametrize("status", [404, 410])
def test_what_is_missing_depends_on_what_was_asked_for(
    scope: Scope, kind: type[RemoteError], status: int
) -> None:
    error = failure(answer(status, "Not Found"), Call("x", "y", scope), now=NOW)
    assert type(error) is kind


def test_a_message_names_operation_target_status_and_github_s_words() -> None:
    body = {
        "message": "Validation Failed",
        "errors": [{"resource": "Issue", "code": "missing_field", "field": "title"}, "plain", 7, {}],
    }
    error = failure(Answer(422, {}, json.dumps(body).encode()), CALL, now=NOW)
    assert str(error) == (
        "create_comment (issue 5 of o/r): GitHub answered 422: Validation Failed: title missing_field; plain"
    )


@given(
    st.integers(400, 599),
    st.dictionaries(
        st.sampled_from(["retry-after", "date", "x-ratelimit-remaining", "x-ratelimit-reset", "link"]),
        st.one_of(st.text(max_size=40), st.integers(-(10**20), 10**20).map(str)),
    ),
    st.one_of(
        st.binary(max_size=300),
        st.recursive(
            st.one_of(st.none(), st.integers(), st.text(max_size=30)),
            lambda inner: st.one_of(
                st.lists(inner, max_size=3),
                st.dictionaries(st.sampled_from(["message", "errors", "code", "documentation_url"]), inner),
            ),
            max_leaves=8,
        ).map(lambda value: json.dumps(value).encode()),
    ),
    st.sampled_from(["repository", "issue", "comment", "account"]),
)
def test_every_refusal_is_an_error_fit_to_be_shown(
    status: int, headers: dict[str, str], body: bytes, scope: Scope
) -> None:
    error = failure(Answer(status, headers, body), Call("x", "y", scope), now=NOW)
    assert error is not None
    assert str(error).isprintable()
    assert len(str(error)) < WORDS + 60
    assert error.status == status
    assert error.hint
    if error.retry_at is not None:
        assert NOW < error.retry_at <= NOW + MOST_WAIT_S


@pytest.mark.parametrize(
    ("link", "url"),
    [
        ("", None),
        ('<https://h/a?page=2>; rel="next", <https://h/a?page=5>; rel="last"', "https://h/a?page=2"),
        ('<https://h/a?page=1>; rel="prev", <https://h/a?page=3>; rel="next"', "https://h/a?page=3"),
        ('<https://h/a?page=1>; rel="prev", <https://h/a?page=1>; rel="first"', None),
        ("<https://h/a?x=1,2>;rel=next", "https://h/a?x=1,2"),
        ('<https://h/a>; title="rel=next"; rel="last"', None),
        ('<https://h/a>; rel="nextish"', None),
        ("rel=next", None),
    ],
)
def test_the_next_page(link: str, url: str | None) -> None:
    assert next_page(link) == url


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2027-01-15 08:00:00 UTC", 1_800_000_000),
        ("2027-01-15 00:00:00 -0800", 1_800_000_000),
        ("2027-01-15T08:00:00Z", 1_800_000_000),
        ("never", None),
        ("", None),
    ],
)
def test_when_a_token_ends(text: str, at: float | None) -> None:
    assert expiry(text) == at


def test_dates_and_waits() -> None:
    assert http_date("Fri, 15 Jan 2027 08:00:00 GMT") == NOW
    assert http_date("Fri, 15 Jan 2027 08:00:00") == NOW
    assert http_date("yesterday") is None
    assert wanted_wait_s(answer(429), NOW) is None
    assert wanted_wait_s(answer(429, retry_after="Fri, 15 Jan 2027 08:01:00 GMT"), NOW) == 60


def test_limits_need_all_three_numbers() -> None:
    headers = {
        "x-ratelimit-limit": "5000",
        "x-ratelimit-remaining": "4999",
        "x-ratelimit-reset": "1800000000",
    }
    found = rate_limit(Answer(200, headers, b""))
    assert found is not None
    assert found[0] == "core"
    for name in headers:
        assert rate_limit(Answer(200, headers | {name: "many"}, b"")) is None


def test_one_line() -> None:
    assert one_line(" a\n\tb\x1b[0m\u202e c ") == "a b[0m c"
    assert one_line("x" * 300) == "x" * (WORDS - 1) + "…"


def test_a_page_is_told_from_github_s_words() -> None:
    assert problem(b"<html>no</html>").words == ""
    assert not problem(b'{"error": "no"}').ours
    assert problem(b'{"message": "no"}').ours
