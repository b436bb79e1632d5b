"""Segments as zstd frames, compressed with a dictionary that is shipped with the program.

A segment of a few kilobytes is too short to find much repetition in itself; the dictionary holds
what transcripts have in common.  It was trained on made-up sessions (`tests/bench/corpus.py`), never
on anybody's: a dictionary contains what it was trained on.  Each frame carries the id of its
dictionary, so a later one can be added beside it; a copy lies in every vault, so that frames can be
read where this program is not.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path

import zstandard

from sessionsync.vault.folder import Folder, holds, read_at, sync, translated, write_at

# For what has just been captured, and for what has rested: on real transcripts in frames of 1 MiB 3 gives
# 5.7 x at 410 MB/s, 9 gives 5.9 x at 100, 12 gives 8.1 x at 16, 15 gives 8.4 x at 12, 19 no more than that
# at 8; in frames of 4 MiB 12 gives 11.9 x at 19 MB/s (measured).
LEVEL = 3
COLD_LEVEL = 12
DICTIONARY = Path(__file__).with_name("dictionary.zst-dict")


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


class Packer:
    """Makes frames.  For one thread."""

    def __init__(self, level: int = LEVEL) -> None:
        self._compressor = zstandard.ZstdCompressor(
            level=level,
            dict_data=dictionary(),
            write_checksum=True,
            write_content_size=True,
            write_dict_id=True,
        )

    def pack(self, data: bytes) -> bytes:
        """`data` as one frame that can be read by itself."""
        return self._compressor.compress(data)


class Unpacker:
    """Reads frames.  For one thread."""

    def __init__(self, dictionaries: Dictionaries) -> None:
        self._dictionaries = dictionaries
        self._decompressors: dict[int, zstandard.ZstdDecompressor] = {}

    def unpack(self, frame: bytes, length: int) -> bytes:
        """The `length` bytes in `frame`.

        Raises:
            Damaged: it is no frame, or one of other length, or its dictionary is missing.
        """
        try:
            parameters = zstandard.get_frame_parameters(frame)
            if parameters.content_size != length:
                raise Damaged
            return self._decompressor(parameters.dict_id).decompress(frame)
        except zstandard.ZstdError as problem:
            raise Damaged from problem

    def _decompressor(self, number: int) -> zstandard.ZstdDecompressor:
        if number not in self._decompressors:
            known = self._dictionaries.find(number) if number else None
            if number and known is None:
                raise Damaged
            self._decompressors[number] = zstandard.ZstdDecompressor(dict_data=known)
        return self._decompressors[number]
