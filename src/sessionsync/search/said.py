"""What the index itself still knows of a session, for when no copy of it is left.

It holds no text, but where every word of a passage stood: put in that order they read like what was said,
without capitals, accents and punctuation, with the parts of identifiers behind it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from sessionsync.search.index import ROLES, SHARD_BITS, SHARD_ROWS, Hit, Index
from sessionsync.search.words import _CJK as CJK
from sessionsync.search.words import JOINED


def said(index: Index, session: int) -> Iterator[tuple[Hit, str]]:
    """Every passage of a session, and the words of it.

    Reads all words of the shards that the session is in: seconds.

    Raises:
        IndexBroken: the index cannot be read.
    """
    ask = index._rows  # noqa: SLF001 - of one package
    joined = frozenset(JOINED.values())
    for (shard,) in ask("SELECT shard FROM members WHERE session = ? ORDER BY shard", (session,)):
        base = shard << SHARD_BITS
        rows = ask(
            "SELECT p.id, f.name, f.generation, p.offset, p.length, p.nth, p.role, p.at"
            " FROM places p JOIN files f ON f.id = p.file WHERE f.session = ? AND p.id >= ? AND p.id < ?",
            (session, base, base + SHARD_ROWS),
        )
        texts: dict[int, list[str]] = {number - base: [] for number, *_ in rows}
        ask("DROP TABLE IF EXISTS temp.spoken")
        ask(f"CREATE VIRTUAL TABLE temp.spoken USING fts5vocab(main, 'passages_{shard}', 'instance')")
        found = ask(
            "SELECT doc, offset, term FROM temp.spoken WHERE doc IN (SELECT value FROM json_each(?))",
            (json.dumps(list(texts)),),
        )
        ask("DROP TABLE temp.spoken")
        for number, _, word in sorted(found):
            if word not in joined:
                texts[number].append(word)
        for number, name, generation, offset, length, nth, role, at in rows:
            hit = Hit(session, name, generation, offset, length, nth, ROLES[role], at)
            yield hit, unpaired(texts[number - base])


def unpaired(indexed: Iterable[str]) -> str:
    """The words as a text, with pairs of characters put together again.

    >>> unpaired(["in", "日本", "本語", "語", "now"])
    'in 日本語 now'
    """
    text, last = "", ""
    for word in indexed:
        is_cjk = CJK.fullmatch(word) is not None
        if is_cjk and last and word[0] == last:
            text += word[1:]
        else:
            text = f"{text} {word}" if text else word
        last = word[-1] if is_cjk and len(word) > 1 else ""
    return text
