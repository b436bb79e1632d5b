"""A message store: `<project>/.claude/sessions/<session_id>.json`, an object with a list `messages`.

    <id>.json             what counts while it can be read, whoever wrote it
    .<id>.json.good       the same as this program last wrote it: what is left where the other is damaged
    .<id>.json.damaged    what was damaged, set aside when the next message came; `.2` … where that is taken

The folder is locked while a message is added, and each file takes the other's place whole.  An append writes
all of it twice: a conversation of 1 MB costs 2 MB a message.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from sessionsync.conversations.naming import component
from sessionsync.errors import ConversationDamaged, ConversationError, MessageInvalid
from sessionsync.sources.lines import document
from sessionsync.sources.places import SESSIONS
from sessionsync.vault.folder import sync, sync_folder

Message = dict[str, Any]

ENDING = ".json"
_LIST = re.compile(r'[{,]\s*"messages"\s*:\s*\[')
_NEXT = re.compile(r"[^ \t\r\n,]")
_decode_one = json.JSONDecoder(strict=False).raw_decode


class _Kept(NamedTuple):
    """What a store holds now; `damaged` where its own file could not be read."""

    document: dict[str, Any]
    damaged: bool


class MessageStore:
    """The messages of one session, in the order in which they were added, by whatever process.

    What other keys the file has stays in it.
    """

    def __init__(self, project: Path, session_id: str) -> None:
        self.session_id = component(session_id, "session id")
        self._folder = project.joinpath(*SESSIONS)
        self.path = self._folder / f"{session_id}{ENDING}"
        self._good = self._folder / f".{session_id}{ENDING}.good"
        self._draft = self._folder / f".{session_id}{ENDING}.tmp"

    def messages(self, *roles: str) -> list[Message]:
        """Every message as it is on the disk now; of some roles alone, where they are named.

        Roles that nobody knows are kept and given back: an API that takes only two is given these two.
        Where the file is damaged, what it held before, or what is whole at its beginning.

        Raises:
            ConversationDamaged: nothing of it can be read.
            ConversationError: the file cannot be read.
        """
        with self._translated():
            found = self._read().document["messages"]
        return [message for message in found if not roles or _role(message) in roles]

    def append(self, message: object) -> None:
        """Add a message: an object with `role` and `content`, or one of an SDK's own.

        It is on the disk when this returns.  It waits for whoever adds one at this moment.

        Raises:
            MessageInvalid: it is no message, or nothing that JSON can hold; nothing was written.
            ConversationDamaged: nothing of what is there can be read; nothing was written.
            ConversationError: it could not be written; what was there is as it was.
        """
        added = _checked(message)
        with self._translated(), self._locked():
            kept = self._read()
            kept.document["messages"].append(added)
            data = _encoded(kept.document)
            if kept.damaged:
                self._set_aside()
            self._write(self._good, data)
            self._write(self.path, data)
            sync_folder(self._folder)

    # --- the files

    def _read(self) -> _Kept:
        """The file; where it is damaged or gone, the longer of what it was and of what is whole in it."""
        data = _content(self.path)
        if data and (said := _store(data)) is not None:
            return _Kept(said, damaged=False)
        good = _store(_content(self._good) or b"")
        if not data:
            return _Kept(good or {"messages": []}, damaged=False)
        whole = _whole(data)
        if good is None and not whole:
            raise ConversationDamaged(
                f"{self.path} holds no messages that can be read.",
                hint="Move it away, open another session id, or restore it: sessiond restore ID --list",
            )
        best = good if good is not None and len(good["messages"]) >= len(whole) else {"messages": whole}
        return _Kept(best, damaged=True)

    def _set_aside(self) -> None:
        """Keep what is damaged under a name of its own."""
        number = 1
        while os.path.lexists(aside := self._folder / f".{self.path.name}.damaged{_numbered(number)}"):
            number += 1
        self.path.rename(aside)

    def _write(self, path: Path, data: bytes) -> None:
        """Put `data` in the place of a file, whole or not at all."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(self._draft, flags, 0o600)
        try:
            if (mode := _mode(self.path)) is not None:
                os.fchmod(descriptor, mode)
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
            sync(descriptor)
        finally:
            os.close(descriptor)
        self._draft.replace(path)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Alone with the folder's stores, among all who use this; a process that dies gives it up."""
        self._folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ConversationError(
                f"{self.path} cannot be used: {error.strerror or error}.",
                hint="Make room on that disk, or let the file and its folder be this user's.",
            ) from error


def _numbered(number: int) -> str:
    return "" if number == 1 else f".{number}"


def _mode(path: Path) -> int | None:
    try:
        return stat.S_IMODE(path.lstat().st_mode)
    except FileNotFoundError:
        return None


def _content(path: Path) -> bytes | None:
    """A regular file's bytes; None where there is none.

    Raises:
        OSError: it cannot be read, or is a link.
        ConversationError: it is no regular file.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with open(descriptor, "rb") as file:  # noqa: PTH123 - by descriptor
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ConversationError(f"{path} is no regular file.", hint="Move it away.")
        return file.read()


def _store(data: bytes) -> dict[str, Any] | None:
    """What a whole store holds; None where it is none."""
    try:
        said = document(data)
    except ValueError:
        return None
    return said if isinstance(said, dict) and isinstance(said.get("messages"), list) else None


def _whole(data: bytes) -> list[Message]:
    """The messages at the beginning of a store that is torn, or no UTF-8, as far as they are whole."""
    text = data.decode("utf-8", "replace").removeprefix("\ufeff")
    begin = _LIST.search(text)
    found: list[Message] = []
    at = begin.end() if begin else len(text)
    while (following := _NEXT.search(text, at)) is not None:
        try:
            message, at = _decode_one(text, following.start())
        except (ValueError, RecursionError):
            break
        if not isinstance(message, dict):
            break
        found.append(message)
    return found


# --- a message


def _checked(message: object) -> Message:
    """A message as JSON has it, as nobody else changes it any more."""
    if not isinstance(message, Mapping):  # an answer as an SDK gives it: an API takes back these two
        message = {key: getattr(message, key) for key in ("role", "content") if hasattr(message, key)}
    try:
        text = json.dumps(dict(message), ensure_ascii=False, allow_nan=False, default=_plain)
        text.encode()
        made: Message = json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise MessageInvalid(
            f"The message cannot be written as JSON: {error}.", hint="Give texts, numbers, lists and objects."
        ) from error
    role, content = made.get("role"), made.get("content")
    if not isinstance(role, str) or not role.strip():
        raise MessageInvalid("The message has no role.", hint='Give it one, as in {"role": "user", …}.')
    if content is None and "content" in made and len(made) > 2:
        return made  # as beside `tool_calls`
    if not isinstance(content, str | list):
        raise MessageInvalid(
            "The message has no content." if content is None else "The content is neither a text nor a list.",
            hint="Give it a text, or a list of blocks.",
        )
    if isinstance(content, list) and not all(isinstance(block, str | dict) for block in content):
        raise MessageInvalid("The content has a block that is none.", hint="Give each as an object.")
    return made


def _plain(value: object) -> object:
    """What JSON can hold of an SDK's object (pydantic's `model_dump`), only what was set."""
    dump = getattr(value, "model_dump", None)
    if not callable(dump):
        raise TypeError(f"{type(value).__name__} is nothing that JSON has")
    return dump(mode="json", exclude_unset=True)


def _role(message: object) -> str:
    role = message.get("role") if isinstance(message, dict) else None
    return role if isinstance(role, str) else ""


def _encoded(said: dict[str, Any]) -> bytes:
    """A store as bytes, a line for each message: what is added is all that differs."""
    parts = []
    for key, value in said.items():
        if key == "messages":
            lines = ",\n".join(json.dumps(message, ensure_ascii=False) for message in value)
            parts.append(f'"messages": [\n{lines}\n]')
        else:
            parts.append(f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}")
    return ("{" + ",\n".join(parts) + "}\n").encode("utf-8", "replace")
