"""Whatever a session is, its comments fit, verify, and give back what went in; whatever a comment is, it is read."""

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sessionsync.errors import RecordError
from sessionsync.model import CheckpointEntry, Context, CriticalData, FileEntry, Summary, Tier, rfc3339
from sessionsync.privacy.gate import Gate
from sessionsync.remote import comments
from tests.unit.test_comments import Listed, fences, read, record_in

GATE = Gate(redact=False)

hostile = st.sampled_from(
    [
        "`",
        "```json\n",
        "\n",
        "@alice ",
        "#1",
        "</details>",
        "-->",
        "<!-- sessiond v1 ",
        "\u202e",
        "\x00",
        "é",
        "😀",
        "\\",
        '"',
        "x" * 300,
    ]
)
texts = st.lists(st.one_of(hostile, st.text(max_size=20)), max_size=12).map("".join)
names = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/"), min_size=1, max_size=40
).filter(lambda name: name not in {".", ".."} and len(name.encode()) <= 120)
paths = st.lists(names, min_size=1, max_size=3).map("/".join)
entries = st.lists(texts, max_size=60)
sizes = st.integers(4096, 65_536)


@st.composite
def drafts(draw: st.DrawFn, tier: Tier) -> tuple[comments.Draft, dict[str, bytes]]:
    files = draw(st.dictionaries(paths, st.binary(max_size=3000), max_size=8))
    count = draw(st.integers(0, 60))
    listed = [Listed(FileEntry(path, len(data), "0" * 64)) for path, data in files.items()]
    draft = comments.clear(
        GATE,
        session_id=draw(names),
        source=draw(st.sampled_from(["claude", "structured", "note"])),
        tier=tier,
        size=sum(map(len, files.values())),
        summary=Summary(
            title=draw(texts),
            status=draw(texts),
            critical=CriticalData(draw(entries), [], draw(texts), draw(entries)),
            quality=draw(st.dictionaries(texts, st.floats(), max_size=4)),
        ),
        checkpoints=[CheckpointEntry(f"c{n}", rfc3339(n), "Stop") for n in range(count)],
        project=draw(texts),
        local_path=draw(paths),
        host=draw(texts),
        machine="1a2b3c4d",
        updated_at=rfc3339(draw(st.integers(0, 2**31))),
        context=Context(branch=draw(texts), repo=draw(texts), commit="a" * 40),
        files=None if tier is Tier.GITHUB_ONLY else listed,
        contents=list(files.items()) if tier is Tier.GITHUB_ONLY else None,
    )
    return draft, files


@pytest.mark.parametrize("tier", list(Tier))
@settings(max_examples=60)
@given(data=st.data(), comment_bytes=sizes, revision=st.integers(1, 10**12))
def test_what_is_rendered_fits_and_is_read_back(
    tier: Tier, data: st.DataObject, comment_bytes: int, revision: int
) -> None:
    draft, files = data.draw(drafts(tier))
    bodies = [str(body) for body in comments.render(draft, revision=revision, comment_bytes=comment_bytes)]
    assert all(len(body.encode()) < comment_bytes for body in bodies)
    assert all(body == comments.normalise(body) for body in bodies)
    for chunk in fences(bodies[0], "sessiond"):
        assert len(bodies) == 1 or chunk.count("\n") >= 7
    record, restored = read(bodies[::-1])
    assert restored == (files if tier is Tier.GITHUB_ONLY else None)
    assert (record.revision, record.parts, record.files_total) == (revision, len(bodies), len(files))
    shown = record_in(bodies[0])
    (block,) = fences(bodies[0], "json")
    fence = re.search("^(`+)json$", bodies[0], re.MULTILINE)
    assert fence
    assert len(fence[1]) > max(map(len, re.findall("`+", block)), default=0)
    assert max(map(len, strings(shown["critical_data"])), default=0) <= 500
    critical = draft.record.critical_data
    for key, whole in (("decisions", critical.decisions), ("next_steps", critical.next_steps)):
        kept = shown["critical_data"][key]
        assert all(
            old.startswith(new.removesuffix("…")) for old, new in zip(whole[::-1], kept[::-1], strict=False)
        )
    edited = [f"mine\r\n{body}  \r\n".replace("\n", "\r\n").replace("\r\r\n", "\r\n") for body in bodies]
    assert read(edited)[1] == restored


def strings(value: object) -> list[str]:
    if isinstance(value, dict):
        return [text for item in value.values() for text in strings(item)]
    if isinstance(value, list):
        return [text for item in value for text in strings(item)]
    return [value] if isinstance(value, str) else []


@settings(max_examples=60)
@given(drafts(Tier.GITHUB_ONLY), sizes, st.dictionaries(st.integers(1, 5), texts, max_size=3))
def test_what_a_person_wrote_is_kept(
    drafted: tuple[comments.Draft, dict[str, bytes]], comment_bytes: int, kept: dict[int, str]
) -> None:
    draft, files = drafted
    bodies = [
        str(body) for body in comments.render(draft, revision=1, comment_bytes=comment_bytes, kept=kept)
    ]
    assert all(len(body.encode()) < 65_536 for body in bodies)
    assert read(bodies)[1] == files
    found = "\n".join(comments.outside(body) for body in bodies)
    for text in kept.values():
        for line in comments.normalise(text).strip("\n").split("\n"):
            assert line.rstrip() in found


@settings(max_examples=200)
@given(drafts(Tier.GITHUB_ONLY), st.data())
def test_a_changed_comment_is_refused_or_says_the_same(
    drafted: tuple[comments.Draft, dict[str, bytes]], data: st.DataObject
) -> None:
    draft, files = drafted
    bodies = [str(body) for body in comments.render(draft, revision=3, comment_bytes=8192)]
    which = data.draw(st.integers(0, len(bodies) - 1))
    body = bodies[which]
    at, end = sorted(data.draw(st.tuples(*[st.integers(0, len(body))] * 2)))
    bodies[which] = (
        body[:at]
        + data.draw(st.one_of(hostile, st.text(max_size=5)))
        + body[data.draw(st.sampled_from([at, at + 1, end])) :]
    )
    comments.outside(bodies[which])
    result = outcome(bodies)
    if isinstance(result, RecordError):
        assert str(result)
        assert result.hint
    else:
        assert result[1] == files
        assert result[0].files_total == len(files)


def outcome(bodies: list[str]) -> tuple[comments.Record, dict[str, bytes] | None] | RecordError:
    try:
        return read(bodies)
    except RecordError as error:
        return error


MARKER = "<!-- sessiond v1 session=s part=1/1 revision=1 sha256=%s -->"
JSON = json.dumps(
    {"session_id": "s", "tier": "github_only", "size": 1, "local_path": "", "critical_data": {}}
)
PIECES = [
    MARKER % ("0" * 64), MARKER.replace("1/1", "2/2") % ("0" * 64), f"<!-- /sessiond sha256={'0' * 64} -->",
    "```json", "```sessiond", "```", "~~~", "````", "<details>", "</details>", JSON, JSON.replace("1", "1e99"),
    "AAAA", "{", "", "[" * 9000, "`" * 9000, " " * 9000, "-" * 9000, "\r",
]  # fmt: skip


@settings(max_examples=300)
@given(st.lists(st.one_of(st.sampled_from(PIECES), texts), max_size=12), st.booleans())
def test_anything_is_read_without_an_error(lines: list[str], signed: bool) -> None:
    text = "\n".join(lines)
    body = f"{MARKER % comments.text_hash(text)}\n{text}" if signed else text
    comments.outside(body)
    comments.outside_index(body)
    comments.parse_project_marker(body)
    result = outcome([body])
    assert not isinstance(result, RecordError) or result.hint


@settings(max_examples=40)
@given(
    st.lists(st.tuples(names, texts, st.integers(0, 9)), max_size=40),
    st.text("é\n`@#<x ", max_size=20000),
    texts,
)
def test_an_index_is_bounded_and_found(rows: list[tuple[str, str, int]], key: str, kept: str) -> None:
    entries = [comments.IndexEntry(name, title, "hybrid", comment) for name, title, comment in rows]
    body = comments.render_issue_body(GATE, key, entries, kept=kept)
    assert len(body.encode("utf-8", "replace")) < 60_000
    assert comments.parse_project_marker(body) == (comments.project_hash(key), 1)
    assert sum(line.startswith("- ") for line in body.split("<!-- /sessiond")[0].split("\n")) == len(entries)


@given(st.text(max_size=40))
def test_ids_come_back(session_id: str) -> None:
    text = session_id.encode("utf-8", "replace").decode()
    assert comments.decode_id(comments.encode_id(text)) == text
    assert re.fullmatch(r"[A-Za-z0-9._~%-]*", comments.encode_id(text))
