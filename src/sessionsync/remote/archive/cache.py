"""The local bare repository: what is on its way to the archive, and what was read from it.

A cache: it may be deleted at any time, and is then filled anew from the archive or from the vault.  Two git
processes are held open on it, one that writes (`fast-import`) and one that reads (`cat-file`), since a
process for each object would cost more than the object.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sessionsync.errors import CopyError, GitFailed, NoSuchCheckpoint, RedactionFailed
from sessionsync.remote.archive.git import Git
from sessionsync.remote.archive.refs import OBJECT
from sessionsync.remote.archive.tree import MANIFEST

FETCHED = "refs/fetched/"
"""Where what was read lies, out of the way of what is written."""
BLOB_BYTES = 64 * 1024 * 1024
# So many packs make every look slower: then they become fewer.
MANY_PACKS = 40
_TIDY_S = 600.0
# What git has not touched for so long it will not go on with: it was killed.
LEFT_S = 86_400.0
_AUTHOR = b"sessiond <sessiond@localhost>"


class Cache:
    """The repository at `folder`, made when it is first used.

    One thread writes.  Others, and other processes, read with a `Cache` of their own.
    """

    def __init__(self, folder: Path, git: Git) -> None:
        self.folder = folder
        self.git = git
        self._reader: Reader | None = None
        self._writer: Writer | None = None
        self.written = 0
        """Bytes of all objects that were written through this."""

    @property
    def is_there(self) -> bool:
        """Whether there is a repository."""
        return (self.folder / "HEAD").is_file() and (self.folder / "objects").is_dir()

    def make(self) -> None:
        """See that the repository is there.

        Raises:
            GitFailed: it cannot be made.
        """
        if self.is_there:
            return
        self.close()
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as problem:
            raise GitFailed(
                f"{self.folder} cannot be made: {problem.strerror}.", hint="See that its disk is writable."
            ) from problem
        done = self.git.run(["init", "--quiet", "--bare", "--template=", str(self.folder)])
        if done.code:
            raise GitFailed(
                f"{self.folder} cannot be made: {done.said.strip()[:200]}",
                hint="Try it there by hand: git init --bare",
            )

    def unlock(self) -> None:
        """Remove locks that a killed writer left on the refs that only the writer writes; once, at start."""
        for lock in [*self.folder.glob("refs/sessiond/**/*.lock"), self.folder / "packed-refs.lock"]:
            with suppress(OSError):
                lock.unlink()

    def drop(self) -> None:
        """Delete it all: it is filled anew when it is needed."""
        self.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def close(self) -> None:
        """Let go of the processes that are held open."""
        reader, writer = self._reader, self._writer
        self._reader = self._writer = None
        if reader is not None:
            reader.close()
        if writer is not None:
            writer.close()

    # --- reading

    def read(self, name: str, *, at_most: int = BLOB_BYTES) -> bytes | None:
        """An object, by its id or as `<id>:<path>`; None where it is missing, damaged or too long."""
        for _ in range(2):
            if not self.is_there:
                return None
            if self._reader is None:
                self._reader = Reader(self.git, self.folder)
            try:
                return self._reader.read(name, at_most)
            except (OSError, ValueError):  # it ended: by a damaged object, or as the cache was deleted
                self._reader.close()
                self._reader = None
        return None

    def has(self, commit: str) -> bool:
        """Whether a commit is here, with its manifest."""
        return bool(OBJECT.fullmatch(commit)) and self.read(f"{commit}:{MANIFEST}") is not None

    def history(self, tip: str, *, most: int = 100_000) -> list[str]:
        """The commits that lead to `tip`, oldest first; those that are here."""
        options = ["--first-parent", f"--max-count={most}"]
        done = self.git.run(["rev-list", *options, tip, "--"], folder=self.folder)
        return done.out.decode().split()[::-1]

    def committed_at(self, commit: str) -> float | None:
        """When a commit says that it was made, in whole Unix seconds; None where it is not here."""
        for line in (self.read(commit) or b"").split(b"\n"):
            if not line:
                break
            if line.startswith(b"committer "):
                seconds = line.split(b" ")[-2]
                return float(seconds) if seconds.isdigit() else None
        return None

    # --- writing

    @contextmanager
    def writing(self) -> Iterator[Writer]:
        """Write through the held process; after an error it is ended, and nothing of it is published.

        But where something could not be read to be written, or not judged: what others have committed stays.
        """
        if self._writer is None or not self.is_there:
            self.close()
            self.make()
            self._writer = Writer(self.git, self.folder)
        try:
            yield self._writer
        except (CopyError, NoSuchCheckpoint, RedactionFailed):  # what was written of it nobody names
            self._count()
            raise
        except BaseException:
            self._writer.close(in_peace=False)
            self._writer = None
            raise
        else:
            self._count()

    def _count(self) -> None:
        if self._writer is not None:
            self.written += self._writer.written
            self._writer.written = 0

    def publish(self) -> None:
        """See that all that was committed is on the disk, can be read and can be pushed.

        Raises:
            GitFailed: it cannot be written.
        """
        if self._writer is not None:
            with self.writing() as writer:
                writer.publish()

    # --- upkeep

    def is_untidy(self) -> bool:
        """Whether there are many packs."""
        return is_untidy(self.folder)

    def tidy(self) -> None:
        """Make many packs few.

        The process that writes is ended first: until then it holds every pack that it wrote with a `.keep`,
        and where sessions never rest there would be only such packs, more every minute.
        """
        if self.is_untidy():
            self.close()
            tidy(self.git, self.folder)


def is_untidy(folder: Path) -> bool:
    """Whether a bare repository has many packs."""
    try:
        return sum(1 for _ in (folder / "objects" / "pack").glob("*.pack")) >= MANY_PACKS
    except OSError:
        return False


def tidy(git: Git, folder: Path) -> None:
    """Make packs few, each twice as large as all smaller ones: the cost of an append stays bounded.

    Nothing that is named is ever removed; what fails is tried again another time.
    """
    git.run(["repack", "-d", "-q", "--geometric=2"], folder=folder, silent_s=_TIDY_S)
    git.run(["pack-refs", "--all"], folder=folder)
    _sweep(folder)


def _sweep(folder: Path) -> None:
    """Remove half-written packs of a killed git: old by the clock of the disk that holds the newest file."""
    with suppress(OSError):
        packs = folder / "objects" / "pack"
        times = {path: path.stat().st_mtime for path in packs.iterdir()}
        newest = max(times.values(), default=0.0)
        for path, at in times.items():
            if path.name.startswith("tmp_") and newest - at > LEFT_S:
                path.unlink()


def size_of(folder: Path) -> int:
    """Bytes in a folder."""
    total = 0
    for above, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += Path(above, name).lstat().st_size
    return total


class Reader:
    """`git cat-file --batch`."""

    def __init__(self, git: Git, folder: Path) -> None:
        self._held = git.hold(["cat-file", "--batch"], folder)

    def close(self) -> None:
        """End it."""
        self._held.close()

    def read(self, name: str, at_most: int) -> bytes | None:
        """An object; None where it is not there.  ValueError where it is longer, OSError where this ended."""
        if "\n" in name:
            return None
        self._held.ask(name.encode("utf-8", "surrogateescape") + b"\n")
        head = self._held.line().split(b" ")
        if len(head) != 3 or not head[2].isdigit():
            return None  # `<name> missing`, or ambiguous
        size = int(head[2])
        if size > at_most:
            raise ValueError(name)
        return self._held.take(size + 1)[:-1]


class Writer:
    """`git fast-import`.  What was committed can be pushed after `publish`.  Every error is `GitFailed`."""

    def __init__(self, git: Git, folder: Path) -> None:
        # forced here, never there: in the cache a ref is only a handle
        options = ["--quiet", "--force", "--date-format=raw", "--depth=10"]
        self._held = git.hold(["fast-import", *options], folder)
        self._marks = 0
        # what is not published yet is known to it by its mark alone
        self._unpublished: dict[str, int] = {}
        self.written = 0

    def close(self, *, in_peace: bool = True) -> None:
        """End it; where something is half written, not in peace."""
        self._held.close(in_peace=in_peace)

    def blob(self, data: bytes) -> int:
        """Write an object; returns its mark."""
        self._marks += 1
        self.written += len(data)
        self._say(b"blob\nmark :%d\ndata %d\n" % (self._marks, len(data)), data, b"\n")
        return self._marks

    def commit(
        self,
        ref: str,
        parent: str,
        at: float,
        message: str,
        changes: Iterable[tuple[str, int]],
        *,
        removed: Iterable[str] = (),
        others: Iterable[str] = (),
    ) -> str:
        """Make a commit of `ref` whose tree is the parent's with `changes` (path, mark); returns its id.

        `others` are further parents, whose trees need not be here.
        """
        said = message.encode("utf-8", "surrogateescape")
        self._marks += 1
        # without a parent it must not go on from what the ref was
        head = b"" if parent else b"reset %b\n\n" % ref.encode()
        head += b"commit %b\nmark :%d\ncommitter %b %d +0000\ndata %d\n%b\n" % (
            *(ref.encode(), self._marks, _AUTHOR, max(0, int(at)), len(said), said),
        )
        if parent:
            mark = self._unpublished.get(parent)
            head += b"from %b\n" % (parent.encode() if mark is None else b":%d" % mark)
        head += b"".join(b"merge %b\n" % other.encode() for other in others)
        head += b"".join(b"D %b\n" % path.encode() for path in removed)
        body = b"".join(b"M 100644 :%d %b\n" % (mark, path.encode()) for path, mark in changes)
        self._say(head, body, b"\nget-mark :%d\n" % self._marks)
        found = self._line()
        if not OBJECT.fullmatch(found):
            raise self._failed()
        self._unpublished[found] = self._marks
        return found

    def publish(self) -> None:
        """See that all that was committed is on the disk and can be pushed."""
        self._say(b"checkpoint\nprogress published\n")
        while self._line() != "progress published":
            pass
        self._unpublished.clear()

    def _say(self, *parts: bytes) -> None:
        try:
            self._held.ask(*parts)
        except (OSError, ValueError) as problem:
            raise self._failed() from problem

    def _line(self) -> str:
        try:
            return self._held.line().decode()
        except (OSError, ValueError) as problem:
            raise self._failed() from problem

    def _failed(self) -> GitFailed:
        return GitFailed(
            f"git could not write the archive's local copy: {self._held.said() or 'it ended'}.",
            hint="Nothing to do: it is made anew.",
        )
