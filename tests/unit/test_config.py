"""Settings and paths: what holds without a file, what a file and a variable may say, how a wrong one is told."""

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessionsync.config import Config, differences, load, needs_restart
from sessionsync.errors import ConfigError
from sessionsync.paths import Paths, paths
from sessionsync.peek import is_session_id, leading_id
from sessionsync.places import mirror_of
from sessionsync.values import RULES

HOME = {"HOME": "/home/ada", "SESSIOND_HOME": "/home/ada/s"}
TOKEN = "ghp_" + "a1B2c3D4e5" * 4

# The page of settings that README and `init` show; every default is in it.
DEFAULTS = """
[sources]
claude = []
projects = []
quiet_seconds = 120
[github]
repo = ""
api_url = "https://api.github.com"
issue = 0
authors = []
allow_public = false
creations_per_hour = 250
[tiers]
github_only_bytes = 46080
hybrid_bytes = 204800
comment_bytes = 46080
[backup]
mirror_dir = "~/.claude-backup-sessions"
vault_dir = "~/.claude-backup"
keep_checkpoints = 50
[archive]
url = ""
encrypt_to = []
identity_file = ""
file_history = false
[privacy]
redact = true
patterns = []
allow = []
[health]
interval_seconds = 300
on_critical = ""
[http]
listen = "127.0.0.1:17865"
[log]
level = "info"
format = "auto"
"""


def write(folder: Path, text: str) -> Path:
    file = folder / "config.toml"
    file.write_text(text, encoding="utf-8")
    return file


def told(error: ConfigError) -> str:
    """Return message and hint, after a look at what every error promises: two lines that any terminal takes."""
    assert error.exit_code == 78
    for line in (str(error), error.hint):
        assert line
        assert line.isprintable()
        line.encode()
    return f"{error}\n{error.hint}"


def refused(environ: Mapping[str, str], file: Path | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        load(environ, file)
    return told(caught.value)


# --- defaults --------------------------------------------------------------------------------------------


def test_no_setting_is_needed() -> None:
    config = load(HOME)
    assert config.backup.mirror_dir == Path("/home/ada/.claude-backup-sessions")
    assert config.backup.vault_dir == Path("/home/ada/.claude-backup")
    assert config.github.repo == ""
    assert config.http.address == ("127.0.0.1", 17865)
    assert config.claude_roots(HOME) == (Path("/home/ada/.claude"),)


def test_the_page_of_settings_says_the_defaults_and_misses_none(tmp_path: Path) -> None:
    page = tomllib.loads(DEFAULTS)
    assert [f"{section}.{key}" for section, keys in page.items() for key in keys] == list(RULES)
    assert load(HOME, write(tmp_path, DEFAULTS)) == load(HOME)


def test_every_setting_has_a_rule_that_takes_its_default() -> None:
    config = Config()
    fields = [f"{section}.{key}" for section in config._fields for key in getattr(config, section)._fields]
    assert fields == list(RULES)


def test_claude_roots_follow_the_setting_then_the_variable_then_the_home() -> None:
    moved = {**HOME, "CLAUDE_CONFIG_DIR": "~/c"}
    assert load(moved).claude_roots(moved) == (Path("/home/ada/c"),)
    told = {**moved, "SESSIOND_SOURCES_CLAUDE": '["/a", "~/b/../d/"]'}
    assert load(told).claude_roots(told) == (Path("/a"), Path("/home/ada/d"))


# --- a file, variables over it ---------------------------------------------------------------------------


def test_variables_win_over_the_file(tmp_path: Path) -> None:
    file = write(tmp_path, '[github]\nrepo = "a/b"\nissue = 3\n[log]\nlevel = "debug"\n')
    config = load({**HOME, "SESSIOND_GITHUB_REPO": "c/d", "SESSIOND_LOG_LEVEL": ""}, file)
    assert (config.github.repo, config.github.issue, config.log.level) == ("c/d", 3, "debug")


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("GITHUB_ISSUE", "7", 7),
        ("GITHUB_ISSUE", " 0x10 ", 16),
        ("GITHUB_ALLOW_PUBLIC", "true", True),
        ("GITHUB_REPO", "o/n", "o/n"),
        ("GITHUB_REPO", '"o/n"', "o/n"),
        ("GITHUB_REPO", "'o/n'", "o/n"),
        ("GITHUB_AUTHORS", '["ada", "dependabot[bot]"]', ("ada", "dependabot[bot]")),
        ("HTTP_LISTEN", '""', ""),
        ("HTTP_LISTEN", "[::1]:0", "[::1]:0"),
        ("BACKUP_MIRROR_DIR", "~/m//n/", Path("/home/ada/m/n")),
        ("BACKUP_MIRROR_DIR", "~", None),
        ("SOURCES_PROJECTS", '["~/src/*"]', ("/home/ada/src/*",)),
        ("ARCHIVE_IDENTITY_FILE", "/k", Path("/k")),
        ("ARCHIVE_IDENTITY_FILE", '""', None),
        ("HEALTH_ON_CRITICAL", "mail -s 'look here' me", "mail -s 'look here' me"),
        ("TIERS_COMMENT_BYTES", "65_536", 65536),
    ],
)
def test_a_variable_is_a_toml_value_or_a_bare_word(name: str, text: str, value: object) -> None:
    environ = {**HOME, f"SESSIOND_{name}": text}
    if name == "BACKUP_MIRROR_DIR" and value is None:
        assert "one lies in the other" in refused(environ)
        return
    section, _, key = name.lower().partition("_")
    assert getattr(getattr(load(environ), section), key) == value


def test_variables_of_no_section_are_none_of_ours() -> None:
    assert load({**HOME, "SESSIOND_DEMO": "1", "SESSIOND_FOO_BAR": "2", "GITHUB_REPO": "no"}) == load(HOME)


def test_a_file_that_is_missing_is_no_file(tmp_path: Path) -> None:
    assert load(HOME, tmp_path / "none.toml") == load(HOME, write(tmp_path, "")) == load(HOME)


# --- what is refused, and how it is told -----------------------------------------------------------------

RECIPIENT = "age1yplncq6p0v9kj6pz3jmj7z33k66tds7c46et75dr2he92tmc4awsxannsw"
BAD = [
    ("sources.claude", '"~/x"', "a list of folders"),
    ("sources.claude", '["x"]', "it is relative"),
    ("sources.claude", '["~root/x"]', "it is relative"),
    ("sources.claude", "[3]", "a list of folders"),
    ("sources.projects", '["a\\u0000b"]', "control character"),
    ("sources.quiet_seconds", "0", "a whole number from 1"),
    ("sources.quiet_seconds", "true", "a whole number from 1"),
    ("sources.quiet_seconds", "1.5", "a whole number from 1"),
    ("sources.quiet_seconds", '"60"', "a whole number from 1"),
    ("sources.quiet_seconds", "1e999", "a whole number from 1"),
    ("sources.quiet_seconds", "99999999999999999999", "a whole number from 1"),
    ("github.repo", '"name"', "owner/name"),
    ("github.repo", '"o/n/x"', "owner/name"),
    ("github.repo", '"o/.."', "owner/name"),
    ("github.repo", '"-o/n"', "owner/name"),
    ("github.repo", '"o/n\\n"', "control character"),
    ("github.repo", '"o/n.git"', "it ends in .git"),
    ("github.repo", '"https://github.com/o/n"', "owner/name"),
    ("github.api_url", '"http://api.github.com"', "https"),
    ("github.api_url", '"https://"', "no host"),
    ("github.api_url", '"ftp://h"', "https"),
    ("github.api_url", '"https://h:0"', "https"),
    ("github.api_url", '"https://h:99999"', "https"),
    ("github.api_url", '"https://h/?a=b"', "more than scheme"),
    ("github.api_url", '"http://127.0.0.1.example.org"', "https"),
    ("github.issue", "-1", "a whole number from 0"),
    ("github.authors", '["@ada"]', "without @"),
    ("github.allow_public", '"yes"', "true or false"),
    ("github.allow_public", "1", "true or false"),
    ("github.creations_per_hour", "501", "from 1 to 500"),
    ("tiers.comment_bytes", "4095", "from 4096 to 65536"),
    ("tiers.comment_bytes", "65537", "from 4096 to 65536"),
    ("tiers.hybrid_bytes", "46079", "the first is larger"),
    ("backup.keep_checkpoints", "0", "a whole number from 1"),
    ("backup.vault_dir", '""', "it is relative"),
    ("backup.vault_dir", '"~/.claude-backup-sessions"', "one lies in the other"),
    ("backup.vault_dir", '"~/.claude-backup-sessions/vault"', "one lies in the other"),
    ("backup.vault_dir", '"/"', "one lies in the other"),
    ("backup.mirror_dir", '"~/.claude/backup"', "one lies in the other"),
    ("archive.url", '"ext::sh -c id"', "a git URL"),
    ("archive.url", '"-oProxyCommand=id"', "a git URL"),
    ("archive.url", '"-x@example.org:me/r.git"', "a git URL"),
    ("archive.url", '"ssh://-oProxyCommand=id/x"', "a git URL"),
    ("archive.url", '"http://example.org/r.git"', "a git URL"),
    ("archive.url", '"git://example.org/r.git"', "a git URL"),
    ("archive.url", '"file://example.org/r.git"', "a git URL"),
    ("archive.url", '"relative/folder"', "a git URL"),
    ("archive.encrypt_to", '["age1short"]', '"age1short": it is no whole recipient'),
    ("archive.encrypt_to", f'["{RECIPIENT}", "{RECIPIENT[:-1]}q"]', f'"{RECIPIENT[:-1]}q": it is no whole'),
    ("archive.encrypt_to", '["ann@example.org"]', '"ann@example.org": it is no whole recipient'),
    ("archive.encrypt_to", '["ssh-ed25519 AAAA"]', '"ssh-ed25519 AAAA": it is no whole key'),
    ("archive.encrypt_to", '["ecdsa-sha2-nistp256 AAAA"]', "only ssh-ed25519 and ssh-rsa"),
    ("archive.encrypt_to", '["age1yubikey1qqqq"]', "it needs a plugin"),
    ("archive.encrypt_to", f"{[RECIPIENT] * 21}", "these 21 are too many"),
    ("archive.encrypt_to", f'"{RECIPIENT}"', "a list of at most 20 age recipients"),
    ("archive.identity_file", '"key.txt"', "it is relative"),
    ("privacy.patterns", '["("]', "regular expressions"),
    ("privacy.patterns", '["[[a]"]', "regular expressions"),
    ("privacy.patterns", '["a*"]', "it matches the empty text"),
    ("privacy.patterns", '["a{1,99999999999999999999}"]', "regular expressions"),
    ("privacy.allow", '[""]', "none empty"),
    ("health.interval_seconds", "0", "a whole number from 1"),
    ("health.on_critical", '"echo \'half"', "No closing quotation"),
    ("http.listen", '"0.0.0.0:80"', "on loopback"),
    ("http.listen", '"example.org:80"', "on loopback"),
    ("http.listen", '"127.0.0.1"', "on loopback"),
    ("http.listen", '"127.0.0.1:65536"', "on loopback"),
    ("http.listen", '"127.0.0.1:٣"', "on loopback"),
    ("log.level", '"loud"', "debug, info, warning, error"),
    ("log.format", '"xml"', "auto, json, text"),
]


@pytest.mark.parametrize(("setting", "value", "saying"), BAD)
def test_a_bad_value_names_place_setting_and_what_is_allowed(
    tmp_path: Path, setting: str, value: str, saying: str
) -> None:
    section, key = setting.split(".")
    file = write(tmp_path, f"[{section}]\n{key} = {value}\n")
    by_file = refused(HOME, file)
    name = f"SESSIOND_{section}_{key}".upper()
    by_variable = refused({**HOME, name: value})
    for answer, place in ((by_file, str(file)), (by_variable, name)):
        assert answer.startswith(place + ":")
        assert setting in answer
        assert saying in answer


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("github.api_url", "http://127.0.0.1:4010/api"),
        ("github.api_url", "http://[::1]:4010"),
        ("github.api_url", "https://ghe.example.org/api/v3/"),
        ("github.repo", "octo-org_acme/.github"),
        ("archive.url", "github"),
        ("archive.url", "https://git.example.org/me/r.git"),
        ("archive.url", "http://127.0.0.1:8000/r.git"),
        ("archive.url", "ssh://git@example.org:22/me/r.git"),
        ("archive.url", "git@example.org:me/r.git"),
        ("archive.url", "file:///srv/r.git"),
        ("archive.url", "/srv/r.git"),
        ("http.listen", "localhost:9000"),
        ("http.listen", "127.8.9.10:1"),
    ],
)
def test_good_values_are_taken(setting: str, value: str) -> None:
    section, key = setting.split(".")
    config = load({**HOME, f"SESSIOND_{section}_{key}".upper(): value})
    assert str(getattr(getattr(config, section), key)) == value.rstrip("/")


@pytest.mark.parametrize(
    ("text", "saying", "near"),
    [
        (
            "[github]\nrepos = 'a/b'\n",
            'there is no setting github.repos (value "a/b")',
            "Did you mean github.repo?",
        ),
        ("[log]\nlisten = 'x'\n", "log.listen", "Did you mean http.listen?"),
        ("[http]\nlevel = 'x'\n", "http.level", "Did you mean log.level?"),
        ("[gitub]\nrepo = 'a/b'\n", "gitub.repo", "Did you mean github.repo?"),
        ("repo = 'a/b'\n", "there is no setting repo", "Did you mean github.repo?"),
        ("github = 3\n", "there is no setting github (value 3)", "[github] takes repo, api_url"),
        ("[zzz]\n", "there is no setting zzz", "The sections are sources, github"),
        ("[[github]]\nrepo = 'a/b'\n", "there is no setting github", "[github] takes"),
        ("[github.repo]\nx = 1\n", "github.repo", "owner/name"),
        ('[github]\n"re\\npo" = 1\n', r"github.re\npo", "Did you mean github.repo?"),
    ],
)
def test_an_unknown_key_is_told_with_the_nearest(tmp_path: Path, text: str, saying: str, near: str) -> None:
    answer = refused(HOME, write(tmp_path, text))
    assert saying in answer
    assert near in answer


def test_an_unknown_variable_of_a_section_is_told() -> None:
    answer = refused({**HOME, "SESSIOND_GITHUB_REPOO": "a/b"})
    assert answer.startswith("SESSIOND_GITHUB_REPOO: there is no setting github.repoo")
    assert "Did you mean github.repo?" in answer


@pytest.mark.parametrize(
    "text", ["[1, 2", "1\n[log]", '"a', "1\nissue = 3", "[" * 5000, "9" * 5000, "[1]\x00"]
)
def test_a_variable_that_is_no_single_toml_value_is_told(text: str) -> None:
    for name in ("GITHUB_ISSUE", "GITHUB_AUTHORS"):
        assert f"SESSIOND_{name}" in refused({**HOME, f"SESSIOND_{name}": text})


@pytest.mark.parametrize(
    "content",
    [
        b"[github\n",
        b"\xff\xfe",
        b"\xef\xbb\xbf[log]\n",
        b"a = " + b"[" * 5000,
        b"[log]\nlevel = 1\nlevel = 2\n",
        b"\0",
    ],
)
def test_a_file_that_is_no_toml_is_told(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "config.toml"
    file.write_bytes(content)
    assert f"{file} is not TOML" in refused(HOME, file)


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    assert f"{tmp_path} cannot be read" in refused(HOME, tmp_path)


# --- no token in a settings file, none in an error ---------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        f"[github]\ntoken = '{TOKEN}'\n",
        "[github]\ntoken = 'hunter2'\n",
        "github_token = 'hunter2'\n",
        "[secrets]\nx = 'hunter2'\n",
        f"[github]\nrepo = '{TOKEN}'\n",
        f"[github]\nauthors = ['{TOKEN}']\n",
        f"[gitub]\nx = {{ y = '{TOKEN}' }}\n",
        f"[health]\non_critical = 'curl -H Authorization:{TOKEN} http://x'\n",
        f"[github]\napi_url = 'https://me:{TOKEN}@example.org'\n",
        f"[archive]\nurl = 'https://{TOKEN}@example.org/r.git'\n",
        "[archive]\nurl = 'https://hunter2@example.org/r.git'\n",
        "[archive]\nurl = 'https://me:hunter2@example.org/r.git'\n",
        "[archive]\nurl = 'ssh://git:hunter2@example.org/r.git'\n",
        "[github]\napi_url = 'https://me:hunter2@example.org'\n",
        "[archive]\nencrypt_to = ['AGE-SECRET-KEY-1QQQQQQQQQQQQQQQQQQ']\n",
        f"[privacy]\npatterns = ['({TOKEN}']\n",
    ],
)
def test_a_token_is_refused_and_never_repeated(tmp_path: Path, text: str) -> None:
    answer = refused(HOME, write(tmp_path, text))
    assert TOKEN not in answer
    assert "hunter2" not in answer
    assert "QQQQ" not in answer


def test_a_token_in_a_variable_is_refused_with_its_right_place() -> None:
    answer = refused({**HOME, "SESSIOND_GITHUB_TOKEN": "hunter2"})
    assert "hunter2" not in answer
    assert "GH_TOKEN" in answer


def test_privacy_may_speak_of_tokens() -> None:
    config = load(
        {**HOME, "SESSIOND_PRIVACY_ALLOW": f'["{TOKEN}"]', "SESSIOND_PRIVACY_PATTERNS": '["acme_[0-9]+"]'}
    )
    assert config.privacy.allow == (TOKEN,)


# --- whatever is written, the answer is a Config or a ConfigError ------------------------------------------

scalars = st.one_of(
    st.booleans().map(lambda flag: str(flag).lower()),
    st.integers().map(str),
    st.floats().map(lambda number: str(number).replace("e+", "e")),
    st.datetimes().map(lambda at: at.isoformat()),
    st.text(max_size=40).map(
        lambda text: (
            '"'
            + "".join(f"\\U{ord(letter):08x}" for letter in text if not "\ud800" <= letter <= "\udfff")
            + '"'
        )
    ),
    st.sampled_from(
        [
            "'~'",
            "'~/x'",
            "'/'",
            "'//a'",
            "'https://['",
            "'https://a:b'",
            "'ssh://x'",
            "'a:b'",
            "'[::1]:1'",
            "'[::ffff:1.2.3.4]:1'",
            "'(?P<a'",
            "'\\'",
        ]
    ),
    st.from_regex(r"[ -&(-~]{0,30}", fullmatch=True).map(lambda text: f"'{text}'"),
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: "[" + ", ".join(items) + "]")
        | st.dictionaries(st.sampled_from("abc"), inner, max_size=2).map(
            lambda items: "{" + ", ".join(f"{key} = {item}" for key, item in items.items()) + "}"
        )
    ),
    max_leaves=4,
)


def allowed_or_told(environ: Mapping[str, str], file: Path | None = None) -> None:
    try:
        load(environ, file)
    except ConfigError as error:
        told(error)


@given(st.sampled_from(sorted(RULES)), values)
def test_any_value_in_the_file_is_taken_or_told(tmp_path: Path, setting: str, value: str) -> None:
    section, key = setting.split(".")
    allowed_or_told(HOME, write(tmp_path, f"[{section}]\n{key} = {value}\n"))


@given(
    st.dictionaries(
        st.sampled_from(
            [f"SESSIOND_{name.replace('.', '_').upper()}" for name in RULES]
            + ["SESSIOND_HOME", "HOME", "CLAUDE_CONFIG_DIR", "SESSIOND_LOG_X", "SESSIOND_LOG_"]
        ),
        st.text(max_size=40) | values,
        max_size=4,
    )
)
def test_any_environment_is_taken_or_told(environ: dict[str, str]) -> None:
    allowed_or_told({**HOME, **environ})


@given(st.binary(max_size=60) | st.text(alphabet="[]=\".'\n#ablog ", max_size=40).map(str.encode))
def test_any_bytes_in_the_file_are_taken_or_told(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "config.toml"
    file.write_bytes(content)
    allowed_or_told(HOME, file)


# --- reload ------------------------------------------------------------------------------------------------


def test_differences_name_the_settings_and_which_wait_for_a_restart() -> None:
    old = load(HOME)
    new = load(
        {
            **HOME,
            "SESSIOND_GITHUB_REPO": "a/b",
            "SESSIOND_HTTP_LISTEN": '""',
            "SESSIOND_BACKUP_VAULT_DIR": "/v",
        }
    )
    changed = differences(old, new)
    assert changed == ("github.repo", "backup.vault_dir", "http.listen")
    assert [needs_restart(setting) for setting in changed] == [False, True, True]
    assert differences(old, load(HOME)) == ()


@pytest.mark.parametrize("setting", sorted(RULES))
def test_only_listen_and_backup_wait_for_a_restart(setting: str) -> None:
    assert needs_restart(setting) == bool(re.match(r"http\.listen$|backup\.", setting))


# --- paths -------------------------------------------------------------------------------------------------


def test_one_folder_holds_all_when_told_so() -> None:
    found = paths({"HOME": "/h", "SESSIOND_HOME": "~/s"})
    assert found == Paths(
        Path("/h/s/config.toml"), Path("/h/s/state"), Path("/h/s/run/ctl.sock"), Path("/h/s/log")
    )
    assert (found.state_db, found.index_db) == (Path("/h/s/state/state.db"), Path("/h/s/state/index.db"))
    assert (found.lock, found.spool_dir) == (Path("/h/s/state/lock"), Path("/h/s/state/spool"))


def test_the_file_there_is_the_one_read(tmp_path: Path) -> None:
    write(tmp_path, "[github]\nissue = 9\n")
    assert load({"HOME": "/h", "SESSIOND_HOME": str(tmp_path)}).github.issue == 9


def test_without_it_the_platform_has_its_own_places(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SESSIOND_HOME")
    found = paths(os.environ, run_user=tmp_path / "none")
    assert found.config_file == home / "xdg/config/sessiond/config.toml"
    assert found.state_db == home / "xdg/state/sessiond/state.db"
    assert found.socket.parent == found.state_dir


@pytest.mark.parametrize(
    ("mode", "owned", "used"),
    [
        (0o700, True, True),
        (0o755, True, False),
        (0o770, True, False),
        (0o500, True, False),
        (0o700, False, False),
    ],
)
def test_the_socket_lies_in_run_user_where_that_is_ours_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int, owned: bool, used: bool
) -> None:
    monkeypatch.delenv("SESSIOND_HOME")
    uid = os.getuid() if owned else os.getuid() + 1
    runtime = tmp_path / str(uid)
    runtime.mkdir()
    runtime.chmod(mode)
    found = paths(os.environ, run_user=tmp_path, uid=uid)
    assert (found.socket == runtime / "sessiond" / "ctl.sock") is used
    assert found.socket.is_relative_to(runtime if used else found.state_dir)


def test_a_link_in_run_user_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SESSIOND_HOME")
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / str(os.getuid())).symlink_to(tmp_path / "real")
    found = paths(os.environ, run_user=tmp_path)
    assert found.socket.parent == found.state_dir


def test_sessiond_home_wins_over_run_user(tmp_path: Path) -> None:
    (tmp_path / str(os.getuid())).mkdir(mode=0o700)
    assert paths(HOME, run_user=tmp_path).socket == Path("/home/ada/s/run/ctl.sock")


def test_a_socket_path_no_system_could_bind_is_told() -> None:
    longest = "/" + "a" * (103 - len("/run/ctl.sock") - 1)
    assert len(str(paths({**HOME, "SESSIOND_HOME": longest}).socket)) == 103
    assert "103 bytes" in refused({**HOME, "SESSIOND_HOME": longest + "a"})
    assert "103 bytes" in refused({**HOME, "SESSIOND_HOME": "/" + "é" * 50})


@pytest.mark.parametrize(
    ("environ", "saying"),
    [
        ({"HOME": "x"}, "HOME = 'x' is relative"),
        ({"HOME": "/h", "SESSIOND_HOME": "x"}, "SESSIOND_HOME = 'x'"),
        ({"HOME": "/h", "SESSIOND_HOME": "/s", "CLAUDE_CONFIG_DIR": "x"}, "CLAUDE_CONFIG_DIR = 'x'"),
    ],
)
def test_a_relative_folder_in_the_environment_is_told(environ: dict[str, str], saying: str) -> None:
    assert saying in refused(environ)


def test_a_runner_says_where_github_is_unless_the_settings_do(tmp_path: Path) -> None:
    runner = {"HOME": str(tmp_path), "GITHUB_ACTIONS": "true", "GITHUB_API_URL": "https://ghe.example/api/v3"}
    runner["GITHUB_REPOSITORY"] = "o/r"
    assert load(runner).github.api_url == "https://ghe.example/api/v3"
    assert load(runner).github.repo == ""
    assert (
        load(runner | {"SESSIOND_GITHUB_API_URL": "https://other.example"}).github.api_url[8:]
        == "other.example"
    )
    assert load(runner | {"GITHUB_ACTIONS": ""}).github.api_url == "https://api.github.com"


def test_a_link_does_not_make_two_folders_of_one(tmp_path: Path) -> None:
    (tmp_path / "vault").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "vault")
    environ = {
        "HOME": str(tmp_path),
        "SESSIOND_BACKUP_VAULT_DIR": str(tmp_path / "vault"),
        "SESSIOND_BACKUP_MIRROR_DIR": str(tmp_path / "link" / "copies"),
    }
    assert "one lies in the other" in refused(environ)


@pytest.mark.parametrize(
    ("text", "environ", "is_read"),
    [
        (None, {}, False),
        ("", {}, False),
        ('[github]\nrepo = "o/n"\n[log]\nlevel = "debug"', {}, False),
        (None, {"SESSIOND_LOG_LEVEL": "debug", "SESSIOND_BACKUP_KEEP_CHECKPOINTS": "5"}, False),
        (None, {"SESSIOND_BACKUP_MIRROR_DIR": "/m/../mirror/"}, False),
        (None, {"SESSIOND_BACKUP_MIRROR_DIR": " ~/mirror"}, True),
        (None, {"SESSIOND_BACKUP_MIRROR_DIR": "~/mirror"}, False),
        (None, {"SESSIOND_BACKUP_MIRROR_DIR": ""}, False),
        (None, {"SESSIOND_BACKUP_MIRROR_DIR": '"/m"'}, True),
        (None, {"SESSIOND_BACKUP_mirror_dir": "/m"}, True),
        (None, {"SESSIOND_SOURCES_CLAUDE": '["/agent"]'}, True),
        ('backup.mirror_dir = "/m"', {}, True),
        ('[backup]\nmirror_dir = "/m"', {"SESSIOND_BACKUP_MIRROR_DIR": "/other"}, True),
        ('[backup]\n"mirror\\u005fdir" = "/m"', {}, True),
        ('[sources]\nclaude = ["/agent"]', {}, True),
    ],
)
def test_where_copies_lie_is_known_without_parsing_where_it_is_usual(
    tmp_path: Path, text: str | None, environ: dict[str, str], *, is_read: bool
) -> None:
    """Which must be what the settings say, as hook and daemon write the same copies."""
    environ |= {"HOME": "/home/ada"}
    file = tmp_path / "config.toml"
    if text is not None:
        write(tmp_path, text)
    found = mirror_of(environ, str(file))
    assert (found is None) == is_read
    if found is not None:
        config = load(environ, file)
        assert (Path(found), config.sources.claude) == (config.backup.mirror_dir, ())


@given(st.from_regex(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}", fullmatch=True), st.data())
def test_an_id_is_known_by_its_digits(text: str, data: st.DataObject) -> None:
    assert is_session_id(text)
    assert (leading_id(text), leading_id(f"{text}-a1b2c3"), leading_id(text[1:])) == (text, text, "")
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.characters() | st.sampled_from("-0fFgG\u0660"))
    changed = f"{text[:at]}{other}{text[at + 1 :]}"
    pattern = r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"
    for each in (changed, f"{text}0", text[:-1], "", f"{text}\n"):
        assert is_session_id(each) == (re.fullmatch(pattern, each) is not None)
