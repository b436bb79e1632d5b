"""age: recipients, identities, and what is encrypted between them.  The one place that knows the library.

A recipient is `age1…` or a public SSH key (ed25519, RSA); an identity is the secret that belongs to one.  The
format is described at age-encryption.org/v1; every file of it can be read by any program that knows it.
Whatever is wrong is a `ValueError` that says what, and holds no word of an identity.
"""

import binascii
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

MAGIC = b"age-encryption.org/v1\n"
"""What everything encrypted begins with."""
# What is longer is no header of ours; there is room for 20 recipients, or for fewer with very long keys.
HEADER_BYTES = 40 * 1024
RECIPIENTS = 20
# A recipient's part of the header is as long as its name, as of RSA, or shorter, and some words.
_PART_BYTES = 200

_SECRET = re.compile(r"AGE-SECRET-KEY-1[0-9A-Z]+")
_WRONG_KEY = "No matching keys found"


class Unavailable(ValueError):
    """The library is not installed."""


class WrongKey(ValueError):
    """It is encrypted, for other recipients."""


class Recipient(NamedTuple):
    """Whom it is encrypted for; `name` is the recipient's text without a comment."""

    name: str
    key: Any


class Identity(NamedTuple):
    """What decrypts; `recipient` is the text of whom it belongs to, '' where only its owner can tell."""

    recipient: str
    key: Any


def recipient(text: str) -> Recipient:
    """Read a recipient.

    Raises:
        Unavailable: the library is missing.
        ValueError: it is none; the reason.
    """
    age = _library()
    kind, _, rest = text.strip().partition(" ")
    try:
        if kind in {"ssh-ed25519", "ssh-rsa"}:
            name = f"{kind} {rest.split(' ')[0]}"
            return Recipient(name, age.ssh.Recipient.from_str(name))
        if kind.startswith(("ssh-", "ecdsa-", "sk-")):
            raise ValueError("of SSH's keys only ssh-ed25519 and ssh-rsa can be encrypted to")
        if kind.lower().startswith("age-secret-key-"):
            raise ValueError("that is an identity, which stays secret; its recipient begins with age1")
        return Recipient(kind, age.x25519.Recipient.from_str(kind))
    except age.RecipientError as problem:
        if kind.startswith("age1") and "1" in kind[4:]:  # age1yubikey1…, age1pq1…: no key has a 1 in it
            raise ValueError("it needs a plugin, and none is run here") from problem
        what = "key" if kind.startswith("ssh-") else "recipient"
        raise ValueError(f"it is no whole {what}: letters are missing or mistyped") from problem


def fits(names: Sequence[str]) -> bool:
    """Whether the header for these recipients is one that is read again."""
    room = HEADER_BYTES - 2 * _PART_BYTES
    return len(names) <= RECIPIENTS and sum(len(name) + _PART_BYTES for name in names) <= room


def identities(data: bytes) -> list[Identity]:
    """Read an identity file of age, or an SSH key without a passphrase.

    Raises:
        Unavailable: the library is missing.
        ValueError: it is none, or cannot be used; the reason.
    """
    age = _library()
    if data.startswith((MAGIC, b"-----BEGIN AGE ENCRYPTED FILE")):
        raise ValueError("it is encrypted itself, and nobody can be asked for its passphrase")
    if data.lstrip().startswith(b"-----BEGIN "):
        return [Identity(_ssh_recipient(data), _ssh_key(age, data))]
    found = []
    for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        if not _SECRET.fullmatch(text):
            kind = (
                "a plugin's identity"
                if text.startswith(("AGE-PLUGIN-", "AGE-SECRET-KEY-PQ-"))
                else "no identity"
            )
            raise ValueError(f"its line {number} is {kind}")
        try:
            key = age.x25519.Identity.from_str(text)
        except age.IdentityError:
            raise ValueError(f"the identity in its line {number} is not whole") from None
        found.append(Identity(str(key.to_public()), key))
    if not found:
        raise ValueError("it holds no identity")
    return found


def new_identity() -> tuple[str, str]:
    """Make an identity; returns it and its recipient, as text.

    Raises:
        Unavailable: the library is missing.
    """
    key = _library().x25519.Identity.generate()
    return str(key), str(key.to_public())


def encrypt(data: bytes, recipients: Sequence[Recipient]) -> bytes:
    """Encrypt for all of them: some 200 bytes and 0.2 ms each time, whatever its length."""
    sealed: bytes = _library().encrypt(data, [each.key for each in recipients])
    return sealed


def decrypt(data: bytes, known: Sequence[Identity]) -> bytes:
    """Decrypt; what comes out is no longer than what goes in.

    Raises:
        Unavailable: the library is missing.
        WrongKey: none of the identities is one of its recipients'.
        ValueError: it is damaged.
    """
    age = _library()
    if data.find(b"\n--- ", 0, HEADER_BYTES) < 0:
        raise ValueError("its header has no end")
    try:
        plain: bytes = age.decrypt(data, [each.key for each in known])
    except age.DecryptError as problem:
        if str(problem) == _WRONG_KEY:
            raise WrongKey("it is encrypted for others") from problem
        raise ValueError(str(problem).partition("\n")[0]) from problem
    return plain


def _ssh_key(age: Any, data: bytes) -> Any:
    try:
        return age.ssh.Identity.from_buffer(data)
    except age.IdentityError as problem:
        said = str(problem)
    if "decrypted first" in said:
        raise ValueError("it is protected by a passphrase, and nobody can be asked for it")
    if "unsupported" in said:
        raise ValueError("of SSH's keys only ed25519 and RSA can be used")
    raise ValueError("it is no whole key of SSH")


def _ssh_recipient(data: bytes) -> str:
    """The public half, which OpenSSH writes before the secret one; '' where it is not there."""
    body = b"".join(line for line in data.splitlines() if b":" not in line and b"-" not in line)
    try:
        rest = binascii.a2b_base64(body).partition(b"openssh-key-v1\0")[2]
    except binascii.Error:
        return ""
    fields = []
    for skip in (0, 0, 0, 4):  # cipher, key derivation, its options, and behind the count the public key
        length = int.from_bytes(rest[skip : skip + 4])
        fields.append(rest[skip + 4 : skip + 4 + length])
        rest = rest[skip + 4 + length :]
    kind = fields[3][4 : 4 + int.from_bytes(fields[3][:4])]
    return (
        f"{kind.decode()} {binascii.b2a_base64(fields[3], newline=False).decode()}"
        if kind in {b"ssh-ed25519", b"ssh-rsa"}
        else ""
    )


def _library() -> Any:
    try:
        import pyrage  # noqa: PLC0415 - 1 ms, and only where something is encrypted
    except ImportError as problem:
        raise Unavailable(f"the library pyrage cannot be used ({problem})") from problem
    return pyrage
