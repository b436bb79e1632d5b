"""Two versions of one session: how they relate, and what holds all that is in both.

    compare ──▶ union ──▶ redaction     files: which lines are the same, and what holds the lines of both
       └──────────┴─────▶ source        where their bytes are read from
    critical                            what a record says apart from its files

Pure: the same versions give the same answer on every machine.
"""

from sessionsync.divergence.compare import Comparison, compare
from sessionsync.divergence.critical import merge_critical
from sessionsync.divergence.relation import Relation
from sessionsync.divergence.source import BLOCK_BYTES, Plain, Source, whole
from sessionsync.divergence.union import unite

__all__ = [
    "BLOCK_BYTES",
    "Comparison",
    "Plain",
    "Relation",
    "Source",
    "compare",
    "merge_critical",
    "unite",
    "whole",
]
