"""The format of a session's comment, to the letter: as a reader from outside sees it."""

import base64
import dataclasses
import hashlib
import io
import json
import random
import re
import tarfile
from typing import Any

import msgspec
import pytest
import zstandard

from sessionsync.errors import RecordError, RedactionFailed
from sessionsync.model import CheckpointEntry, Context, CriticalData, FileEntry, Summary, Tier, rfc3339
from sessionsync.privacy.gate import Gate
from sessionsync.remote import comments
from sessionsync.remote.comments import payload
from sessionsync.remote.comments.inert import code, plain, shell_word

SID = "4f1b6c7a-52d0-4c35-9a0e-2f4f6b1c7d11"
MARKER = re.compile(
    r"<!-- sessiond v1 session=(\S+) part=(\d+)/(\d+) revision=(\d+) sha256=([0-9a-f]{64}) -->"
)
KEYS = [
    "session_id", "tier", "size", "critical_data", "local_path", "schema", "revision", "source", "title", "host", "machine",
    "updated_at", "sha256", "parts", "redactions", "context", "files", "files_total",
]  # fmt: skip
CRITICAL_KEYS = ["decisions", "checkpoints", "current_phase", "next_steps"]
TOKEN = "ghp_" + "a1B2" * 9
NOW = 1_795_000_000.0
FILES = [
    (f"{SID}.jsonl", b'{"type":"user","text":"hello"}\n'),
    (f"{SID}/subagents/agent-1.jsonl", b'{"a":"\xc3\xa9"}\n'),
]


@dataclasses.dataclass
class Listed:
    """A file's digest, as whoever pushes makes it."""

    entry: FileEntry
    redactions: int = 0


def listed(count: int) -> list[Listed]:
    return [
        Listed(FileEntry(f"f{n:05}.jsonl", n * 7 % 1000, hashlib.sha256(b"%d" % n).hexdigest()))
        for n in range(count)
    ]


def checkpoints(count: int) -> list[CheckpointEntry]:
    return [CheckpointEntry(f"c{n}", rfc3339(NOW + n), "Stop") for n in range(count)]


def make_draft(tier: Tier = Tier.GITHUB_ONLY, gate: Gate | None = None, **changes: Any) -> comments.Draft:
    said: dict[str, Any] = {
        "session_id": SID,
        "source": "claude",
        "tier": tier,
        "size": 1234,
        "summary": Summary(
            title="Fix the login",
            status="in_progress",
            critical=CriticalData(["Use Redis", "No cookies"], [], "implementation", ["Write tests", "Ship"]),
            quality={"coverage": 0.83},
        ),
        "checkpoints": checkpoints(2),
        "project": "webshop",
        "local_path": f"projects/-home-me-webshop/{SID}.jsonl",
        "host": "laptop",
        "machine": "1a2b3c4d",
        "updated_at": rfc3339(NOW),
        "context": Context(repo="o/webshop", branch="fix/login", commit="c" * 40, issue=4),
    }
    said |= {"contents": FILES} if tier is Tier.GITHUB_ONLY else {"files": listed(3)}
    return comments.clear(gate or Gate(), **(said | changes))


def make_summary(critical: CriticalData | None = None, **changes: Any) -> Summary:
    return Summary(critical=critical or CriticalData(), **changes)


def render(
    draft: comments.Draft, revision: int = 7, comment_bytes: int = 46_080, kept: Any = ""
) -> list[str]:
    return list(comments.render(draft, revision=revision, comment_bytes=comment_bytes, kept=kept or {}))


def read(bodies: list[str]) -> tuple[comments.Record, dict[str, bytes] | None]:
    return comments.assemble(part for body in bodies if (part := comments.parse(body)))


def fences(body: str, info: str) -> list[str]:
    """The contents of all fenced blocks with this info string, found without the code under test."""
    pattern = rf"^(?P<fence>`{{3,}}){info}\n(?P<text>.*?)^(?P=fence)`*$"
    return [
        match["text"].removesuffix("\n") for match in re.finditer(pattern, body, re.MULTILINE | re.DOTALL)
    ]


def record_in(body: str) -> dict[str, Any]:
    (block,) = fences(body, "json")
    record = json.loads(block)
    assert isinstance(record, dict)
    return record


def parsed(body: str) -> comments.Part:
    part = comments.parse(body)
    assert part is not None
    return part


def remade(body: str, old: str, new: str) -> str:
    """Change a body as a writer would, with hashes that fit."""
    lines = body.replace(old, new).split("\n")
    rest = "\n".join(line for line in lines[1:] if not line.startswith("<!-- /sessiond"))
    return f"{re.sub('sha256=[0-9a-f]+', f'sha256={comments.text_hash(rest)}', lines[0])}\n{rest}"


class TestMarker:
    def test_is_the_first_line_to_the_byte(self) -> None:
        (body,) = render(make_draft())
        first, rest = body.split("\n", 1)
        assert (
            first
            == f"<!-- sessiond v1 session={SID} part=1/1 revision=7 sha256={hashlib.sha256(rest.encode()).hexdigest()} -->"
        )

    @pytest.mark.parametrize("comment_bytes", [4096, 65_536])
    def test_every_reading_of_trailing_blanks_gives_the_hash(self, comment_bytes: int) -> None:
        files = [("a.jsonl", random.Random(1).randbytes(9000))]
        for body in render(make_draft(contents=files), comment_bytes=comment_bytes):
            first, rest = body.split("\n", 1)
            marker = MARKER.fullmatch(first)
            assert marker
            readings = (rest, rest.strip(), "\n".join(line.rstrip() for line in rest.splitlines()).strip())
            assert {hashlib.sha256(text.encode()).hexdigest() for text in readings} == {marker[5]}

    @pytest.mark.parametrize(
        ("session_id", "encoded"),
        [
            (SID, SID),
            ("note.web shop.2026-01-17", "note.web%20shop.2026-01-17"),
            ("a/b~c_d%-->é", "a%2Fb~c_d%25--%3E%C3%A9"),
            ("\n`<", "%0A%60%3C"),
            ("caf\udce9", "caf%E9"),  # a file name that is no UTF-8
        ],
    )
    def test_ids_are_percent_encoded(self, session_id: str, encoded: str) -> None:
        assert comments.encode_id(session_id) == encoded
        assert comments.decode_id(encoded) == session_id
        (body,) = render(make_draft(session_id=session_id))
        assert body.startswith(f"<!-- sessiond v1 session={encoded} part=1/1 ")
        assert parsed(body).session_id == session_id
        assert read([body])[1] == dict(FILES)

    @pytest.mark.parametrize(
        "line",
        [
            "",
            "<!-- sessiond v2 session=a part=1/1 revision=1 sha256=" + "0" * 64 + " -->",
            "<!-- sessiond v1 session=a part=1/1 revision=1 sha256=" + "0" * 63 + " -->",
            "<!-- sessiond v1 session=a b part=1/1 revision=1 sha256=" + "0" * 64 + " -->",
            "> <!-- sessiond v1 session=a part=1/1 revision=1 sha256=" + "0" * 64 + " -->",
            "x <!-- sessiond v1 session=a part=1/1 revision=1 sha256=" + "0" * 64 + " -->",
            "```\n<!-- sessiond v1 session=a part=1/1 revision=1 sha256=" + "0" * 64 + " -->\n```",
            "<!-- sessiond v1 project=" + "0" * 64 + " -->",
        ],
    )
    def test_what_is_none_is_none(self, line: str) -> None:
        assert comments.parse(line + "\ntext") is None
        assert comments.outside(line) == ""


class TestRecord:
    def test_has_the_keys_in_their_order(self) -> None:
        for tier in Tier:
            record = record_in(render(make_draft(tier))[0])
            assert list(record) == KEYS
            assert list(record["critical_data"])[:4] == CRITICAL_KEYS
            assert list(record["context"]) == ["repo", "branch", "commit", "issue", "pr", "run_id"]
            assert list(record["files"][0]) == ["path", "size", "sha256"]

    def test_says_what_was_given(self) -> None:
        assert record_in(render(make_draft())[0]) == {
            "session_id": SID,
            "tier": "github_only",
            "size": 1234,
            "critical_data": {
                "decisions": ["Use Redis", "No cookies"],
                "checkpoints": [{"id": f"c{n}", "at": rfc3339(NOW + n), "trigger": "Stop"} for n in range(2)],
                "current_phase": "implementation",
                "next_steps": ["Write tests", "Ship"],
            },
            "local_path": f"projects/-home-me-webshop/{SID}.jsonl",
            "schema": 1,
            "revision": 7,
            "source": "claude",
            "title": "Fix the login",
            "host": "laptop",
            "machine": "1a2b3c4d",
            "updated_at": "2026-11-18T11:06:40Z",
            "sha256": canonical_hash([file_entry(name, data) for name, data in FILES]),
            "parts": 1,
            "redactions": 0,
            "context": {
                "repo": "o/webshop",
                "branch": "fix/login",
                "commit": "c" * 40,
                "issue": 4,
                "pr": 0,
                "run_id": 0,
            },
            "files": [file_entry(name, data) for name, data in FILES],
            "files_total": 2,
        }

    def test_the_hash_is_of_the_complete_list(self) -> None:
        files = listed(100)
        record = record_in(render(make_draft(Tier.HYBRID, files=files[::-1]))[0])
        assert record["sha256"] == canonical_hash([msgspec.to_builtins(file.entry) for file in files])
        assert record["files_total"] == 100
        assert [file["path"] for file in record["files"]] == sorted(file["path"] for file in record["files"])
        largest = sorted(files, key=lambda file: -file.entry.size)[:20]
        assert {file["path"] for file in record["files"]} == {file.entry.path for file in largest}

    @pytest.mark.parametrize(
        ("tier", "kept"), [(Tier.GITHUB_ONLY, 50), (Tier.HYBRID, 50), (Tier.LOCAL_PRIMARY, 10)]
    )
    def test_keeps_the_newest_entries(self, tier: Tier, kept: int) -> None:
        critical = CriticalData([f"d{n}" for n in range(70)], [], "", [f"s{n}" for n in range(5)])
        draft = make_draft(tier, summary=make_summary(critical), checkpoints=checkpoints(60))
        said = record_in(render(draft)[0])["critical_data"]
        assert said["decisions"] == [f"d{n}" for n in range(70 - kept, 70)]
        assert [entry["id"] for entry in said["checkpoints"]] == [f"c{n}" for n in range(60 - kept, 60)]
        assert said["next_steps"] == [f"s{n}" for n in range(5)]
        assert said["dropped"] == 130 - 2 * kept

    def test_dropped_is_there_where_it_says_something(self) -> None:
        assert list(record_in(render(make_draft(Tier.HYBRID))[0])["critical_data"]) == CRITICAL_KEYS
        assert record_in(render(make_draft(Tier.LOCAL_PRIMARY))[0])["critical_data"]["dropped"] == 0

    def test_cuts_long_texts_but_no_names(self) -> None:
        critical = CriticalData(["d" * 501, "e" * 500], [], "p" * 600, ["s" * 9000])
        context = Context(repo="r" * 501, branch="b" * 501)
        summary = make_summary(critical, title="t" * 501)
        record = record_in(
            render(make_draft(summary=summary, contents=[("n" * 900, b"x")], context=context))[0]
        )
        assert [len(record["context"][key]) for key in ("repo", "branch")] == [500, 500]
        assert record["title"] == "t" * 499 + "…"
        said = record["critical_data"]
        assert said["decisions"] == ["d" * 499 + "…", "e" * 500]
        assert said["current_phase"] == "p" * 499 + "…"
        assert said["next_steps"] == ["s" * 499 + "…"]
        assert record["files"][0]["path"] == "n" * 900

    def test_files_go_before_entries_and_old_entries_before_new(self) -> None:
        critical = CriticalData([f"{n} " + "d" * 90 for n in range(50)], [], "", [])
        draft = make_draft(Tier.HYBRID, summary=make_summary(critical), checkpoints=[], files=listed(20))
        shown = [record_in(render(draft, comment_bytes=size)[0]) for size in (16_384, 7000, 5000)]
        assert [len(record["files"]) for record in shown] == [20, 0, 0]
        assert [record["files_total"] for record in shown] == [20] * 3
        kept = [record["critical_data"]["decisions"] for record in shown]
        assert len(kept[0]) == len(kept[1]) == 50 > len(kept[2]) > 5
        assert kept[2] == critical.decisions[-len(kept[2]) :]
        assert shown[2]["critical_data"]["dropped"] == 50 - len(kept[2])
        assert "dropped" not in shown[1]["critical_data"]

    def test_the_fence_is_longer_than_any_run_of_backticks(self) -> None:
        summary = make_summary(
            CriticalData(["x" + "`" * 40], [], "", ["```json"]), title="```\n```json\n{}\n```"
        )
        (body,) = render(make_draft(summary=summary))
        opened = [line for line in body.split("\n") if line.endswith("json") and line.startswith("```")]
        assert opened == ["`" * 41 + "json"]
        assert record_in(body)["critical_data"]["decisions"] == ["x" + "`" * 40]
        assert read([body])[1] == dict(FILES)

    def test_only_part_1_has_one(self) -> None:
        bodies = render(make_draft(contents=[("a", random.Random(1).randbytes(9000))]), comment_bytes=4096)
        assert [len(fences(body, "json")) for body in bodies] == [1, *[0] * (len(bodies) - 1)]
        assert len(bodies) > 3

    def test_what_acts_is_written_out(self) -> None:
        title = "@alice #1 GH-2 o/r#3 https://github.com/o/r/issues/4 </details> <!-- \u202e"
        (body,) = render(make_draft(summary=make_summary(title=title)))
        (block,) = fences(body, "json")
        assert json.loads(block)["title"] == title
        for acts in ("@alice", "#1", "GH-2", "r#3", "/issues/", "</details", "<!--", "\u202e"):
            assert acts not in block


class TestPayload:
    def test_is_base64_of_a_plain_zstd_tar(self) -> None:
        files = [("b/é.json", b"{}"), ("a.jsonl", random.Random(1).randbytes(9000)), ("empty", b"")]
        bodies = render(make_draft(contents=files), comment_bytes=4096)
        chunks = [block for body in bodies for block in fences(body, "sessiond")]
        assert max(len(line) for chunk in chunks for line in chunk.split("\n")) == 76
        packed = base64.b64decode("".join(chunks))
        assert packed == b"".join(base64.b64decode(chunk) for chunk in chunks)  # each chunk also by itself
        tarred = zstandard.ZstdDecompressor().stream_reader(packed).read()
        with tarfile.open(fileobj=io.BytesIO(tarred)) as tar:
            entries = tar.getmembers()
            contents = [file.read() for entry in entries if (file := tar.extractfile(entry))]
        assert [entry.name for entry in entries] == ["a.jsonl", "b/é.json", "empty"]
        assert {(e.mode, e.mtime, e.uid, e.gid, e.uname, e.gname, e.type) for e in entries} == {
            (0o600, 0, 0, 0, "", "", tarfile.REGTYPE)
        }
        assert contents == [files[1][1], files[0][1], b""]

    def test_lies_in_details(self) -> None:
        (body,) = render(make_draft())
        assert body.count("<details>") == body.count("</details>") == 2
        assert (
            body.index("<details>")
            < body.index("```json")
            < body.index("```sessiond")
            < body.rindex("</details>")
        )

    def test_is_there_for_github_only_alone(self) -> None:
        for tier in (Tier.HYBRID, Tier.LOCAL_PRIMARY):
            (body,) = render(make_draft(tier))
            assert fences(body, "sessiond") == []
            assert read([body])[1] is None

    @pytest.mark.parametrize("comment_bytes", [4096, 5000, 46_080, 65_536])
    def test_comes_back_identical(self, comment_bytes: int) -> None:
        files = [("a.jsonl", random.Random(2).randbytes(46_000)), ("b", b"\r\n \x00")]
        bodies = render(make_draft(contents=files), comment_bytes=comment_bytes)
        assert all(len(body.encode()) < comment_bytes for body in bodies)
        record, restored = read(bodies[::-1])
        assert restored == dict(files)
        assert record.parts == len(bodies)

    def test_many_empty_files(self) -> None:
        files = [(f"artifacts/{n:05}.txt", b"") for n in range(5000)]
        bodies = render(make_draft(contents=files))
        record, restored = read(bodies)
        assert restored == dict(files)
        assert record.files_total == 5000 > len(record.files)

    def test_is_the_same_for_the_same_files(self) -> None:
        assert payload.pack(FILES) == payload.pack(FILES[::-1])
        assert render(make_draft()) == render(make_draft(contents=FILES[::-1]))

    def test_has_a_limit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(payload, "TAR_BYTES", 100_000)
        with pytest.raises(RecordError, match="more than a comment can carry"):
            make_draft(contents=[("a", bytes(200_000))])


class TestSummary:
    def test_tells_what_a_person_wants_to_know(self) -> None:
        (body,) = render(make_draft())
        shown = body.split("<details>")[0].split("\n", 1)[1]
        assert shown == (
            "### Fix the login\n"
            "\n"
            "**Project** webshop · **Host** laptop · **Branch** `fix/login` · **Phase** implementation"
            " · **Status** in progress · **Updated** 2026-11-18 11:06 UTC\\\n"
            "**Quality** coverage 0.83\n"
            "\n"
            "**Decided**\n"
            "- No cookies\n"
            "- Use Redis\n"
            "\n"
            "**Next**\n"
            "- Write tests\n"
            "- Ship\n"
            "\n"
            "**Resume**\n"
            "\n"
            "```sh\n"
            f"sessiond restore {SID}\n"
            f"claude --resume {SID}\n"
            "```\n"
            "\n"
            "<sub>Tier `github_only` · 1.2 KB in 2 files · all bytes are in this comment</sub>\n"
            "\n"
        )

    @pytest.mark.parametrize(
        ("tier", "changes", "expected"),
        [
            (
                Tier.HYBRID,
                {},
                "Tier `hybrid` · 1.2 KB in 3 files · the critical data is here, all bytes are in the backup on laptop",
            ),
            (
                Tier.HYBRID,
                {"archived": True},
                "all bytes are in the backup on laptop and go to the archive</sub>",
            ),
            (
                Tier.LOCAL_PRIMARY,
                {"size": 5 * 1024 * 1024},
                "Tier `local_primary` · 5.0 MB in 3 files · only a summary is here",
            ),
            (Tier.HYBRID, {"promoted_from": Tier.GITHUB_ONLY}, "Tier `hybrid`, grown from `github_only` ·"),
            (
                Tier.HYBRID,
                {"files": [Listed(FileEntry("a", 1, None, "0" * 64), 1)]},
                "1 secret was redacted before it left laptop",
            ),
            (Tier.HYBRID, {"files": [Listed(FileEntry("a", 1, None, "0" * 64), 3)]}, "1 file · the"),
        ],
    )
    def test_says_where_the_bytes_are(self, tier: Tier, changes: dict[str, Any], expected: str) -> None:
        (body,) = render(make_draft(tier, **changes))
        assert expected in body

    def test_only_a_transcript_is_resumed_by_the_agent(self) -> None:
        (body,) = render(make_draft(source="structured", session_id="my session"))
        assert "```sh\nsessiond restore 'my session'\n```" in body

    def test_long_lists_are_cut_short(self) -> None:
        critical = CriticalData([f"d{n}" for n in range(9)], [], "", [f"s{n}" for n in range(6)])
        (body,) = render(make_draft(summary=make_summary(critical)))
        assert "- d8\n- d7\n- d6\n- d5\n- d4\n- and 4 more, in the record below\n" in body
        assert "- s0\n- s1\n- s2\n- s3\n- s4\n- and 1 more, in the record below\n" in body

    def test_a_session_without_anything_to_tell(self) -> None:
        summary = make_summary()
        (body,) = render(make_draft(summary=summary, checkpoints=[], context=Context(), host="", project=""))
        assert body.split("\n")[1:5] == ["### Untitled session", "", "**Updated** 2026-11-18 11:06 UTC", ""]


HOSTILE = [
    "@alice and @org/team, mail me@example.com",
    "Duplicate of #1, see GH-2, o/r#3, o/r@" + "a" * 40 + " and " + "deadbeef" * 5,
    "https://github.com/o/r/issues/4 github.com/o/r/pull/5 www.example.com",
    "`@alice` ``#1`` ```\n```json\n{}\n```",
    "</details></summary><script>alert(1)</script><img src=x onerror=y>",
    "--> <!-- sessiond v1 session=x part=1/1 revision=9 sha256=" + "0" * 64 + " -->",
    "\n<!-- /sessiond sha256=" + "0" * 64 + " -->\n@alice",
    "# not a heading\n- not a list\n> no quote\n---\n===",
    "1. no list", "- no list", "+ no list", "***", "___", "~~~", "$x$ and $$y$$", "[a](javascript:b) ![c](d) [x]: y [^1]",
    "&#64;alice &commat;alice &lt;", "*a* _b_ __c__ ~~d~~ \\@alice \\#1",
    "\u202eevil\u2066 \u200b@\u200balice\ufeff \x00\x1b[31m\x07\x85\u2028\u2029",
    "| a | b |\n|---|---|\n| @alice | #1 |",
    "@", "#", "`", "``", "\\", "\\`@alice\\`", "a`b", "` @alice `", "@alice`", "`#1",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_does_nothing_and_shows_as_written(text: str) -> None:
    markdown_it = pytest.importorskip("markdown_it", reason="no independent Markdown parser is installed")
    summary = make_summary(
        CriticalData([text], [], text, [text]), title=text, status=text, quality={text: 1.0}
    )
    draft = make_draft(
        summary=summary,
        project=text,
        host=text,
        context=Context(branch=text, repo=text),
        session_id=text.replace("/", ""),
    )
    bodies = render(draft)
    parser = markdown_it.MarkdownIt("gfm-like", {"html": True, "linkify": False})
    for body in [*bodies, index([comments.IndexEntry(text, text, "hybrid", 5)])]:
        spoken = "".join(visible(parser.parse(body)))
        assert not re.search(
            r"@\w|#\d|GH-\d|https?://|www\.|github\.com/|\b[0-9a-f]{40}\b", spoken, re.IGNORECASE
        ), spoken
        assert not set(spoken) & set("\u202e\u2066\u200b\ufeff\x00\x1b\x07\x85\u2028\u2029")
        tags = re.findall(r"</?\w+[^>]*>", "".join(html(parser.parse(body))))
        assert set(tags) <= {"<details>", "</details>", "<summary>", "</summary>", "<sub>", "</sub>"}
        assert tags.count("<details>") == tags.count("</details>")
    tokens = parser.parse(bodies[0])
    assert [token.info for token in tokens if token.type == "fence"] == ["sh", "json", "sessiond"]
    assert [token.tag for token in tokens if token.type == "heading_open"] == ["h3"]
    assert read(bodies)[1] == dict(FILES)
    shown = re.sub(r"\s+", "", "".join(visible(parser.parse(f"x {plain(text, 500)}"), code=True)))
    assert shown.replace("`", "") == re.sub(
        r"[\s\u200b\u202e\u2066\ufeff\x00\x1b\x07\x85\u2028\u2029`]+", "", f"x{text}"
    )


def visible(tokens: Any, *, code: bool = False) -> list[str]:
    """The text outside code that GitHub would look through for mentions."""
    out: list[str] = []
    for token in tokens:
        if token.type in {"text", "softbreak", "text_special"} or (code and token.type == "code_inline"):
            out.append(token.content or " ")
        out += visible(token.children or [], code=code)
    return out


def html(tokens: Any) -> list[str]:
    own = [token.content for token in tokens if token.type in {"html_inline", "html_block"}]
    return own + [text for token in tokens for text in html(token.children or [])]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Fix the login_redirect", "Fix the login_redirect"),
        ("Use `SameSite=Lax`, says @anna in #14", "Use `SameSite=Lax`, says `@anna` in `#14`"),
        ("C# and F# 2.0 (fast!)", "C\\# and F\\# 2.0 (fast!)"),
        ("merge abc1234 into main", "merge `abc1234` into main"),
        ("a defaced facade", "a defaced facade"),
        ("2. second", "2\\. second"),
        ("- x", "\\- x"),
        ("x < y && y > z", "x &lt; y &amp;&amp; y &gt; z"),
        ("  much \n blank\t", "much blank"),
    ],
)
def test_plain_text_stays_readable(text: str, expected: str) -> None:
    assert plain(text, 100) == expected


def test_code_and_shell_words() -> None:
    assert [code(text) for text in ("a", "`", "a``b", " a ")] == ["`a`", "`` ` ``", "```a``b```", "`  a  `"]
    assert [shell_word(text) for text in (SID, "a b", "it's", "a\n`b`", "é", "\u202e", "caf\udce9")] == [
        SID, "'a b'", "'it'\"'\"'s'", "$'a\\x0a`b`'", "'é'", "$'\\xe2\\x80\\xae'", "$'caf\\xe9'",
    ]  # fmt: skip


def test_a_second_session_of_one_id_is_resumed_under_its_own() -> None:
    (body,) = render(make_draft(session_id=f"{SID}-1a2b3c"))
    assert f"sessiond restore {SID}-1a2b3c\nclaude --resume {SID}\n" in body


def test_an_id_is_no_option_of_the_command() -> None:
    (body,) = render(make_draft(source="structured", session_id="--force"))
    assert "sessiond restore structured:--force\n" in body


class TestPrivacy:
    def test_every_text_passes_the_gate(self) -> None:
        critical = CriticalData([f"d {TOKEN}"], [], f"p {TOKEN}", [f"n {TOKEN}"])
        draft = make_draft(
            summary=make_summary(critical, title=f"t {TOKEN}", status=TOKEN, quality={TOKEN: 1.0}),
            checkpoints=[CheckpointEntry("c1", rfc3339(NOW), TOKEN)],
            project=TOKEN,
            host=TOKEN,
            context=Context(repo=f"https://x:{TOKEN}@github.com/o/r", branch=TOKEN),
            contents=[("a.jsonl", json.dumps({"text": TOKEN}).encode())],
        )
        bodies = render(draft)
        assert not any(TOKEN in body for body in bodies)
        record, files = read(bodies)
        assert record.title == "t [REDACTED:github_token]"
        assert files == {"a.jsonl": b'{"text": "[REDACTED:github_token]"}'}

    def test_a_changed_file_tells_no_hash_of_what_it_was(self) -> None:
        data = b"password=hunter2\n"
        stored = b"password=[REDACTED:password]\n"
        (body,) = render(make_draft(contents=[("a.md", data), ("b.md", b"x")]))
        record = record_in(body)
        assert record["files"] == [
            {
                "path": "a.md",
                "size": len(data),
                "sha256": None,
                "stored_sha256": hashlib.sha256(stored).hexdigest(),
            },
            file_entry("b.md", b"x"),
        ]
        assert record["sha256"] == canonical_hash(record["files"])
        assert record["redactions"] == 1
        assert hashlib.sha256(data).hexdigest() not in body
        assert read([body])[1] == {"a.md": stored, "b.md": b"x"}

    def test_a_text_is_cut_behind_the_gate(self) -> None:
        text = "x" * 480 + " " + TOKEN
        record = record_in(render(make_draft(summary=make_summary(title=text)))[0])
        assert "ghp_" not in record["title"]

    def test_a_key_in_a_string_of_the_files_is_found(self) -> None:
        key = (
            "-----BEGIN PRIVATE KEY-----\n"
            + "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n" * 3
            + "-----END PRIVATE KEY-----"
        )
        (body,) = render(make_draft(contents=[("a.jsonl", json.dumps({"k": key}).encode() + b"\n")]))
        assert read([body])[1] == {"a.jsonl": b'{"k": "[REDACTED:private_key]"}\n'}

    def test_names_are_kept_or_nothing_is_sent(self) -> None:
        gate = Gate(patterns=["home"])
        assert make_draft(gate=gate).record.local_path == f"projects/-home-me-webshop/{SID}.jsonl"
        for changes in ({"session_id": TOKEN}, {"local_path": f"x/{TOKEN}"}, {"contents": [(TOKEN, b"")]}):
            with pytest.raises(RedactionFailed, match="holds a secret"):
                make_draft(**changes)

    def test_what_was_redacted_elsewhere_is_counted(self) -> None:
        files = [Listed(FileEntry("a", 9, None, "0" * 64), 3), Listed(FileEntry("b", 1, "1" * 64))]
        record = record_in(render(make_draft(Tier.HYBRID, files=files))[0])
        assert record["redactions"] == 3
        assert record["files"][0] == {"path": "a", "size": 9, "sha256": None, "stored_sha256": "0" * 64}


LARGE = [("a.jsonl", random.Random(3).randbytes(9000))]


class TestReading:
    def bodies(
        self, revision: int = 7, files: list[tuple[str, bytes]] | None = None, comment_bytes: int = 4096
    ) -> list[str]:
        return render(make_draft(contents=files or LARGE), revision=revision, comment_bytes=comment_bytes)

    def test_an_edit_in_the_browser_that_changes_line_ends_only(self) -> None:
        edited = [body.replace("\n", " \t\r\n") + "  \r\n\r\n" for body in self.bodies()]
        assert all(parsed(body).intact for body in edited)
        assert read(edited)[1] == dict(LARGE)

    def test_an_edit_inside_is_seen(self) -> None:
        (body,) = render(make_draft())
        for old, new in (
            ("### Fix", "### Break"),
            ('"size": 1234', '"size": 1'),
            ("</details>", "</details>\nmy note"),
        ):
            part = parsed(body.replace(old, new, 1))
            assert not part.intact
            assert part.problem == "it was edited"
            assert part.record is not None
            with pytest.raises(RecordError, match="part 1: it was edited"):
                comments.assemble([part])

    def test_text_around_is_no_edit_and_is_kept(self) -> None:
        (body,) = render(make_draft())
        edited = f"Look at this!\r\n\r\n{body}\r\n\r\nGreat  \r\nwork\r\n\r\n"
        assert parsed(edited).intact
        kept = comments.outside(edited)
        assert kept == "Look at this!\n\nGreat  \nwork"
        (again,) = render(make_draft(), revision=8, kept={1: kept})
        assert again.startswith("<!-- sessiond v1 ")
        assert again.endswith("\n\nGreat  \nwork")
        assert parsed(again).intact
        assert comments.outside(again) == kept
        (changed,) = [again.replace("Great", "Bad")]
        assert parsed(changed).intact
        assert comments.outside(changed) == kept.replace("Great", "Bad")
        assert comments.outside(body) == ""

    def test_kept_text_counts_and_is_never_lost(self) -> None:
        long = "words " * 5000
        for text in ("short", long):
            bodies = render(make_draft(contents=LARGE), kept={1: text})
            assert all(len(body.encode()) < 46_080 for body in bodies)
            assert comments.outside(bodies[0]) == text.strip()
            assert read(bodies)[1] == dict(LARGE)
        bodies = render(make_draft(contents=LARGE), kept={1: "é" * 60_000})
        assert all(len(body.encode()) < 65_536 for body in bodies)
        assert comments.outside(bodies[0]).endswith("é…")
        assert read(bodies)[1] == dict(LARGE)

    def test_kept_text_stays_with_its_part_while_there_is_one(self) -> None:
        draft = make_draft(contents=LARGE)
        kept = {1: "one", 2: "two", 9: "nine", 8: "eight"}
        bodies = render(draft, comment_bytes=4096, kept=kept)
        assert len(bodies) < 8
        assert [comments.outside(body) for body in bodies[:3]] == ["one\n\neight\n\nnine", "two", ""]

    def test_a_record_without_an_end_line(self) -> None:
        (body,) = render(make_draft())
        own = "\n".join(line for line in body.split("\n")[1:] if not line.startswith("<!-- /sessiond"))
        foreign = (
            f"<!-- sessiond v1 session={SID} part=1/1 revision=7 sha256={comments.text_hash(own)} -->\n{own}"
        )
        assert parsed(foreign).intact
        assert comments.outside(foreign) == ""
        assert read([foreign])[1] == dict(FILES)
        edited = f"{foreign}\n\nmy note"
        assert not parsed(edited).intact
        assert comments.outside(edited) == "my note"

    def test_any_order_and_copies_and_surplus(self) -> None:
        bodies = self.bodies()
        older = self.bodies(6, [("a.jsonl", random.Random(4).randbytes(20_000))])
        assert len(older) > len(bodies)
        assert read([*older[len(bodies) :], *bodies[::-1], bodies[1], bodies[0]])[1] == dict(LARGE)

    def test_a_half_written_revision(self) -> None:
        new, old = self.bodies(8), self.bodies(7)
        with pytest.raises(
            RecordError, match=r"revision 8: part 1 is missing; revision 7: part \d of \d is missing"
        ):
            read([old[0], *new[1:]])
        assert read([*old, *new[1:]])[0].revision == 7
        assert read([*old, *new])[0].revision == 8

    def test_a_missing_part(self) -> None:
        bodies = self.bodies()
        with pytest.raises(
            RecordError, match=f"session {SID} is not whole: revision 7: part 2 of {len(bodies)} is missing"
        ) as caught:
            read([bodies[0], *bodies[2:]])
        assert caught.value.hint

    def test_two_that_claim_one_part_and_differ(self) -> None:
        bodies = self.bodies()
        other = self.bodies(7, [("a.jsonl", random.Random(5).randbytes(9000))])
        assert len(other) == len(bodies)
        with pytest.raises(RecordError, match="2 comments say that they are part 2, and differ"):
            read([*bodies, other[1]])

    def test_two_of_one_revision_in_different_numbers_of_parts(self) -> None:
        bodies = self.bodies()
        other = self.bodies(7, [("a.jsonl", random.Random(5).randbytes(20_000))])
        with pytest.raises(RecordError, match=f"part 2 of {len(bodies)} is missing"):
            read([bodies[0], *other[1:]])

    def test_nothing_and_too_much(self) -> None:
        with pytest.raises(RecordError, match="there is no record"):
            comments.assemble([])
        with pytest.raises(RecordError, match="of 2 sessions"):
            read([*render(make_draft()), *render(make_draft(session_id="other"))])

    @pytest.mark.parametrize("numbers", ["0/1", "2/1", "1/1000000", "999999999/999999999", "1/2501"])
    def test_numbers_that_cannot_be(self, numbers: str) -> None:
        (body,) = render(make_draft())
        part = parsed(body.replace("part=1/1", f"part={numbers}"))
        assert part.problem == f"it says that it is part {numbers.replace('/', ' of ')}"
        with pytest.raises(RecordError):
            comments.assemble([part] * 3)

    @pytest.mark.parametrize(
        ("old", "new", "problem"),
        [
            (f'"session_id": "{SID}"', '"session_id": "other"', "its record is of another session"),
            ('"revision": 7', '"revision": 6', "its record is of another revision"),
            ('"parts": 1', '"parts": 2', "its record is of another revision"),
            ('"tier": "github_only"', '"tier": "huge"', "its record cannot be read: "),
            ('"size": 1234', '"size": -1', "its record cannot be read: "),
            ('"size": 1234', '"size": "1234"', "its record cannot be read: "),
            ('"size": 1234', '"size": 1e400', "its record cannot be read: "),
            ('"size": 1234,', "", "its record cannot be read: "),
            ('"files_total": 2', '"files_total": {}', "its record cannot be read: "),
            ('"schema": 1', '"schema": ' + "[" * 20_000, "its record cannot be read: "),
            (
                '"schema": 1',
                '"x": ' + "[" * 20_000 + "]" * 20_000 + ', "schema": 1',
                "its record cannot be read: ",
            ),
            ('"schema": 1', '"schema": 1\x00', "its record cannot be read: "),
            ("```json", "```JSON", "it has 0 blocks of JSON instead of one"),
            ("```sh\n", "```json\n", "it has 2 blocks of JSON instead of one"),
        ],
    )
    def test_a_record_that_is_none(self, old: str, new: str, problem: str) -> None:
        (body,) = render(make_draft())
        part = parsed(remade(body, old, new))
        assert part.intact
        assert part.problem.startswith(problem)
        with pytest.raises(RecordError, match=re.escape(problem)):
            comments.assemble([part])

    def test_newer_schemas_are_read(self) -> None:
        (body,) = render(make_draft())
        newer = remade(body, '"schema": 1', '"schema": 2, "colour": {"a": [1, 2]}').replace(
            '"issue":4', '"issue":4,"x":1'
        )
        record, files = read([remade(newer, "", "")])
        assert (record.schema, files) == (2, dict(FILES))

    def test_a_record_of_the_required_keys_alone(self) -> None:
        record = {
            "session_id": "s", "tier": "hybrid", "size": 50_000, "local_path": ".claude/sessions/s",
            "critical_data": {"decisions": [], "checkpoints": [], "current_phase": "", "next_steps": []},
        }  # fmt: skip
        own = f"# s\n\n```json\n{json.dumps(record, indent=2)}\n```"
        body = f"<!-- sessiond v1 session=s part=1/1 revision=3 sha256={hashlib.sha256(own.encode()).hexdigest()} -->\n{own}\n"
        assert read([body])[0].local_path == ".claude/sessions/s"

    @pytest.mark.parametrize(
        ("old", "new", "problem"),
        [
            ('"size":31', '"size":32', "its list of files is not the one that was hashed"),
            ('"files_total": 2', '"files_total": 3', "it holds 2 files and lists 3"),
            ("```sessiond\n", "```sessiond\n????", "is no base64"),
            ("```sessiond\n", "```sessiond\nAAAA", "cannot be unpacked"),
            ("```sessiond", "```other", "cannot be unpacked"),
        ],
    )
    def test_files_that_are_not_what_the_record_says(self, old: str, new: str, problem: str) -> None:
        (body,) = render(make_draft())
        with pytest.raises(RecordError, match=problem):
            read([remade(body, old, new)])

    @pytest.mark.parametrize("sha", ["sha256", "stored_sha256"])
    def test_a_file_of_another_hash(self, sha: str) -> None:
        (body,) = render(make_draft(contents=[("a", b"password=hunter2"), ("b", b"x")]))
        record = record_in(body)
        file = next(file for file in record["files"] if file.get(sha))
        other = "0" * 64
        forged = remade(body, file[sha], other)
        file[sha] = other
        with pytest.raises(RecordError, match="is missing or changed"):
            read([remade(forged, record["sha256"], canonical_hash(record["files"]))])


class TestBombs:
    def unpack(self, tarred: bytes) -> dict[str, bytes]:
        return payload.unpack(zstandard.compress(tarred))

    def tar(self, *entries: tuple[tarfile.TarInfo, bytes]) -> bytes:
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as tar:
            for entry, data in entries:
                tar.addfile(entry, io.BytesIO(data))
        return out.getvalue()

    def test_size(self) -> None:
        with pytest.raises(RecordError, match="larger than"):
            payload.unpack(zstandard.compress(bytes(payload.TAR_BYTES + 1)))

    def test_window(self) -> None:
        parameters = zstandard.ZstdCompressionParameters(window_log=30, enable_ldm=True)
        compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
        with pytest.raises(RecordError, match="cannot be unpacked"):
            payload.unpack(compressor.compress(b"x" * 100) + compressor.flush())

    @pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "a//b", ".", "x" * 5000, "a/./b"])
    def test_names(self, name: str) -> None:
        with pytest.raises(RecordError, match="no name for a file"):
            self.unpack(self.tar((tarfile.TarInfo(name), b"")))

    def test_a_name_twice(self) -> None:
        with pytest.raises(RecordError, match="there twice"):
            self.unpack(self.tar((tarfile.TarInfo("a"), b""), (tarfile.TarInfo("a"), b"")))

    @pytest.mark.parametrize(
        "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.GNUTYPE_SPARSE]
    )
    def test_what_is_no_file(self, kind: bytes) -> None:
        entry = tarfile.TarInfo("a")
        entry.type, entry.linkname = kind, "/etc/passwd"
        with pytest.raises(RecordError):
            self.unpack(self.tar((entry, b"")))

    def test_a_file_with_holes(self) -> None:
        entry = tarfile.TarInfo("a")
        entry.pax_headers = {
            "GNU.sparse.major": "1",
            "GNU.sparse.minor": "0",
            "GNU.sparse.realsize": str(2**40),
        }
        entry.size = 512
        with pytest.raises(RecordError, match="no regular file"):
            self.unpack(self.tar((entry, b"0\n".ljust(512, b"\0"))))

    def test_folders_and_a_leading_dot_are_read_over(self) -> None:
        folder, file = tarfile.TarInfo("./a"), tarfile.TarInfo("./a/b")
        folder.type, file.size = tarfile.DIRTYPE, 1
        assert self.unpack(self.tar((folder, b""), (file, b"x"))) == {"a/b": b"x"}

    def test_a_size_below_nothing(self) -> None:
        header = bytearray(self.tar((tarfile.TarInfo("a"), b"")))
        header[124:136] = b"\xff" * 11 + b"\x00"
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header[:512])
        with pytest.raises(RecordError, match="has no size"):
            self.unpack(bytes(header))

    @pytest.mark.parametrize("end", [0, 100, 511, 512, 700])
    def test_cut_off(self, end: int) -> None:
        entry = tarfile.TarInfo("a")
        entry.size = 600
        whole = self.tar((entry, b"x" * 600))
        with pytest.raises(RecordError):
            self.unpack(whole[:end])


def index(entries: list[comments.IndexEntry], **changes: Any) -> str:
    return comments.render_issue_body(Gate(), "github.com/o/webshop", entries, **changes)


class TestIssue:
    KEY = "github.com/o/webshop"
    SHA = hashlib.sha256(KEY.encode()).hexdigest()

    def test_is_found_by_its_hidden_line(self) -> None:
        assert index([]).split("\n")[0] == f"<!-- sessiond v1 project={self.SHA} -->"
        assert index([], volume=2).split("\n")[0] == f"<!-- sessiond v1 project={self.SHA} volume=2 -->"
        for volume in (1, 2, 13):
            body = "A note\r\n" + index([], volume=volume).replace("\n", "\r\n")
            assert comments.parse_project_marker(body) == (self.SHA, volume)
        assert (
            comments.project_marker(self.KEY)
            == f"<!-- sessiond v1 project={comments.project_hash(self.KEY)} -->"
        )
        assert comments.parse_project_marker("Sessions: webshop") is None
        assert comments.parse_project_marker(f"> <!-- sessiond v1 project={self.SHA} -->") is None

    def test_lists_title_tier_and_id_newest_first(self) -> None:
        entries = [
            comments.IndexEntry("one", "First", "github_only", 11),
            comments.IndexEntry("two", "", "hybrid"),
        ]
        lines = [line for line in index(entries).split("\n") if line.startswith("- ")]
        assert lines == [
            "- Untitled session · `hybrid` · `two`",
            "- [First](#issuecomment-11) · `github_only` · `one`",
        ]
        assert "No session yet." in index([])

    @pytest.mark.parametrize("count", [100, 5000])
    def test_is_bounded(self, count: int) -> None:
        entries = [comments.IndexEntry(f"id-{n}", f"{n} " + "é" * 100, "hybrid", n + 1) for n in range(count)]
        body = index(entries, kept="n" * 9000)
        assert len(body.encode()) < 60_000
        lines = [line for line in body.split("\n") if line.startswith("- ")]
        assert f"id-{count - 1}`" in lines[0]
        if count > 1000:
            assert lines[-1] == f"- and {count - len(lines) + 1:,} older sessions, each in a comment below"
        else:
            assert len(lines) == count

    def test_passes_the_gate(self) -> None:
        assert TOKEN not in index([comments.IndexEntry("a", f"x {TOKEN}", "hybrid")])
        title, _ = comments.new_issue(Gate(), TOKEN, "k")
        assert TOKEN not in title

    def test_a_new_one(self) -> None:
        title, body = comments.new_issue(Gate(), "webshop", self.KEY)
        assert (title, body) == ("Sessions: webshop", index([]))
        assert (
            comments.new_issue(Gate(), "x\n" + "y" * 400, self.KEY, 2)[0]
            == "Sessions: x " + "y" * 239 + "… (2)"
        )
        assert len(comments.new_issue(Gate(), "y" * 400, self.KEY, 2)[0]) == 256

    def test_what_a_person_wrote_is_kept(self) -> None:
        body = index([comments.IndexEntry("a", "b", "hybrid")])
        assert comments.outside_index(body) == ""
        edited = f"Before\r\n{body}\r\n\r\nBehind"
        assert comments.outside_index(edited) == "Before\n\nBehind"
        again = index([], kept=comments.outside_index(edited))
        assert again.startswith("<!-- sessiond v1 project=")
        assert comments.outside_index(again) == "Before\n\nBehind"
        by_hand = f"Ours\n<!-- sessiond v1 project={self.SHA} -->\nand theirs"
        assert comments.outside_index(by_hand) == "Ours\n\nand theirs"


def test_an_unchanged_record_has_an_unchanged_hash() -> None:
    hashes = {
        comments.content_hash(make_draft()),
        comments.content_hash(make_draft(updated_at=rfc3339(NOW + 60))),
    }
    assert len(hashes) == 1
    for changes in (
        {"size": 9},
        {"host": "desktop"},
        {"project": "x"},
        {"archived": True},
        {"promoted_from": Tier.GITHUB_ONLY},
        {"checkpoints": checkpoints(3)},
        {"contents": [("a", b"")]},
        {"summary": Summary(title="x")},
        {"summary": Summary(status="x")},
        {"tier": Tier.HYBRID, "files": listed(3), "contents": None},
    ):
        hashes.add(comments.content_hash(make_draft(**changes)))
    assert len(hashes) == 11


def test_what_does_not_fit_says_so() -> None:
    with pytest.raises(RecordError, match="names too long for a comment of 4,096 bytes") as caught:
        render(make_draft(session_id="\x01" * 250), comment_bytes=4096)
    assert "tiers.comment_bytes" in caught.value.hint
    with pytest.raises(ValueError, match="needs contents"):
        make_draft(contents=None, files=[])


def file_entry(name: str, data: bytes) -> dict[str, object]:
    return {"path": name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def canonical_hash(files: list[dict[str, Any]]) -> str:
    """As the specification says it, without the code under test."""
    text = json.dumps(
        sorted(files, key=lambda f: str(f["path"])), sort_keys=True, separators=(",", ":"), ensure_ascii=False
    )
    return hashlib.sha256(text.encode()).hexdigest()
