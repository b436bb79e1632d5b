"""An archive on a rig: the engine's archive step, a real git, and a repository at the other end."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sessionsync.archiving import CACHE, COLD, Archiving
from sessionsync.config import Config
from sessionsync.model import Context
from sessionsync.privacy.gate import Gate
from sessionsync.privacy.seal import Seal, Unseal
from sessionsync.remote.archive.address import Address, address_of
from sessionsync.remote.archive.cache import Cache
from sessionsync.remote.archive.fold import Cold
from sessionsync.remote.archive.git import Git
from sessionsync.remote.archive.host import Host
from sessionsync.remote.archive.reader import Reader, Version
from sessionsync.remote.github import GitHub
from tests.rig import Rig, append, line

SID = "3f0c9f8a-0000-4000-8000-000000000001"
"""A session that is archived."""


def with_archive(config: Config, url: str | Path, **archive: Any) -> Config:
    return config._replace(archive=config.archive._replace(url=str(url), **archive))


def sealed_for(config: Config) -> Seal | None:
    return Seal(config.archive.encrypt_to) if config.archive.encrypt_to else None


def said(text: str, rig: Rig) -> bytes:
    return line("user", text, rig.home.project, session=SID)


def grow(rig: Rig, path: Path, *lines: bytes) -> None:
    """Add lines and let the quiet make a checkpoint of them."""
    append(path, *lines)
    rig.scan()
    rig.wait(130)


class Shipper:
    """The archive step over a rig's state.  Make another one to see what a restart sees."""

    def __init__(
        self,
        rig: Rig,
        *,
        config: Config | None = None,
        folder: Path | None = None,
        redact: bool = True,
        token: Callable[[], str] = lambda: "",
        github: Callable[[], GitHub | None] = lambda: None,
        machine: str = "0a1b2c3d",
        environ: dict[str, str] | None = None,
        seal: Callable[[Config], Seal | None] = sealed_for,
    ) -> None:
        self.rig = rig
        self.config = config or rig.config
        address = address_of(self.config)
        assert address is not None
        self.address: Address = address
        self.folder = folder or rig.home.state
        self.git = Git(address, environ or dict(os.environ), self.folder / "git", token=token)
        rig.store.meta("machine", lambda: machine)
        self.archiving = Archiving(
            address=address,
            git=self.git,
            folder=self.folder,
            catalog=rig.catalog,
            queue=rig.queue,
            vault=rig.vault,
            gate=Gate(redact=redact),
            config=self.config,
            github=github,
            host="laptop",
            machine=lambda: rig.store.meta("machine"),
            rename=self._rename,
            context=Context(),
            chance=rig.chance,
            emit=rig.events,
            seal=seal(self.config),
        )

    def _rename(self) -> str:
        name = random.Random(self.rig.store.meta("machine")).randbytes(4).hex()
        self.rig.store.set_meta("machine", name)
        return name

    def close(self) -> None:
        self.archiving.rest()

    def step(self) -> bool:
        return self.archiving.work(self.rig.now)

    def drain(self, most: int = 200) -> None:
        """Work until nothing is due within a minute, moving the time to whenever it wants to go on."""
        for _ in range(most):
            if self.step():
                continue
            at = self.archiving.next_at(self.rig.now)
            if at is None or at > self.rig.now + 600:
                return
            self.rig.now = max(self.rig.now + 0.001, at)
        raise AssertionError(f"still waiting: {self.rig.queue.items()}")


class Elsewhere:
    """A machine that has nothing but git and the archive's address."""

    def __init__(self, folder: Path, config: Config, *, token: Callable[[], str] = lambda: "") -> None:
        address = address_of(config)
        assert address is not None
        folder.mkdir(parents=True, exist_ok=True)
        git = Git(address, dict(os.environ), folder / "git", token=token)
        self.host = Host(git)
        self.cache = Cache(folder / CACHE, git)
        self.cold = Cold(git, folder / COLD)
        self.reader = Reader(self.cache, self.host, self.cold, Unseal(config.archive.identity_file))

    def close(self) -> None:
        self.cache.close()
        self.cold.close()

    def versions(self, session_id: str, now: float) -> list[Version]:
        heads = self.reader.of("", session_id, now)
        self.reader.fetch(heads, now)
        return [version for head in heads for version in self.reader.versions(head)]


def contents(version: Version) -> dict[str, bytes]:
    """Every file that the session had at a version."""
    return {file.name: b"".join(version.read(file)) for file in version.files() if not file.deleted_at}


def run_git(folder: Path, *arguments: str, stdin: bytes = b"") -> bytes:
    environ = dict(os.environ) | {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], input=stdin, capture_output=True, env=environ, check=True
    )
    return done.stdout


def refs_of(folder: Path) -> dict[str, str]:
    """The refs of a bare repository."""
    lines = run_git(folder, "for-each-ref", "--format=%(refname) %(objectname)").decode().splitlines()
    return dict(line.split(" ") for line in lines)


def every_object(folder: Path) -> dict[str, bytes]:
    """All objects of a repository, zstd frames unpacked."""
    import zstandard

    from sessionsync.vault.pack import dictionary

    unpacker = zstandard.ZstdDecompressor(dict_data=dictionary())
    return {
        oid: unpacker.decompress(data) if data[:4] == b"\x28\xb5\x2f\xfd" else data
        for oid, _, data in objects_of(folder)
    }


def objects_of(folder: Path) -> Iterator[tuple[str, str, bytes]]:
    """All objects of a repository as they are: id, kind, bytes."""
    said = run_git(folder, "cat-file", "--batch-all-objects", "--batch")
    at = 0
    while at < len(said):
        end = said.index(b"\n", at)
        oid, kind, size = said[at:end].decode().split(" ")
        yield oid, kind, said[end + 1 : end + 1 + int(size)]
        at = end + 2 + int(size)


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
