"""Segments as zstd frames, compressed with a dictionary that is shipped with the program.

A segment of a few kilobytes is too short to find much repetition in itself; the dictionary holds
what transcripts have in common.  A long one does without.  It was trained on made-up sessions
(`tests/bench/corpus.py`), never on anybody's: a dictionary contains what it was trained on.  Each frame
carries the id of its dictionary, so a later one can be added beside it; a copy lies in every vault, so
that frames can be read where this program is not.

No frame has a checksum of zstd's own, as those of older versions had: that costs 0.1 s a GB each time it is
made or looked at (measured), and without the root that the journal has of a segment none of its bytes counts.
"""

from __future__ import annotations

import functools
import os
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

import zstandard

from sessionsync.vault.folder import Folder, holds, read_at, sync, translated, write_at

# For what has just been captured, and for what has rested: on real transcripts in frames of 1 MiB 3 gives
# 5.7 x at 410 MB/s, 9 gives 5.9 x at 100, 12 gives 8.1 x at 16, 15 gives 8.4 x at 12, 19 no more than that
# at 8; in frames of 4 MiB 12 gives 11.9 x at 19 MB/s (measured).
LEVEL = 3
COLD_LEVEL = 12
# Up to how much is put into one frame: what must be in memory to read any byte of it.
FRAME_BYTES = 4 * 1024 * 1024
# From here on a frame has enough of its own to be found again, and without a dictionary zstd needs less time:
# of made-up transcripts, a frame a session, 14.6 % stay at 325 MB/s, from 512 KiB on 14.5 % at 295, and
# from 128 KiB on 14.8 % at no more (measured).
ALONE_BYTES = 256 * 1024


def _hot(strategy: int, min_match: int) -> zstandard.ZstdCompressionParameters:
    """For what was just captured: twice the table for short matches, and all of the frame to find them in."""
    return zstandard.ZstdCompressionParameters(
        strategy=strategy,
        window_log=22,
        hash_log=17,
        chain_log=17,
        min_match=min_match,
        write_content_size=True,
    )


# As level 3, but with no match below six bytes: of made-up transcripts 1 % less stays, of real ones 0.3 %, in
# 3 to 9 % less time (measured).
ALONE = _hot(zstandard.STRATEGY_DFAST, 6)
# And of so much that its time counts: 3 % more of it stays, until it is packed for good, in a seventh less
# time (measured, of made-up and of real transcripts).
LONG_BYTES = 1024 * 1024
LONG = _hot(zstandard.STRATEGY_FAST, 7)
DICTIONARY = Path(__file__).with_name("dictionary.zst-dict")

T = TypeVar("T")


class Damaged(Exception):
    """A frame is not what was stored; told to no user, the vault says which file of which session it was."""


@functools.cache
def dictionary() -> zstandard.ZstdCompressionDict:
    """The dictionary that new frames are compressed with."""
    return zstandard.ZstdCompressionDict(DICTIONARY.read_bytes(), dict_type=zstandard.DICT_TYPE_FULLDICT)


class Dictionaries:
    """The dictionaries that lie in a vault, in `folder`: those that its frames need."""

    def __init__(self, tree: Folder, folder: Path) -> None:
        self._tree = tree
        self._folder = folder

    def find(self, number: int) -> zstandard.ZstdCompressionDict | None:
        """The dictionary of this id, also one that only another version of this program shipped."""
        if number == dictionary().dict_id():
            return dictionary()
        path = self._path(number)
        with translated(path):
            try:
                with self._tree.reading(path) as descriptor:
                    data = read_at(descriptor, 0, os.fstat(descriptor).st_size)
            except FileNotFoundError:
                return None
        return zstandard.ZstdCompressionDict(data, dict_type=zstandard.DICT_TYPE_FULLDICT)

    def damaged(self) -> Path | None:
        """Where the shipped one lies, if that is not what is shipped; None where it is.

        Raises:
            OSError: it cannot be read.
        """
        path, data = self._path(dictionary().dict_id()), DICTIONARY.read_bytes()
        try:
            with self._tree.reading(path) as descriptor:
                sound = read_at(descriptor, 0, os.fstat(descriptor).st_size) == data
        except FileNotFoundError:
            sound = False
        return None if sound else path

    def lay(self) -> None:
        """See to it that the shipped one is there.

        Raises:
            OSError: it cannot be written.
        """
        data = DICTIONARY.read_bytes()
        with self._tree.writing(self._path(dictionary().dict_id())) as descriptor:
            if os.fstat(descriptor).st_size == len(data) and holds(descriptor, 0, data):
                return
            write_at(descriptor, 0, data)
            os.ftruncate(descriptor, len(data))
            sync(descriptor)

    def _path(self, number: int) -> Path:
        return self._folder / f"dictionary-{number}"


class _Lent(Generic[T]):
    """Tools that one thread at a time may use: as many of them as were ever in use at once."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._free: deque[T] = deque()

    @contextmanager
    def one(self) -> Iterator[T]:
        """One that nobody else has meanwhile."""
        try:
            tool = self._free.pop()
        except IndexError:
            tool = self._make()
        try:
            yield tool
        finally:
            self._free.append(tool)

    def rest(self) -> None:
        """Keep none: up to 3 MB each, and made anew in 0.4 ms (measured)."""
        self._free.clear()


class Packer:
    """Makes frames.  Any thread."""

    def __init__(self, level: int = LEVEL) -> None:
        self._level = level
        self._short = _Lent(self._with_dictionary)
        self._alone = _Lent(partial(self._without, ALONE))
        self._long = _Lent(partial(self._without, LONG))

    def pack(self, data: bytes) -> bytes:
        """`data` as one frame that can be read by itself."""
        size = len(data)
        lent = self._short if size < ALONE_BYTES else self._alone if size < LONG_BYTES else self._long
        with lent.one() as compressor:
            return compressor.compress(data)

    def rest(self) -> None:
        """Let go of what only a burst of work needs."""
        for lent in (self._short, self._alone, self._long):
            lent.rest()

    def _with_dictionary(self) -> zstandard.ZstdCompressor:
        return zstandard.ZstdCompressor(
            level=self._level,
            dict_data=dictionary(),
            write_content_size=True,
            write_dict_id=True,
        )

    def _without(self, hot: zstandard.ZstdCompressionParameters) -> zstandard.ZstdCompressor:
        if self._level == LEVEL:
            return zstandard.ZstdCompressor(compression_params=hot)
        return zstandard.ZstdCompressor(level=self._level, write_content_size=True)


class Unpacker:
    """Reads frames.  Any thread."""

    def __init__(self, dictionaries: Dictionaries) -> None:
        self._dictionaries = dictionaries
        self._known: dict[int, _Lent[zstandard.ZstdDecompressor]] = {}

    def unpack(self, frame: bytes, length: int) -> bytes:
        """The `length` bytes in `frame`.

        Raises:
            Damaged: it is no frame, or one of other length, or its dictionary is missing.
        """
        try:
            parameters = zstandard.get_frame_parameters(frame)
            if parameters.content_size != length:
                raise Damaged
            with self._decompressors(parameters.dict_id).one() as decompressor:
                return decompressor.decompress(frame)
        except zstandard.ZstdError as problem:
            raise Damaged from problem

    def rest(self) -> None:
        """Let go of what only a burst of work needs."""
        for lent in list(self._known.values()):
            lent.rest()

    def _decompressors(self, number: int) -> _Lent[zstandard.ZstdDecompressor]:
        if number not in self._known:
            known = self._dictionaries.find(number) if number else None
            if number and known is None:
                raise Damaged
            self._known[number] = _Lent(lambda: zstandard.ZstdDecompressor(dict_data=known))
        return self._known[number]
