"""The gate on whatever a transcript may hold."""

import json

from hypothesis import given
from hypothesis import strategies as st

from sessionsync.privacy.gate import Gate

ALNUM = "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8s9T0u1V2w3X4y5Z6"
KEY = f"-----BEGIN PRIVATE KEY-----\n{ALNUM}\n{ALNUM}\n-----END PRIVATE KEY-----"
SECRETS = [
    "ghp_" + ALNUM[:36],
    "AKIA" + "IOSFODNN7EXAMPLE",
    "sk-ant-" + ALNUM,
    "postgres://u:hunter2@db/x",
    "password=hunter2",
    '"token": "0123456789abcdef"',
    "Bearer 0123456789abcdef",
    KEY,
]
GATE = Gate(patterns=[r"ACME-\d+", "[}{]+"], allow=["ACME-7"])

# What surrounds secrets: words, and the signs that JSON, shells and rules stumble over.
noise = st.text(st.sampled_from("ab1= :;,.'\"\\/@-_{}[]\n\té…😀\ud83d"), max_size=30)
texts = st.lists(st.one_of(noise, st.sampled_from([*SECRETS, "ACME-12", "ACME-7"])), max_size=8).map("".join)
values = st.recursive(
    st.one_of(texts, st.integers(), st.none(), st.booleans(), st.floats(allow_nan=False)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=4)),
    max_leaves=8,
)
documents = st.builds(
    lambda value, ascii_only: json.dumps({"v": value}, ensure_ascii=ascii_only).encode(
        "utf-8", "surrogatepass"
    ),
    values,
    st.booleans(),
)


@given(documents)
def test_json_stays_json_of_the_same_shape(data: bytes) -> None:
    cleared, _ = GATE.data("a.jsonl", data)
    before, after = (
        json.loads(data.decode("utf-8", "surrogatepass")),
        json.loads(cleared.decode("utf-8", "surrogatepass")),
    )
    assert shape(before) == shape(after)


def shape(value: object) -> object:
    if isinstance(value, list):
        return [shape(item) for item in value]
    if isinstance(value, dict):
        return "object"
    return "text" if isinstance(value, str) else value


@given(
    st.lists(st.one_of(documents, texts.map(lambda t: t.encode("utf-8", "surrogatepass"))), max_size=6),
    st.integers(0, 6),
)
def test_lines_are_redacted_one_by_one(lines: list[bytes], at: int) -> None:
    lines = [
        piece + b"\n" for line in lines for piece in line.split(b"\n") if b"PRIVATE KEY-----" not in piece
    ]
    first, rest = b"".join(lines[:at]), b"".join(lines[at:])
    whole, count = GATE.data("a.jsonl", first + rest)
    halves = GATE.data("a.jsonl", first), GATE.data("a.jsonl", rest)
    assert (whole, count) == (halves[0][0] + halves[1][0], halves[0][1] + halves[1][1])
    assert GATE.data("a.jsonl", first + rest) == (whole, count)


@given(texts, st.sampled_from(SECRETS), texts)
def test_a_secret_between_blanks_is_always_found(before: str, secret: str, after: str) -> None:
    cleared, count = Gate().text(f"{before} {secret} {after}")
    assert count >= 1
    kept = {"postgres://u:hunter2@db/x": "u:hunter2@", KEY: ALNUM}.get(secret, secret)
    around = f"{before} {after}"
    assert cleared.count(kept) <= around.count(kept)


@given(texts, texts)
def test_twice_is_once(before: str, after: str) -> None:
    gate = Gate()
    once, _ = gate.text(before + after)
    twice, _ = gate.text(once)
    assert gate.text(twice)[0] == twice


@given(st.binary(max_size=300))
def test_any_bytes_pass(data: bytes) -> None:
    cleared, count = GATE.data("x.bin", data)
    assert (cleared == data) == (count == 0)
