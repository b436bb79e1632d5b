"""What leaves encrypted: sealed for the recipients in the settings, opened with an identity file.

Sealed bytes are whole files of age, so that what is archived can be read with any program that knows it, also
without this one.  Whoever knows the recipients can seal: it says for whom something is, not by whom.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from sessionsync import age
from sessionsync.errors import ArchiveSealed, CopyMismatch, IdentityUnusable

IDENTITY_BYTES = 64 * 1024
INSTALL = "Install it where sessiond is: python -m pip install pyrage"
"""What to do where the library is missing."""


def is_sealed(data: bytes) -> bool:
    """Whether these bytes are encrypted; nothing that is stored in clear begins so."""
    return data.startswith(age.MAGIC)


class Seal:
    """Encrypts for some recipients; the same bytes become others each time.

    Raises:
        age.Unavailable: the library is missing.
        ValueError: one of them is none.
    """

    def __init__(self, recipients: Sequence[str]) -> None:
        self._recipients = [age.recipient(text) for text in recipients]
        names = sorted({each.name for each in self._recipients})
        self.id = hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]
        """Stands for the recipients, in whatever order they are named."""

    def __call__(self, data: bytes) -> bytes:
        """Encrypt."""
        return age.encrypt(data, self._recipients)


class Unseal:
    """Decrypts with the identities in a file, which is read when the first sealed bytes come along."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._known: list[age.Identity] | None = None

    def __call__(self, data: bytes, what: str) -> bytes:
        """Decrypt what is stored of `what`.

        Raises:
            ArchiveSealed: there is no identity here, or another one.
            CopyMismatch: it is damaged.
        """
        try:
            return age.decrypt(data, self._identities(what))
        except age.WrongKey as problem:
            raise ArchiveSealed(
                f"In the archive, {what} is encrypted for others than the identity in {self._file}.",
                hint="Set archive.identity_file to the identity of a recipient that it was encrypted for.",
                why=f"encrypted for others than the identity in {self._file}",
            ) from problem
        except ValueError as problem:
            raise CopyMismatch(
                f"In the archive, {what} is damaged: {problem}.",
                hint="Take another copy: `sessiond restore ID --list` shows those there are.",
            ) from problem

    def _identities(self, what: str) -> list[age.Identity]:
        if self._file is None:
            raise ArchiveSealed(
                f"In the archive, {what} is encrypted, and no identity is set here to read it with.",
                hint="Set archive.identity_file to the identity file of one of its recipients.",
                why="no identity is set here to read it with",
            )
        if self._known is None:
            try:
                self._known = identities(self._file)
            except IdentityUnusable as problem:
                raise ArchiveSealed(
                    f"In the archive, {what} is encrypted. {problem}",
                    hint=problem.hint,
                    why=str(problem).removesuffix("."),
                ) from problem
        return self._known


# --- identity files


def identities(file: Path) -> list[age.Identity]:
    """The identities in a file.

    Raises:
        IdentityUnusable: it cannot be read, or holds none, or the library is missing.
    """
    try:
        return age.identities(_content(file))
    except age.Unavailable as problem:
        raise IdentityUnusable(
            f"The identity file {file} cannot be used: {problem}.", hint=INSTALL
        ) from problem
    except (OSError, ValueError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else problem
        raise IdentityUnusable(
            f"The identity file {file} cannot be used: {reason}.",
            hint="Put it back from where its copy is kept, or set archive.identity_file to another.",
        ) from problem


def opens(recipients: Sequence[str], known: Sequence[age.Identity]) -> bool:
    """Whether one of these identities opens what is encrypted for these recipients: it is tried.

    Raises:
        age.Unavailable: the library is missing.
    """
    try:
        age.decrypt(Seal(recipients)(b""), known)
    except age.WrongKey:
        return False
    return True


def recipient_of(file: Path) -> str:
    """The recipient that the first identity in a file belongs to.

    Raises:
        IdentityUnusable: it cannot be read, holds none, or does not tell.
    """
    (first, *_) = identities(file)
    if not first.recipient:
        raise IdentityUnusable(
            f"The identity file {file} does not tell its recipient.",
            hint="Name it in archive.encrypt_to yourself: it is what `ssh-keygen -y -f FILE` prints.",
        )
    return first.recipient


def make_identity(file: Path) -> str:
    """Make an identity in a new file that nobody else may read; returns its recipient.

    Raises:
        IdentityUnusable: there is something of that name already, or it cannot be written.
    """
    try:
        secret, recipient = age.new_identity()
    except age.Unavailable as problem:
        raise IdentityUnusable(f"No identity can be made: {problem}.", hint=INSTALL) from problem
    head = "# It reads the archive of sessiond; keep a copy of it off this machine."
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(f"{head}\n# public key: {recipient}\n{secret}\n".encode())
                stream.flush()
                os.fsync(descriptor)
        except OSError:
            file.unlink()  # half of it would be taken for one
            raise
    except OSError as problem:
        raise IdentityUnusable(
            f"The identity file {file} cannot be made: {problem.strerror}.", hint="Name another file."
        ) from problem
    return recipient


def _content(file: Path) -> bytes:
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK)  # a pipe would wait for its other end
    with os.fdopen(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("it is no file")
        data = stream.read(IDENTITY_BYTES + 1)
    if len(data) > IDENTITY_BYTES:
        raise ValueError("it is too long to be one")
    return data
