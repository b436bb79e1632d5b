"""The two versions of a session, as `ctl conflicts` and `ctl resolve` show them."""

from __future__ import annotations

from sessiond.cli.terminal import Terminal, ago, clean, size, table, wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sessiond.cli.look import Json


def conflicts(answer: Json, now: float, out: Terminal) -> list[str]:
    """`ctl conflicts`."""
    found = answer["conflicts"]
    if not found:
        return ["No session has two versions."]
    rows = [
        (
            each["id"],
            ago(each["since"], now),
            _version(each["local"], now),
            _version(each["remote"], now),
            clean(each["local"].get("title") or "untitled"),
        )
        for each in found
    ]
    return [
        *table(("ID", "SINCE", "HERE", "ELSEWHERE", "TITLE"), rows, out),
        "",
        "To choose: sessiond ctl resolve ID --keep local|remote|both|merge  (with --dry-run first)",
    ]


def resolved(answer: Json, now: float, out: Terminal) -> list[str]:
    """`ctl resolve`: the two versions, and what becomes of them."""
    return [
        *table(
            ("VERSION", "OF", "SIZE", "TITLE"),
            [
                (
                    name,
                    _version(answer[name], now),
                    size(answer[name].get("size") or 0),
                    clean(answer[name].get("title") or ""),
                )
                for name in ("local", "remote")
            ],
            out,
            right=(2,),
        ),
        "",
        *wrap(f"{answer['keep']}: {clean(answer['does'])}", out.width, "  "),
    ]


def _version(told: Json, now: float) -> str:
    when = ago(told["updated_at"], now) if told.get("updated_at") else "not read yet"
    return f"{clean(told.get('host') or 'elsewhere')}, {when}"
