"""The other end: the repository that the archive lies in, reached with git's protocol."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from sessionsync.errors import (
    GitFailed,
    NotPermitted,
    RepositoryMissing,
    ServerFailed,
    TokenRefused,
    Unreachable,
)
from sessionsync.remote.archive.address import public_face
from sessionsync.remote.archive.git import QUICK_S, Git, failure
from sessionsync.remote.archive.refs import OBJECT, PREFIX

# A push of more refs than this is cut; one that fails is halved.
REFS = 200
EMPTY = "Set archive.url to an empty folder, or to one that is not there yet."
ABOVE = "Mount its disk, or make the folder."
# What a repository needs that only this program's pushes fill: packs, not thousands of loose objects, and
# reading by id and without contents, as folding does.
_MADE = {
    "receive.unpackLimit": "1",
    "receive.autogc": "false",
    "gc.auto": "0",
    "uploadpack.allowFilter": "true",
    "uploadpack.allowAnySHA1InWant": "true",
    "sessiond.archive": "true",
}


class Told(NamedTuple):
    """What the other side says of one ref: git's flag (`!` is no) and its words."""

    flag: str
    summary: str

    @property
    def taken(self) -> bool:
        """Whether the ref is there now as it was pushed."""
        return self.flag in {" ", "*", "=", "-"}


class Host:
    """The archive's repository.  Every error is a `RemoteError`; for one thread."""

    def __init__(self, git: Git) -> None:
        self.git = git
        self.address = git.address

    def make(self) -> bool:
        """Make the repository where it is a folder that is not there, or empty; returns whether it was made.

        Raises:
            RepositoryMissing: something else lies there, or the folder above is not there.
        """
        folder = self.address.folder
        if folder is None or (folder / "HEAD").is_file() or (folder / ".git").exists():
            return False
        _check_folder(folder)
        try:
            empty = not folder.exists() or not any(folder.iterdir())
        except OSError as problem:
            raise NotPermitted(
                f"{folder} cannot be read: {problem.strerror}.", hint="Let this user read and write it."
            ) from problem
        if not empty:
            raise RepositoryMissing(
                f"{folder} is not empty and no git repository.",
                hint=EMPTY,
            )
        if not folder.parent.is_dir():
            raise RepositoryMissing(
                f"{folder.parent} is not there, so no archive can be made in it.",
                hint=ABOVE,
            )
        done = self.git.run(["init", "--quiet", "--bare", "--template=", str(folder)])
        for name, value in _MADE.items():
            if not done.code:
                done = self.git.run(["config", name, value], folder=folder)
        if done.code:
            raise failure(done, f"{folder} cannot be made", 0.0, self.address)
        return True

    @property
    def is_ours(self) -> bool:
        """Whether it is a folder that this program made, and so looks after."""
        folder = self.address.folder
        try:
            return folder is not None and "[sessiond]" in (folder / "config").read_text()
        except OSError:
            return False

    def compact(self) -> None:
        """Delete what nothing names any more, where that is in our hands."""
        folder = self.address.folder
        if folder is not None and self.is_ours:
            self.git.run(["repack", "-a", "-d", "-q"], folder=folder)
            self.git.run(["prune", "--expire=now"], folder=folder)

    def refs(self, now: float) -> dict[str, str]:
        """Every ref of ours there, and the object it names."""
        done = self.git.run(["ls-remote", "--refs", self.address.url, f"{PREFIX}*"], far=True)
        if done.code:
            raise failure(done, "The archive cannot be asked", now, self.address)
        found = {}
        for line in done.out.decode("utf-8", "surrogateescape").splitlines():
            oid, _, ref = line.partition("\t")
            if OBJECT.fullmatch(oid) and ref.startswith(PREFIX):
                found[ref] = oid
        return found

    def check_push(self, folder: Path, now: float) -> None:
        """See that a push would be taken, and push nothing; `folder` is scratch, and need not exist.

        Raises:
            NotPermitted: it would be refused.
            RepositoryMissing: there is no repository, and no place to make one.
        """
        if (there := self.address.folder) is not None and not (there / "HEAD").is_file():
            _check_folder(there)
            if there.exists() and any(there.iterdir()) and not (there / ".git").exists():
                raise RepositoryMissing(f"{there} is not empty and no git repository.", hint=EMPTY)
            if not there.parent.is_dir():
                raise RepositoryMissing(
                    f"{there.parent} is not there, so no archive can be made in it.", hint=ABOVE
                )
            if not os.access(there if there.exists() else there.parent, os.W_OK):
                raise NotPermitted(
                    f"{there} cannot be made: it may not be written to.",
                    hint="Let this user write there, or set archive.url to another folder.",
                )
            return
        made = self.git.run(["init", "--quiet", "--bare", "--template=", str(folder)])
        blob = self.git.run(["hash-object", "-w", "--stdin"], folder=folder)
        if made.code or blob.code:
            raise GitFailed(
                f"git does not work in {folder}: {(made.said + blob.said).strip()[:200]}",
                hint="Try it there by hand: git init",
            )
        ref = f"{PREFIX}check"
        told = self.push([f"{blob.out.decode().strip()}:{ref}"], folder, now, options=["--dry-run"])
        if not told.get(ref, Told("!", "")).taken:
            raise NotPermitted(
                f"The archive refuses pushes: {told[ref].summary}",
                hint=f"See what rules and hooks it has for refs below {PREFIX}",
            )

    def is_public(self) -> bool:
        """Whether it can be read without a login by who is not on this machine.

        Raises:
            RemoteError: nobody can tell now, and so nothing should be pushed.
        """
        if not (face := public_face(self.address)):
            return False
        try:
            done = self.git.run(
                ["ls-remote", "--exit-code", face, "HEAD"],
                far=True,
                anonymous=True,
                limit_s=QUICK_S,
                silent_s=QUICK_S / 2,
            )
            if done.code in {0, 2}:  # 2: it answered, and has no such ref
                return True
            raise failure(done, "Whether everyone can read the archive cannot be seen", 0.0, self.address)
        except (TokenRefused, NotPermitted, RepositoryMissing):
            return False
        except (Unreachable, ServerFailed):
            if self.address.origin:
                raise
            return False  # what is reached with ssh need not be on the web at all

    def fetch(
        self,
        wanted: Mapping[str, str],
        folder: Path,
        now: float,
        *,
        options: Sequence[str] = (),
    ) -> None:
        """Fetch into the repository at `folder`: `wanted` maps refs or object ids there to refs here."""
        specs = "".join(f"+{there}:{here}\n" for there, here in wanted.items())
        done = self.git.run(
            [
                *("fetch", "--progress", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules"),
                *(*options, "--stdin", self.address.url),
            ],
            folder=folder,
            stdin=specs.encode(),
            far=True,
        )
        if done.code:
            raise failure(done, "The archive cannot be read", now, self.address)

    def push(
        self,
        specs: Iterable[str],
        folder: Path,
        now: float,
        *,
        options: Sequence[str] = (),
        negotiate: bool = False,
    ) -> dict[str, Told]:
        """Push `<id>:<ref>`s from the repository at `folder` in one go; returns what is said of each ref.

        `negotiate` asks first which commits are there already, where the refs do not tell.
        """
        done = self.git.run(
            ["push", "--porcelain", "--progress", "--no-verify", *options, self.address.url, *specs],
            folder=folder,
            far=True,
            settings={"push.negotiate": "true"} if negotiate else None,
        )
        told = dict(_told(line) for line in done.out.decode(errors="replace").splitlines() if "\t" in line)
        if done.code and all(said.taken for said in told.values()):
            raise failure(done, "The archive could not be written", now, self.address)
        return told


def _check_folder(path: Path) -> None:
    """See that nothing but a folder is in the archive's place."""
    if os.path.lexists(path) and not path.is_dir():
        raise RepositoryMissing(f"{path} is a file, where the archive is to be a folder.", hint=EMPTY)


def _told(line: str) -> tuple[str, Told]:
    flag, spec, summary = [*line.split("\t", 2), "", ""][:3]
    return spec.rpartition(":")[2], Told(flag, re.sub(r"[\x00-\x1f]", " ", summary)[:300])
