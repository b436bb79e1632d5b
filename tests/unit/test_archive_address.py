"""What `archive.url` means to git, and what git's words mean to us."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sessionsync.config import Config
from sessionsync.errors import (
    GitFailed,
    Limited,
    NotPermitted,
    Refused,
    RemoteError,
    RepositoryMissing,
    ServerFailed,
    TokenRefused,
    Unreachable,
)
from sessionsync.remote.archive import refs
from sessionsync.remote.archive.address import Address, address_of, public_face
from sessionsync.remote.archive.git import Done, Git, failure, refusal
from sessionsync.remote.archive.host import Host
from tests.fakes.git_host import GitHost


def config(url: str, repo: str = "o/r", api: str = "https://api.github.com") -> Config:
    made = Config()
    return made._replace(
        archive=made.archive._replace(url=url), github=made.github._replace(repo=repo, api_url=api)
    )


@pytest.mark.parametrize(
    ("url", "api", "expected"),
    [
        ("github", "https://api.github.com", Address("https://github.com/o/r.git", repo="o/r")),
        ("github", "https://api.acme.ghe.com", Address("https://acme.ghe.com/o/r.git", repo="o/r")),
        ("github", "https://git.acme.com/api/v3", Address("https://git.acme.com/o/r.git", repo="o/r")),
        ("github", "http://127.0.0.1:99", Address("http://127.0.0.1:99/git/o/r.git", repo="o/r")),
        (
            "https://github.com/a/b.git",
            "https://api.github.com",
            Address("https://github.com/a/b.git", repo="a/b"),
        ),
        ("https://gitlab.com/a/b.git", "https://api.github.com", Address("https://gitlab.com/a/b.git")),
        ("git@github.com:a/b.git", "https://api.github.com", Address("git@github.com:a/b.git")),
        ("/srv/archive.git", "https://api.github.com", Address("/srv/archive.git", Path("/srv/archive.git"))),
        ("file:///srv/a%20b.git", "https://api.github.com", Address("/srv/a b.git", Path("/srv/a b.git"))),
    ],
)
def test_where_the_archive_lies(url: str, api: str, expected: Address) -> None:
    assert address_of(config(url, api=api)) == expected


def test_github_without_a_repository_is_no_archive() -> None:
    assert address_of(config("github", repo="")) is None
    assert not config("github", repo="").has_archive
    assert address_of(config("")) is None


@pytest.mark.parametrize(
    ("url", "face"),
    [
        ("https://gitlab.com/a/b.git", "https://gitlab.com/a/b.git"),
        ("git@gitlab.com:a/b.git", "https://gitlab.com/a/b.git"),
        ("ssh://git@git.acme.com:2222/a/b.git", "https://git.acme.com/a/b.git"),
        ("http://127.0.0.1:99/a/b.git", ""),
    ],
)
def test_where_everyone_could_read_it(url: str, face: str) -> None:
    assert public_face(Address(url)) == face
    assert public_face(Address("/srv/a", Path("/srv/a"))) == ""


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("fatal: Authentication failed for 'https://github.com/o/r.git/'", TokenRefused),
        ("fatal: could not read Username for 'https://gitlab.com': terminal prompts disabled", TokenRefused),
        (
            "remote: Permission to o/r.git denied to me.\nfatal: unable to access '…': The requested URL returned error: 403",
            NotPermitted,
        ),
        (
            "git@github.com: Permission denied (publickey).\nfatal: Could not read from remote repository.",
            NotPermitted,
        ),
        ("Host key verification failed.\nfatal: Could not read from remote repository.", NotPermitted),
        (
            "remote: Repository not found.\nfatal: repository 'https://github.com/o/r.git/' not found",
            RepositoryMissing,
        ),
        ("fatal: '/srv/x' does not appear to be a git repository", RepositoryMissing),
        ("fatal: unable to access '…': The requested URL returned error: 429", Limited),
        ("error: RPC failed; HTTP 502 curl 22 The requested URL returned error: 502", ServerFailed),
        ("fatal: unable to access '…': Could not resolve host: github.com", Unreachable),
        ("fatal: unable to access '…': Failed to connect to github.com port 443", Unreachable),
        ("error: RPC failed; curl 56 Recv failure: Connection reset by peer", Unreachable),
        ("fatal: the remote end hung up unexpectedly", Unreachable),
        ("error: file write error: No space left on device", GitFailed),
        ("fatal: loose object 1234 (stored in …) is corrupt", GitFailed),
    ],
)
def test_what_git_says_has_a_class(said: str, kind: type[RemoteError]) -> None:
    error = failure(
        Done(128, b"", said), "It failed", 1000.0, Address("https://github.com/o/r.git", repo="o/r")
    )
    assert type(error) is kind
    assert str(error).startswith("It failed")
    assert error.hint


def test_no_login_is_repeated() -> None:
    said = "fatal: unable to access 'https://me:ghp_secret@github.com/o/r.git/': Could not resolve host"
    assert "ghp_secret" not in str(
        failure(Done(128, b"", said), "x", 0.0, Address("https://github.com/o/r.git"))
    )


@pytest.mark.parametrize(
    ("summary", "kind"),
    [
        ("[rejected] (non-fast-forward)", None),
        ("[rejected] (fetch first)", None),
        ("[remote rejected] (pre-receive hook declined)", Refused),
        ("[remote rejected] (failed to update ref)", ServerFailed),
        ("[remote failure] (remote failed to report status)", ServerFailed),
        ("[remote rejected] (missing necessary objects)", ServerFailed),
    ],
)
def test_what_a_host_says_of_a_ref(summary: str, kind: type[RemoteError] | None) -> None:
    error = refusal(summary, "The ref")
    assert type(error) is (kind or type(None))


def test_an_id_that_is_too_long_for_a_file_is_cut_and_still_its_own() -> None:
    one, two = ("note.app." + "ü" * 200 + end for end in "ab")
    assert refs.encode(one) != refs.encode(two)
    assert len(refs.encode(one)) <= refs.LONGEST
    assert refs.parse(refs.place("note", one, "0a1b2c3d").ref) == refs.place("note", one, "0a1b2c3d")


HTTPS, SSH = "https://git.example/o/r.git", "git@git.example:o/r.git"


@pytest.mark.parametrize(
    ("url", "code", "said", "is_public"),
    [
        (HTTPS, 0, "", True),
        (HTTPS, 2, "", True),
        (HTTPS, 128, "fatal: could not read Username for 'https://git.example'", False),
        (HTTPS, 128, "fatal: repository 'https://git.example/o/r.git/' not found", False),
        (HTTPS, 128, "fatal: unable to access '…': Could not resolve host: git.example", None),
        (HTTPS, 128, "fatal: unable to access '…': The requested URL returned error: 502", None),
        (SSH, 0, "", True),
        (SSH, 128, "fatal: unable to access '…': Failed to connect to git.example port 443", False),
    ],
)
def test_where_nobody_can_tell_whether_everyone_could_read_it_nothing_is_pushed(
    tmp_path: Path, url: str, code: int, said: str, is_public: bool | None
) -> None:
    git = tmp_path / "bin" / "git"
    git.parent.mkdir()
    git.write_text(f'#!/bin/sh\necho "{said}" >&2\nexit {code}\n')
    git.chmod(0o755)
    host = Host(Git(Address(url), {"PATH": str(git.parent)}, tmp_path))
    if is_public is None:
        with pytest.raises((Unreachable, ServerFailed)):
            host.is_public()
    else:
        assert host.is_public() is is_public


def test_a_login_of_this_user_does_not_make_an_archive_public(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login x-access-token password secret\n")
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    with GitHost(tmp_path / "repos", token="secret") as there:
        there.make("o/r")
        # what lies on loopback is nobody else's: here it stands for a host of the web
        monkeypatch.setattr("sessionsync.remote.archive.host.public_face", lambda address: address.url)
        host = Host(Git(Address(there.url("o/r")), environ, tmp_path / "git"))
        assert not host.is_public()
        there.token = ""
        assert host.is_public()


def test_git_runs_nothing_of_anybodys(tmp_path: Path) -> None:
    """No hook, no rewriting of addresses, no `ext::`, and no settings but those that are given."""
    ran = tmp_path / "ran"
    home, repo = tmp_path / "anybodys", tmp_path / "repo"
    home.mkdir()
    there = str(tmp_path / "there")
    (home / ".gitconfig").write_text(
        f'[url "{tmp_path}/elsewhere"]\n\tinsteadOf = {there}\n'
        f"[core]\n\thooksPath = {home}\n\tfsmonitor = touch {ran}\n[alias]\n\tpush = !touch {ran}\n"
    )
    git = Git(Address(there, Path(there)), {"PATH": os.environ["PATH"], "HOME": str(home)}, tmp_path)
    for bare in (there, str(repo)):
        assert git.run(["init", "--quiet", "--bare", bare]).code == 0
    for folder in (home, repo / "hooks"):
        folder.mkdir(exist_ok=True)
        for name in ("pre-push", "post-index-change", "reference-transaction"):
            (folder / name).write_text(f"#!/bin/sh\ntouch {ran}\n")
            (folder / name).chmod(0o755)
    blob = git.run(["hash-object", "-w", "--stdin"], folder=repo, stdin=b"x").out.decode().strip()
    assert Host(git).push([f"{blob}:refs/sessiond/check"], repo, 0.0)["refs/sessiond/check"].taken
    assert git.run(["ls-remote", f"ext::sh -c touch% {ran}"], far=True).code
    assert not ran.exists()
