"""What the privacy gate finds, what it leaves alone, and that it fails closed.

Every secret here is made up, and put together only when the test runs.
"""

import hashlib
import json
import re
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from re import _parser  # type: ignore[attr-defined]
from typing import Any, cast

import pytest

from sessionsync.errors import ConfigError, RedactionFailed
from sessionsync.pattern import Pattern
from sessionsync.privacy.gate import BLOCK_BYTES, Gate
from sessionsync.privacy.hints import Hints
from sessionsync.privacy.rules import KINDS, RULES, RUN, Rule, runs
from sessionsync.restore import loadable
from tests.conftest import samples
from tests.planted import ALNUM, HEX, PLANTED

JWT = f"eyJ{ALNUM[:20]}.eyJ{ALNUM[:24]}.{ALNUM[:30]}"
BODY = "\n".join([("MIIEowIBAAKCAQEA" + ALNUM[:48])[:64]] * 3 + ["q7R8s9=="])
BEGIN, END = "-----BEGIN RSA PRIVATE KEY-----", "-----END RSA PRIVATE KEY-----"
KEY = f"{BEGIN}\n{BODY}\n{END}"

# kind, the secret, what stands around it
SECRETS = [
    ("aws_access_key", "AKIA" + "IOSFODNN7EXAMPLE", "%s"),
    ("aws_access_key", "ASIA" + "0123456789ABCDEF", "id=%s"),
    ("github_token", "ghp_" + ALNUM[:36], "%s"),
    ("github_token", "gho_" + ALNUM[:36], "https://%s@github.com/o/r"),
    ("github_token", "ghs_" + ALNUM[:36], "\x1b[32m%s\x1b[0m"),
    ("github_token", "github_pat_" + ALNUM[:22] + "_" + ALNUM[:40], "GH_TOKEN=%s"),
    ("gitlab_token", "glpat-" + ALNUM[:20], "%s"),
    ("anthropic_key", "sk-ant-" + "api03-" + ALNUM + "-_" + ALNUM[:20], "x-api-key: %s"),
    ("openai_key", "sk-" + ALNUM[:48], "%s"),
    ("openai_key", "sk-" + "proj-" + ALNUM + "-_" + ALNUM[:20], "%s"),
    ("slack_token", "xoxb-" + "123456789012-" + ALNUM[:24], "%s"),
    ("slack_webhook", "T0ABCDEF1/B0ABCDEF2/" + ALNUM[:24], "https://hooks.slack.com/services/%s"),
    ("stripe_key", "sk_" + "live_" + ALNUM[:24], "%s"),
    ("stripe_key", "whsec_" + ALNUM[:32], "%s"),
    ("google_key", "AIza" + "Sy_-" + ALNUM[:31], "?key=%s&x=1"),
    ("google_key", "GOCSPX-" + ALNUM[:28], "%s"),
    ("huggingface_token", "hf_" + ALNUM[:34], "%s"),
    ("npm_token", "npm_" + ALNUM[:36], "//registry.example/:_authToken=%s"),
    ("pypi_token", "pypi-" + "AgEIcHlwaS5vcmc" + ALNUM, "%s"),
    ("jwt", JWT, "session %s ends"),
    ("url_password", "hunter2", "postgres://user:%s@db.example.com:5432/prod"),
    ("url_password", "p@ss:w0rd", "mysql://root:%s@10.0.0.1/x"),
    ("url_password", "s3cr3t", "redis://:%s@cache:6379"),
    ("authorization", HEX[:40], "Authorization: Bearer %s"),
    ("authorization", "dXNlcjpwYXNzd29yZA==", "curl -H 'authorization: Basic %s' x"),
    ("authorization", ALNUM, "Bearer %s"),
    ("password", "hunter2", "password=%s"),
    ("password", "hunter2", 'password: "%s"'),
    ("password", "Tr0ub4dor&3", "'password': '%s',"),
    ("password", "correct-horse-battery-staple", "DB_PASSWORD=%s"),
    ("password", "hunter22", "mysql --password %s -u root"),
    ("password", "supersecret", '"password": "%s",'),
    ("password", "correct-horse", "tool --db-password=%s --x"),
    ("password", "supersecret", "https://a.example/login?user=me&password=%s"),
    ("secret", HEX[:32], "client_secret=%s"),
    ("secret", "wJalrXUtnFEMI/K7MDENG/" + "bPxRfiCYEXAMPLEKEY", "aws_secret_access_key = %s"),
    ("secret", "s3cr3tK3y-v4lue99", "SECRET_KEY='%s'"),
    ("token", HEX[:40], "--token %s"),
    ("token", HEX[:20], "curl 'https://a.example/x?access_token=%s&b=1'"),
    ("token", "abc123def456ghi7", "token: str = '%s'"),
    ("api_key", HEX[:24], '"api_key": "%s"'),
    ("api_key", HEX[:20], "X-Api-Key: %s"),
    ("api_key", "supersecretvalue123", "OPENAI_API_KEY=%s"),
    ("private_key", KEY, "%s"),
    *((plant.kind, plant.secret, plant.around) for plant in PLANTED),
]
NEAR = [
    *(plant.near for plant in PLANTED),
    "AKIA0123",  # too short
    "XAKIAIOSFODNN7EXAMPLE",  # inside a word
    "ghp_short",
    "const re = /ghp_[A-Za-z0-9]{36}/",
    "gho_" + "*" * 36,
    "github_pat_",
    "task-0123456789abcdef0123456789",  # sk- inside a word
    "sk-fading-circle-container-of-the-page",
    "sk-ant-...",
    "xoxo-love",
    "pk_live_" + ALNUM[:24],  # meant to be public
    "test_sk_test_helper",
    "AIzaTooShort",
    "npm_config_registry",
    "npm_lifecycle_event_with_a_very_long_name_0",
    "pypi-publish-action-with-a-long-name-2024",
    "hf_hub_download",
    "eyJhbGciOiJIUzI1NiJ9",  # a header alone
    "postgres://localhost:5432/db?a=b@c",
    "http://localhost:3000/?mail=a@b.example",
    "https://example.com:8080/x@y",
    "postgres://user:${DB_PASSWORD}@db/x",
    "postgres://user:<password>@db/x",
    "oci://alpine:3.18@sha256:" + HEX,
    "git@github.com:o/r.git",
    "Authorization: Bearer $TOKEN",
    "Authorization: Bearer ${env.TOKEN}",
    "bearer authentication is used",
    "Authorization required",
    'Authorization: "basic authentication"',
    "password: string",
    "password = getpass.getpass()",
    "password=password",
    "password=supersecret",  # a name, in code
    "'password' => 'required|min:8|confirmed'",
    'password: "newPassword"',
    'password: "secret"',
    'DB_PASSWORD: "CHANGE_IT_NOW"',
    'token: "test-token-123"',
    "password = form.cleaned_data.field2",
    "password=new_password2",
    "password: {{ vault.password1 }}",
    "PASSWORD=${DB_PASSWORD_2}",
    "password: process.env.PASSWORD_1",
    'placeholder="Enter password"',
    '"password": null, "retries": 12345678',
    '{"password": 12345678}',
    "ERROR_BAD_PASSWORD = -2146893773",
    "/etc/passwd:x:0",
    "input_tokens: 123456789012345678",
    '"output_tokens":1234,"cache_creation_input_tokens":18422',
    "max_tokens=4096",
    "token = request.headers.token_v2.value_99",
    "token = getToken(user123456789012)",
    "const token = base64EncodedAccessTokenValue",
    "nextToken: 'a1b2c3d4e5f6a7b8'",
    "next_page_token=a1b2c3d4e5f6a7b8c9",
    "secret: /run/secrets/db_password_01",
    "secret_name = my-app-secret-2024-prod",
    "secretName: my-app-2024-prod-eu-1",
    "api_key: ${{ secrets.OPENAI_API_KEY_2 }}",
    "api_key = os.environ['OPENAI_API_KEY_2']",
    "api_key: your-api-key-1234567890",
    "PublicKeyToken=b77a5c561934e089",
    "password=[REDACTED:password]",
    "-----BEGIN PRIVATE KEY-----",
    "-----BEGIN PRIVATE KEY----- ... -----END PRIVATE KEY-----",
    r"/-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?-----END [A-Z ]*PRIVATE KEY-----/",
    '"-----BEGIN PRIVATE KEY-----\\n" + key + "\\n-----END PRIVATE KEY-----"',
    f"-----BEGIN PUBLIC KEY-----\n{BODY}\n-----END PUBLIC KEY-----",
    f"-----BEGIN CERTIFICATE-----\n{BODY}\n-----END CERTIFICATE-----",
    "4f1b6c7a-52d0-4c35-9a0e-2f4f6b1c7d11",
    HEX[:40],
]


@pytest.fixture
def gate() -> Gate:
    return Gate()


def line(text: str) -> bytes:
    """As a transcript holds it: once as text, once inside JSON in a string."""
    nested = json.dumps({"result": f"1\n{text}\n2"})
    return json.dumps({"type": "user", "text": f"before\n{text}\nafter", "tool": nested}).encode() + b"\n"


@pytest.mark.parametrize(("kind", "secret", "around"), SECRETS)
def test_a_secret_is_replaced_by_its_kind(gate: Gate, kind: str, secret: str, around: str) -> None:
    text = f"It is {around % secret} I think"
    cleared, count = gate.text(text)
    assert count >= 1
    assert f"[REDACTED:{kind}]" in cleared
    assert secret not in cleared
    if kind != "private_key":
        assert cleared == text.replace(secret, f"[REDACTED:{kind}]")
    assert kind in KINDS


@pytest.mark.parametrize(("kind", "secret", "around"), SECRETS)
def test_a_secret_is_found_in_json_and_in_json_in_json(
    gate: Gate, kind: str, secret: str, around: str
) -> None:
    data = line(around % secret)
    cleared, count = gate.data("a.jsonl", data)
    assert count == 2
    value = json.loads(cleared)
    assert value["text"] == f"before\n{around % f'[REDACTED:{kind}]'}\nafter"
    assert json.loads(value["tool"])["result"] == f"1\n{around % f'[REDACTED:{kind}]'}\n2"


@pytest.mark.parametrize("text", NEAR)
def test_what_only_looks_like_one_stays(gate: Gate, text: str) -> None:
    assert gate.text(f"It is {text} I think") == (f"It is {text} I think", 0)
    assert gate.text(text) == (text, 0)
    assert gate.data("a.jsonl", line(text)) == (line(text), 0)


@pytest.mark.parametrize(("kind", "secret", "around"), SECRETS)
def test_redacting_twice_changes_nothing(gate: Gate, kind: str, secret: str, around: str) -> None:
    once, _ = gate.data("a.jsonl", line(around % secret))
    assert gate.data("a.jsonl", once) == (once, 0)


@pytest.mark.parametrize(
    "before",
    ["=", '"', "'", "(", "\\n", "\\\\n", "\\t", "\\u001b[1;31m", "\\u003d", "%3D", ":", "/", "-", "_"],
)
def test_a_token_may_stand_behind_anything_but_a_word(gate: Gate, before: str) -> None:
    token = "ghp_" + ALNUM[:36]
    assert gate.text(before + token)[0] == before + "[REDACTED:github_token]"


def test_the_most_certain_rule_names_what_several_find(gate: Gate) -> None:
    token = "ghp_" + ALNUM[:36]
    assert gate.text(f"password={token}") == ("password=[REDACTED:github_token]", 1)
    assert gate.text(f"Authorization: token {token}") == ("Authorization: token [REDACTED:github_token]", 1)
    assert gate.text(f"https://x:{token}@github.com/o/r") == (
        "https://x:[REDACTED:github_token]@github.com/o/r",
        1,
    )


def test_every_kind_is_counted(gate: Gate) -> None:
    data = line("ghp_" + ALNUM[:36]) + line("password=hunter2") + line("nothing")
    assert gate.redact("a.jsonl", data).kinds == Counter(github_token=2, password=2)


class TestPrivateKey:
    def test_in_lines_of_a_file_its_lines_are_replaced(self, gate: Gate) -> None:
        text = f"x\n{KEY}\ny\n".encode()
        cleared, count = gate.data("id_rsa", text)
        assert cleared.decode().split("\n") == ["x", BEGIN, *["[REDACTED:private_key]"] * 4, END, "y", ""]
        assert count == 1
        assert gate.data("id_rsa", text * 3)[1] == 3

    def test_a_file_cut_inside_a_key_is_redacted_like_the_whole(self, gate: Gate) -> None:
        data = f"x\n{KEY}\ny\n".encode()
        whole, _ = gate.data("notes.md", data)
        for end in [at for at, byte in enumerate(data, 1) if byte == ord("\n")]:
            assert gate.data("notes.md", data[:end])[0] + gate.data("notes.md", data[end:])[0] == whole

    def test_as_tools_show_it(self, gate: Gate) -> None:
        shown = "".join(f"{n:6}→{text}\n" for n, text in enumerate(KEY.split("\n"), 1))
        cleared, count = gate.data("a.jsonl", json.dumps({"a": shown, "b": "kept"}).encode())
        assert count == 1
        assert json.loads(cleared) == {"a": "     1→[REDACTED:private_key]\n", "b": "kept"}
        assert gate.data("a.txt", shown.encode())[0].count(b"[REDACTED:private_key]") == 4

    @pytest.mark.parametrize("chars", [60, 120, 240])
    def test_a_key_that_was_cut_off(self, gate: Gate, chars: int) -> None:
        data = json.dumps({"a": KEY[:chars], "b": "kept"}).encode()
        cleared, _ = gate.data("a.jsonl", data)
        assert json.loads(cleared) == {"a": "[REDACTED:private_key]", "b": "kept"}

    def test_begin_and_end_in_two_strings_are_no_key(self, gate: Gate) -> None:
        data = json.dumps({"a": BEGIN, "b": ALNUM, "c": END}).encode()
        assert gate.data("a.jsonl", data) == (data, 0)

    def test_with_headers(self, gate: Gate) -> None:
        key = KEY.replace("KEY-----\n", "KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\n", 1)
        assert BODY.split("\n")[0] not in gate.text(key)[0]
        assert (
            json.loads(gate.data("a.jsonl", line(key))[0])["text"] == "before\n[REDACTED:private_key]\nafter"
        )


class TestJson:
    @pytest.mark.parametrize("pattern", [r"\d{6,}", r'"n":\d+', r'".*"', r"b.*", r"[{}]", r"\\n", ":"])
    def test_stays_json_whatever_the_users_expressions_match(self, pattern: str) -> None:
        data = json.dumps(
            {"a": "b\n1234567", "n": 12345678, "c": ["x:y", {"d": "1\\2"}]}, separators=(",", ":")
        ).encode()
        cleared, _ = Gate(patterns=[pattern]).data("a.jsonl", data + b"\n" + data)
        for text in cleared.split(b"\n"):
            value = json.loads(text)
            assert value.keys() == {"a", "n", "c"}
            assert value["n"] == 12345678

    def test_a_json_file_stays_json_as_a_whole(self) -> None:
        data = json.dumps({"code": 1234567, "text": "x 1234567"}, indent=2).encode()
        cleared, count = Gate(patterns=[r"\d{7}"]).data("context.json", data)
        assert json.loads(cleared) == {"code": 1234567, "text": "x [REDACTED:custom]"}
        assert count == 1
        assert Gate(patterns=[r"\d{7}"]).data("context.txt", data)[1] == 2

    def test_what_was_none_may_stay_none(self, gate: Gate) -> None:
        torn = line("password=hunter2")[:-5]
        assert b"hunter2" not in gate.data("a.jsonl", torn)[0]

    def test_half_a_surrogate_pair_survives(self, gate: Gate) -> None:
        data = b'{"a": "\\ud83d password=hunter2"}'
        assert gate.data("a.jsonl", data)[0] == b'{"a": "\\ud83d password=[REDACTED:password]"}'
        assert json.loads(Gate(patterns=["[{}]"]).data("a.jsonl", data)[0]) == {
            "a": "\ud83d password=[REDACTED:password]"
        }

    def test_bytes_that_are_no_text_pass_as_they_are(self, gate: Gate) -> None:
        data = bytes(range(256)) * 40 + b"\npassword=hunter2\n\xff\n"
        assert gate.data("x.bin", data)[0] == data.replace(b"hunter2", b"[REDACTED:password]")
        assert Gate(patterns=["unter"]).data("x.bin", data)[0] == data.replace(
            b"hunter2", b"[REDACTED:password]"
        )


class TestEscapes:
    """The same text can be written in many ways in JSON."""

    @pytest.mark.parametrize(
        ("written", "read"),
        [
            (r"\u0067hp_" + ALNUM[:36], "[REDACTED:github_token]"),
            (r"postgres:\/\/me:hunter2@db\/x", "postgres://me:[REDACTED:url_password]@db/x"),
            (r"password\u003dhunter2", "password=[REDACTED:password]"),
            ("".join(f"\\u{ord(c):04X}" for c in "ghp_" + ALNUM[:36]), "[REDACTED:github_token]"),
            ("".join(f"\\u{ord(c):04x}" for c in KEY), f"{BEGIN}\n" + "[REDACTED:private_key]\n" * 4 + END),
        ],
    )
    def test_a_secret_written_with_escapes_is_found(self, gate: Gate, written: str, read: str) -> None:
        line = f'{{"uuid":"a\\u002fb", "a" : "{written}","n":1.50,"c":"\\u003c\\/"}}\n'
        cleared, count = gate.data("a.jsonl", line.encode() * 2)
        assert count == 2
        assert json.loads(cleared.split(b"\n")[0])["a"] == read
        assert cleared.startswith(b'{"uuid":"a\\u002fb", "a" : "')  # the rest keeps its bytes
        assert cleared.endswith(b'","n":1.50,"c":"\\u003c\\/"}\n')
        nested = json.dumps({"tool": line}).encode()
        inner = json.loads(gate.data("a.jsonl", nested)[0])["tool"]
        assert json.loads(inner)["a"] == read
        assert gate.data("a.jsonl", cleared) == (cleared, 0)

    def test_never_across_records(self, gate: Gate) -> None:
        data = b'{"a":"\\u0067hp_a1B2c3D4e5"}\n{"a":"F6g7H8i9J0k1L2m3N4o5P6q7"}\n'
        assert gate.data("a.jsonl", data) == (data, 0)


class TestOwnRules:
    def test_the_whole_match_goes_or_its_group(self) -> None:
        gate = Gate(patterns=[r"ACME-\d+", r"room (?P<secret>\w+)", "größe ☃"])
        assert gate.text("in ACME-12, room blue, größe ☃!") == (
            "in [REDACTED:custom], room [REDACTED:custom], [REDACTED:custom]!",
            3,
        )

    def test_they_see_one_line(self) -> None:
        gate = Gate(patterns=[r"(?s)a.*z", r"^b$"])
        assert gate.text("a1\n2z\nb\nxb") == ("a1\n2z\n[REDACTED:custom]\nxb", 1)

    def test_ids_and_the_folder_are_never_touched(self) -> None:
        sid = "4f1b6c7a-52d0-4c35-9a0e-2f4f6b1c7d11"
        line = json.dumps(
            {"uuid": sid, "sessionId": sid, "parentUuid": sid, "cwd": f"/home/{sid}", "text": f"see {sid}"}
        )
        cleared, count = Gate(patterns=[r"[0-9a-f-]{36}"]).data("a.jsonl", line.encode())
        assert json.loads(cleared) == json.loads(line) | {"text": "see [REDACTED:custom]"}
        assert count == 1

    def test_nor_are_they_where_json_had_to_be_taken_apart(self) -> None:
        value = {"uuid": "ab-1234567", "n": 7654321, "text": "ab-1234567", "type": f"ghp_{ALNUM[:36]}"}
        cleared, _ = Gate(patterns=[r"\d{7}"]).data("a.jsonl", json.dumps(value).encode())
        expected = {"text": "ab-[REDACTED:custom]", "type": "[REDACTED:github_token]"}
        assert json.loads(cleared) == value | expected

    def test_nor_are_they_by_the_rules_that_go_by_words(self, gate: Gate) -> None:
        line = json.dumps({"cwd": "/srv/password=hunter2", "text": "password=hunter2"}).encode()
        cleared, count = gate.data("a.jsonl", line)
        assert json.loads(cleared) == {"cwd": "/srv/password=hunter2", "text": "password=[REDACTED:password]"}
        assert count == 1

    def test_what_is_allowed_stays(self) -> None:
        key = "AKIA" + "IOSFODNN7EXAMPLE"
        assert Gate(allow=[key]).text(f"{key} AKIA" + "0" * 16) == (f"{key} [REDACTED:aws_access_key]", 1)
        assert Gate(allow=[r"AKIA\w*EXAMPLE"]).text(key) == (key, 0)
        assert Gate(allow=["EXAMPLE"]).text(key)[1] == 1  # the whole secret, not a part of it
        assert Gate(allow=["hunter2"]).text("password=hunter2 password=hunter3")[1] == 1
        assert Gate(allow=["p[ss"]).text("x://u:p[ss@h") == ("x://u:p[ss@h", 0)  # no expression, yet a value
        assert Gate(patterns=[r"ACME-\d+"], allow=["ACME-1"]).text("ACME-1 ACME-2") == (
            "ACME-1 [REDACTED:custom]",
            1,
        )

    def test_a_pattern_that_is_none_is_an_error_of_the_settings(self) -> None:
        with pytest.raises(ConfigError, match=r"privacy\.patterns: '\(' is no regular expression"):
            Gate(patterns=["("])


def test_off_means_off() -> None:
    gate = Gate(redact=False, patterns=["x"])
    assert gate.text("x password=hunter2") == ("x password=hunter2", 0)
    assert gate.data("a.jsonl", line("password=hunter2")) == (line("password=hunter2"), 0)
    assert not gate.names_secret("ghp_" + ALNUM[:36])


def test_names_are_not_changed_but_told_of(gate: Gate) -> None:
    token = "ghp_" + ALNUM[:36]
    assert gate.names_secret(f"artifacts/{token}.txt")
    assert not gate.names_secret("artifacts/password=hunter2")
    assert not gate.names_secret("4f1b6c7a-52d0-4c35-9a0e-2f4f6b1c7d11.jsonl")
    assert not Gate(allow=[token]).names_secret(token)


def test_it_fails_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Rule, "matches", broken)
    with pytest.raises(RedactionFailed, match=r"a\.jsonl could not be searched for secrets") as caught:
        Gate().data("a.jsonl", b"password=x")
    assert caught.value.hint
    with pytest.raises(RedactionFailed):
        Gate().text("password=x")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("use ghp_a1B2c3…", "use [REDACTED:cut_off]…"),
        ("use sk-ant-api03-…", "use [REDACTED:cut_off]…"),
        ("on postgres://me:hunter2@d…", "on postgres://me:[REDACTED:url_password]@d…"),
        ("on postgres://me:hunt…", "on postgres[REDACTED:cut_off]…"),
        ("with password=hun…", "with [REDACTED:cut_off]…"),
        ("Authorization: Bearer 3f9…", "Authorization: [REDACTED:cut_off]…"),
        ("-----BEGIN PRIVATE KEY----- MIIE…", "[REDACTED:cut_off]…"),
        ("read https://example.com/a/long/pa…", None),
        ("fix the task-list and the token…", None),
        ("the disk-usage…", None),
        ("use password=[REDACTED:password]…", None),
        ("use ghp_a1B2c3", None),
    ],
)
def test_half_a_secret_at_a_cut_end_goes_as_well(gate: Gate, text: str, expected: str | None) -> None:
    assert gate.text(text) == ((text, 0) if expected is None else (expected, 1))


def test_text_is_whole_characters(gate: Gate) -> None:
    assert gate.text("a\ud83d b\U0001f600") == ("a\ufffd b\U0001f600", 0)


def test_the_fingerprint_tells_gates_apart() -> None:
    gates = [Gate(), Gate(redact=False), Gate(patterns=["a"]), Gate(allow=["a"]), Gate(patterns=["a", "b"])]
    assert len({gate.fingerprint for gate in gates}) == len(gates)
    assert Gate(patterns=("a",)).fingerprint == Gate(patterns=["a"]).fingerprint


def test_blocks_do_not_show(gate: Gate) -> None:
    lines = [line(f"{n} password=hunter{n}") for n in range(20)]
    lines.insert(7, json.dumps({"image": "A" * (2 * BLOCK_BYTES), "b": "password=hunter2"}).encode() + b"\n")
    data = b"".join(lines) * 20
    assert gate.data("a.jsonl", data)[0] == b"".join(gate.data("a.jsonl", one)[0] for one in lines) * 20


def test_no_secret_lies_across_two_blocks(gate: Gate) -> None:
    data = b"".join(b'{"a":"' + b"x" * (n % 7) + b' password=hunter2"}\n' for n in range(30_000))
    assert len(data) > 2 * BLOCK_BYTES
    assert gate.data("a.jsonl", data) == (data.replace(b"hunter2", b"[REDACTED:password]"), 30_000)


def test_hostile_lines_take_no_time(gate: Gate) -> None:
    hostile = [
        b"-----BEGIN PRIVATE KEY-----" * 20_000,
        b"eyJ" * 200_000,
        b"password=" * 60_000,
        b"://a:" * 100_000,
        b"token " * 100_000,
        b"authorization: " * 40_000,
        b"\\" * 500_000 + b'"',
        b"AKIA" * 120_000,
        b"sk-proj-" * 60_000,
        b'\\"' * 300_000,
        b"\\u0041" * 100_000,
        b"MT" * 300_000,
        b"a1B2_" * 100_000,
        b" -u a:" * 100_000,
        b"machine " * 80_000,
    ]
    begun = time.process_time()
    for data in hostile:
        gate.data("a.jsonl", b'{"a":"' + data[: len(data) // 4] + b'"}\n')
    assert time.process_time() - begun < 20


def test_every_rule_finds_at_its_own_hint(gate: Gate) -> None:
    kinds = {kind for kind, _, _ in SECRETS}
    assert {rule.kind for rule in RULES} <= kinds


def test_real_sessions_keep_their_bytes(gate: Gate, shared: Path) -> None:
    """Given sessions that were published, nothing in them is taken for a secret."""
    found = {}
    for file in samples(shared, *FORMATS):
        data = file.read_bytes()
        cleared = gate.redact(file.name, data)
        if hashlib.sha256(cleared.data).digest() != hashlib.sha256(data).digest():
            found[file.name] = dict(cleared.kinds)
    assert found == {}


FORMATS = (
    "claude-code-transcript",
    "claude-code-subagent-transcript",
    "codex-rollout",
    "copilot-cli-events",
    "gemini-cli-legacy-session-json",
)


def test_what_is_looked_for_in_runs_lies_in_one() -> None:
    """Else a token would be too short to be looked at, or cut by a sign of its own."""
    for rule in RULES:
        if rule.in_run:
            expression = _parser.parse(rule.pattern.text.decode())
            assert expression.getwidth()[0] >= RUN, rule.kind
            consumed = bytes(sorted(bytes_of(expression)))
            assert runs(consumed * RUN) == consumed * RUN, rule.kind


def bytes_of(expression: Any) -> set[int]:
    """Every byte that a match may hold, but for what is only looked at."""
    held: set[int] = set()
    for operator, argument in expression:
        match str(operator), argument:
            case "LITERAL", byte:
                held.add(byte)
            case "RANGE", (first, last):
                held |= {*range(first, last + 1)}
            case "CATEGORY", category:
                kind = {"CATEGORY_DIGIT": rb"\d", "CATEGORY_WORD": rb"\w"}[str(category)]
                held |= {byte for byte in range(256) if re.match(kind, bytes([byte]))}
            case "IN", members:
                held |= bytes_of(members)
            case "MAX_REPEAT" | "POSSESSIVE_REPEAT", (_, _, inner):
                held |= bytes_of(inner)
            case "SUBPATTERN", (*_, inner):
                held |= bytes_of(inner)
            case "BRANCH", (_, choices):
                held |= set[int]().union(*map(bytes_of, choices))
            case "ASSERT" | "ASSERT_NOT", _:
                pass
            case _:
                raise AssertionError(operator)
    return held


@pytest.mark.parametrize(
    ("kind", "token"),
    [
        ("stripe_key", "whsec_" + "a1+B/" * 7 + "="),
        ("fly_token", "fm2_" + "a1+B/" * 20 + "=="),
        ("fly_token", "fm1a_" + "a1B2C" * 20),
        ("grafana_token", "glc_" + "a1+B/" * 10),
        ("planetscale_token", "pscale_pw_" + "a1=B." * 8),
    ],
)
def test_signs_of_base64_do_not_hide_a_token(gate: Gate, kind: str, token: str) -> None:
    assert gate.text(f"It is {token} I think") == (f"It is [REDACTED:{kind}] I think", 1)


def test_what_other_lines_hold_changes_nothing(gate: Gate) -> None:
    """Behind the end of a terminal's colour a token may begin, however long the word before is."""
    one, other = b"w" * 600 + b"0mAKIA" + b"B" * 16 + b"\n", b"AKIA" + b"C" * 16 + b"\n"
    alone = gate.data("a.jsonl", one)[0] + gate.data("a.jsonl", other)[0]
    assert gate.data("a.jsonl", one + other) == (alone, 2)


@pytest.fixture
def tries(monkeypatch: pytest.MonkeyPatch) -> list[Rule]:
    """Every rule of which a pattern is tried, each time."""
    tried: list[Rule] = []
    matches = Rule.matches

    def counted(rule: Rule, text: bytes, places: list[int]) -> Iterator[re.Match[bytes]]:
        tried.append(rule)
        return matches(rule, text, places)

    monkeypatch.setattr(Rule, "matches", counted)
    return tried


def test_no_rule_is_tried_where_nothing_hints_at_a_secret(gate: Gate, tries: list[Rule]) -> None:
    prose = (
        b'{"type":"user","text":"' + b"so the tokens of it are what it was about, and no more " * 50 + b'"}\n'
    )
    ids = b'{"uuid":"4f1b6c7a-52d0-4c35-9a0e-2f4f6b1c7d11","cwd":"/home/dev/some-where/to/look/at"}\n'
    assert gate.data("a.jsonl", (prose + ids) * 100)[1] == 0
    assert tries == []
    assert gate.data("a.jsonl", prose + b"password=hunter2\n")[1] == 1
    assert [rule.kind for rule in tries] == ["password"]


class Counted:
    """A pattern that counts how often it is tried, and finds nothing."""

    def __init__(self) -> None:
        self.times = 0
        self.compiled = self

    def match(self, _text: bytes, _at: int) -> None:
        self.times += 1


def test_words_in_a_value_without_end_are_not_each_tried_to_the_longest() -> None:
    rule = next(rule for rule in RULES if rule.kind == "password")
    word = b"password="
    text, counted = word * 60_000, Counted()
    assert [
        *replace(rule, pattern=cast("Pattern[bytes]", counted)).matches(text, range(0, len(text), len(word)))
    ] == []
    assert 0 < counted.times <= rule.reach // len(word) + 1


@pytest.mark.parametrize(
    "around", ["token=%s", "token=%s ", 'token: str = "%s"', "x_token_access_key_base := %s;"]
)
def test_the_longest_value_is_found(gate: Gate, around: str) -> None:
    secret = (ALNUM * 80)[:4096]
    assert gate.text(around % secret) == (around % "[REDACTED:token]", 1)


def test_a_key_is_found_behind_beginnings_without_end(gate: Gate) -> None:
    begin, end = "-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----"
    far = f"{begin} x ! " * 2000
    cleared, count = gate.text(f"{far}'{begin}{ALNUM}{end}")
    assert (count, cleared.endswith("[REDACTED:private_key]"), ALNUM in cleared) == (1, True, False)
    assert cleared.startswith(far[:20_000])


def test_a_key_behind_many_that_are_none_is_found(gate: Gate) -> None:
    names = "'-----BEGIN PRIVATE KEY-----', " * 100
    cleared, count = gate.text(json.dumps({"a": f'{names}"\n{KEY}\n"'}))
    assert count == 1
    assert not any(text in cleared for text in BODY.split("\n"))


@pytest.mark.parametrize("beside", [[b'"%b"\n' % BEGIN.encode()] * 20, [b'"%b", ' % BEGIN.encode() * 20]])
def test_beginnings_in_other_strings_hide_no_key(gate: Gate, beside: list[bytes]) -> None:
    code = "\n".join(f'"{text}\\n"' for text in KEY.split("\n"))
    data = json.dumps(code).encode()
    cleared, count = gate.data("a.jsonl", b"".join(beside) + data)
    assert (cleared, count) == (b"".join(beside) + gate.data("a.jsonl", data)[0], 1)
    assert not any(text.encode() in cleared for text in BODY.split("\n"))


def test_a_form_more_costs_little(gate: Gate) -> None:
    """What is in no run of signs is searched by few rules, and many hints are looked for in one pass."""
    text = b'{"type":"user","text":"' + b"so that is what it was about, and no more " * 50 + b'"}\n'
    assert runs(text) == b""
    assert sum(not rule.in_run for rule in RULES) * 3 < len(RULES)
    hints = {hint: b"" for rule in RULES if rule.in_run for hint in rule.hints}
    assert Hints(hints).passes * 5 < len(hints)


def test_each_run_is_looked_at_once() -> None:
    word = b"a-name-of-more-than-20-signs"
    assert runs(b'"%b" (%b) short' % (word, word)).split(b"\n") in (
        [b'"' + word, b"(" + word],
        [b"(" + word, b'"' + word],
    )
    assert runs(b" %b %b" % (word, word)) == b" " + word


def test_at_least_forty_kinds_are_planted_with_a_near_miss() -> None:
    assert len({plant.kind for plant in PLANTED}) >= 40
    assert all(plant.near for plant in PLANTED)


def test_a_redacted_transcript_resumes(gate: Gate, tmp_path: Path) -> None:
    name, parent, lines = "4f1b6c7a-52d0-4c35-9a0e-2f4f6b1c7d11", None, []
    for number, (_, secret, around) in enumerate(SECRETS):
        uuid = f"00000000-0000-4000-8000-{number:012}"
        said = {"role": "user", "content": f"say {around % secret} then"}
        row = {"type": "user", "uuid": uuid, "parentUuid": parent, "sessionId": name, "message": said}
        lines.append(json.dumps(row).encode() + b"\n")
        parent = uuid
    path = tmp_path / f"{name}.jsonl"
    data = b"".join(lines)
    path.write_bytes(data)
    assert loadable(path) == []
    cleared, count = gate.data(path.name, data)
    assert count >= len(SECRETS)
    path.write_bytes(cleared)
    assert loadable(path) == []
