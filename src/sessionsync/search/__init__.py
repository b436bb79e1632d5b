"""Full-text search over every session: which passages hold these words, and how they read.

The index is thrown away and rebuilt at will: the copies are the truth.

    words     texts and queries alike, cut for SQLite's tokenizer
    index     the database: where each passage lies, no text
    indexer   keeps it up with what is captured
    snippet   what of a passage is shown, cut from the copies
"""

from sessionsync.search.index import ROLES, Hit, Index
from sessionsync.search.indexer import Indexer
from sessionsync.search.snippet import passage_of, snippet
from sessionsync.search.words import expression, words

__all__ = ["ROLES", "Hit", "Index", "Indexer", "expression", "passage_of", "snippet", "words"]
