"""The format of a session's comment on GitHub: rendered from a draft, parsed back into a record.  Pure.

session ──clear──▶ Draft ──render──▶ comments ──parse──▶ Part … ──assemble──▶ Record and files
           │
    the privacy gate, and nowhere else
"""

from sessionsync.remote.comments.draft import Digest, Draft, clear, content_hash
from sessionsync.remote.comments.index import IndexEntry, new_issue, outside_index, render_issue_body
from sessionsync.remote.comments.marker import (
    Marker,
    ProjectMarker,
    decode_id,
    encode_id,
    normalise,
    parse_project_marker,
    project_hash,
    project_marker,
    text_hash,
)
from sessionsync.remote.comments.notice import OPEN, Notice, Side, parse_notice, render_notice
from sessionsync.remote.comments.parse import Part, assemble, outside, parse
from sessionsync.remote.comments.record import Record, RecordCritical, files_hash
from sessionsync.remote.comments.render import PARTS, render

__all__ = [
    "OPEN",
    "PARTS",
    "Digest",
    "Draft",
    "IndexEntry",
    "Marker",
    "Notice",
    "Part",
    "ProjectMarker",
    "Record",
    "RecordCritical",
    "Side",
    "assemble",
    "clear",
    "content_hash",
    "decode_id",
    "encode_id",
    "files_hash",
    "new_issue",
    "normalise",
    "outside",
    "outside_index",
    "parse",
    "parse_notice",
    "parse_project_marker",
    "project_hash",
    "project_marker",
    "render",
    "render_issue_body",
    "render_notice",
    "text_hash",
]
