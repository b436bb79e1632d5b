r"""What a secret looks like, rule by rule.

Every rule works on bytes and inside one line, so that a prefix of a file is redacted like the prefix it is.
It begins with a hint, a few fixed bytes; only where one stands is a pattern tried.  Most tokens lie in a long
run of the signs that tokens are made of, and their hints are looked for in those runs alone, each different
one once: a twelfth of a transcript, so that a hundred forms cost little more than ten.  Patterns see text as
it lies in JSON, where a line end is `\n` and a quote `\"`, and never take a quote or a backslash around the
secret with them.

Repetitions are bounded and possessive, so that no line takes longer than its length.

Forms are those that the services document.  What is only likely (`password = …`) must look like a secret as
well: a word taken out for nothing costs the session its identical bytes.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from sessionsync.pattern import Pattern
from sessionsync.privacy.hints import Hints

RULES_VERSION = 3
"""Raised with every change of what is found: what was sent under other rules is never redacted anew."""

CUSTOM = "custom"
"""The kind of what the user's own expressions find."""
CUT_OFF = "cut_off"
"""The kind of what may be half a secret, at the end of a text that was cut."""


class Span(NamedTuple):
    """A secret at `[start, end)`.  Where two overlap, the lower `rank` names both."""

    start: int
    end: int
    rank: int
    kind: str


def secret(match: re.Match[bytes]) -> bytes:
    """The secret in a match: its last named group, else all of it."""
    return match[match.lastgroup or 0]


@dataclass(frozen=True, slots=True)
class Rule:
    """One kind of secret: `pattern` is tried where a hint stands.

    `folded` rules have hints in lower case and find them in any.  A `certain` rule knows the secret by its
    own form, not by the words around it.  What one `in_run` finds lies in one run.  The pattern begins `back`
    bytes before the hint, needs one of `then` behind it, where that is said, and with a `reach` a sign within
    so many bytes that ends a value.
    """

    kind: str
    hints: tuple[bytes, ...]
    pattern: Pattern[bytes]
    plausible: Callable[[re.Match[bytes]], bool] = bool
    folded: bool = False
    certain: bool = True
    in_run: bool = False
    back: int = 0
    then: bytes = b""
    reach: int = 0

    def matches(self, text: bytes, places: Iterable[int]) -> Iterator[re.Match[bytes]]:
        """Every match in `text`, given the places of a hint, in order."""
        pattern, least, end = self.pattern.compiled, self.back, -1
        for at in places:
            if self.reach and at > end:  # looked for once, however many hints stand before it
                ends = _ENDS_VALUE.compiled.search(text, at)
                end = ends.start() if ends else len(text)
            if at < least or (self.reach and end - at > self.reach):
                continue
            match = pattern.match(text, at - self.back)
            if match and self.plausible(match):
                yield match
                least = match.end()


_ENDS_VALUE = Pattern(rb"[\s\"'`\\,;&<>(){}\[\]|]")
RUN = 20
"""So many signs in a row may hold a token: those of base64, of JWT and of URLs."""
_SIGNS = bytes(
    ord("a") if byte < 128 and (chr(byte).isalnum() or chr(byte) in "_-.+/=~%$@") else ord(" ")
    for byte in range(256)
)


def runs(block: bytes) -> bytes:
    """Every run of at least `RUN` signs once, a line each, with the byte before."""
    signs, least = block.translate(_SIGNS), b"a" * RUN
    found: set[bytes] = set()
    at = signs.find(least)
    while at >= 0:
        end = signs.find(b" ", at + RUN)
        end = len(block) if end < 0 else end
        found.add(block[at - 1 if at else 0 : end])
        at = signs.find(least, end)
    return b"\n".join(found)


def found(block: bytes, *, certain_only: bool = False) -> Iterator[tuple[int, Rule, re.Match[bytes]]]:
    """What the rules find in whole lines, each with the rule's rank."""
    for search, text in ((_WHOLE, block), (_FOLDED, block.lower())):
        for rank, rule, _, places in search.tried(text):
            if rule.certain or not certain_only:
                for match in rule.matches(block, places):
                    yield rank, rule, match
    long = runs(block)
    for rank, rule, hint, places in _IN_RUNS.tried(long):
        if any(rule.matches(long, places)):
            for match in rule.matches(block, _places(block, hint)):
                yield rank, rule, match


def _places(text: bytes, hint: bytes) -> Iterator[int]:
    at = text.find(hint)
    while at >= 0:
        yield at
        at = text.find(hint, at + 1)


class _Search:
    """Rules whose hints are looked for in the same text."""

    def __init__(self, belongs: Callable[[Rule], bool]) -> None:
        self._belongs = belongs

    @cached_property
    def _rules(self) -> dict[bytes, list[tuple[int, Rule]]]:
        rules: dict[bytes, list[tuple[int, Rule]]] = {}
        for rank, rule in enumerate(RULES, start=1):
            for hint in rule.hints if self._belongs(rule) else ():
                rules.setdefault(hint, []).append((rank, rule))
        return rules

    @cached_property
    def _hints(self) -> Hints:
        thens = {hint: [rule.then for _, rule in rules] for hint, rules in self._rules.items()}
        return Hints({hint: b"".join(then) if all(then) else b"" for hint, then in thens.items()})

    def tried(self, text: bytes) -> Iterator[tuple[int, Rule, bytes, Sequence[int]]]:
        """The rules with a hint in `text`, by rank; the hint, and its places."""
        for hint, places in self._hints.places(text).items():
            for rank, rule in self._rules[hint]:
                yield rank, rule, hint, places


# What stands where a secret would, in templates, manuals and code.
_PLACEHOLDER = Pattern(
    rb"required|optional|nullable|string|invalid|incorrect|missing|[<$%{*]|\.{3}|\xe2\x80\xa6|\[REDACTED:|x{4}|(?:your|my|the|some)[_-]|example|change-?me|placeholder"
    rb"|process\.env|os\.environ|(?:env|self|this|config|settings|secrets?)\.",
    re.IGNORECASE,
)
# Words with a few figures, as names, files and slugs have them: `access_token_v2`, `my-app-2024`.
_WORDS = Pattern(rb"(?:[A-Za-z]*\d{0,4}[^A-Za-z0-9]+)*[A-Za-z]*\d{0,3}")
_REFERENCE = Pattern(rb"[A-Za-z_]\w*(?:(?:\.|->|::)[A-Za-z_]\w*)+")
_NUMBER = Pattern(rb"[+-]\d+|0x[0-9A-Fa-f]+|\d+\.\d+")
_TOKEN = Pattern(rb"[A-Za-z0-9_+/=.~:%-]+")
_HEX = Pattern(rb"[0-9A-Fa-f]+")
_OPTION = Pattern(rb"--[\w-]*\Z")
_LITERAL = Pattern(rb"(?:--|[?&])[\w-]*\Z")
_PATH = (b"/", b"./", b"../", b"~/", b"http:", b"https:", b"file:")
_DIGITS = b"0123456789"
_SYMBOLS = b"!@#$%^&*?+~"


def _count(value: bytes, among: bytes) -> int:
    return len(value) - len(value.translate(None, among))


def _is_filled_in(match: re.Match[bytes]) -> bool:
    return not _PLACEHOLDER.compiled.match(secret(match))


def _has_digit(match: re.Match[bytes]) -> bool:
    return _count(secret(match), _DIGITS) > 0


def _is_credential(match: re.Match[bytes]) -> bool:
    """`Bearer authentication` is none, `Bearer 3f9ac1…` is."""
    value = secret(match)
    mixed = _has_digit(match) or not (value.islower() or value.isupper())
    return mixed and _is_filled_in(match) and not _WORDS.compiled.fullmatch(value.rstrip(b"="))


def _is_password(match: re.Match[bytes]) -> bool:
    value = secret(match)
    if not _is_value(match):
        return False
    if _count(value, _SYMBOLS) or value.isdigit():
        return True
    if _is_literal(match):
        return not value.isupper()
    named = value.isupper() or b"pass" in value.lower()  # `password=new_password2` in code
    if match.lastgroup == "bare":
        return _has_digit(match) and not named
    return _has_digit(match) or (len(value) >= 8 and not named)


def _is_random(match: re.Match[bytes]) -> bool:
    value = secret(match)
    if not _is_value(match) or not _TOKEN.compiled.fullmatch(value) or value.isdigit():
        return False
    digits = _count(value, _DIGITS)
    if _is_literal(match):
        return len(value) >= 8 and digits >= 1
    if _WORDS.compiled.fullmatch(value):
        return False
    if match.lastgroup == "bare":
        return (digits >= 3 and len(value) >= 16) or (digits >= 1 and len(value) >= 32)
    return len(value) >= 12 and digits >= 1


def _is_value(match: re.Match[bytes]) -> bool:
    """No template, path, name of something in code, number of JSON, or prose."""
    value, bare = secret(match), match.lastgroup == "bare"
    if _PLACEHOLDER.compiled.match(value) or value.startswith(_PATH):
        return False
    if match["sep"].isspace() and not _is_behind(_OPTION, match):
        return False
    return not (
        bare and (match["close"] or _REFERENCE.compiled.fullmatch(value) or _NUMBER.compiled.fullmatch(value))
    )


def _is_literal(match: re.Match[bytes]) -> bool:
    """`DB_PASSWORD=…`, `--password=…`, `?password=…`: what follows is a value and no name of one."""
    return match["sep"] == b"=" and (match["key"].isupper() or _is_behind(_LITERAL, match))


def _is_behind(sign: Pattern[bytes], match: re.Match[bytes]) -> bool:
    return bool(sign.compiled.search(match.string, max(0, match.start() - 40), match.start()))


def _entropy(value: bytes) -> float:
    """Bits a sign, by how often each occurs in the value."""
    counts = Counter(value).values()
    return -sum(n / len(value) * math.log2(n / len(value)) for n in counts)


def _is_entropic(match: re.Match[bytes]) -> bool:
    """As random as a key: hexadecimal has at most 4 bits a sign, base64 6, words about 3."""
    value = secret(match)
    if len(value) < 16 or not _is_random(match):
        return False
    return _entropy(value) >= (2.5 if _HEX.compiled.fullmatch(value) else 3.2)


def _is_login(match: re.Match[bytes]) -> bool:
    value = secret(match)
    return _is_filled_in(match) and not value.isupper() and (not value.isdigit() or len(value) > 5)


def _is_env_value(match: re.Match[bytes]) -> bool:
    """`SENTRY_AUTH=…` in a `.env`: a value, and neither a path, a template nor a word of few letters."""
    value = secret(match)
    if _PLACEHOLDER.compiled.match(value) or value.startswith(_PATH) or value.isdigit():
        return False
    return _count(value, _DIGITS) >= 1 and not _WORDS.compiled.fullmatch(value) and len(value) >= 8


# Where a token may begin: not inside a word, but behind what only looks like a letter: an escape of JSON
# or of a URL, or the end of a terminal's colour.
_BEGIN = rb"(?:(?<![A-Za-z0-9])|(?<=\\[bfnrt])|(?<=\\u[0-9A-Fa-f]{4})|(?<=%[0-9A-Fa-f]{2})|(?<=[\[;0-9]m))"


_END = rb"(?![A-Za-z0-9])"
# Not in the middle of base64, where any few letters come up sooner or later.
_ALONE = rb"(?<![+/=])"


def _form(kind: str, hints: str, pattern: bytes, plausible: Callable[[re.Match[bytes]], bool] = bool) -> Rule:
    """A token that is known by how it begins."""
    return Rule(kind, tuple(hints.encode().split()), Pattern(_BEGIN + pattern), plausible, in_run=True)


def _around(
    kind: str,
    hints: str,
    back: int,
    pattern: bytes,
    plausible: Callable[[re.Match[bytes]], bool] = bool,
    *,
    in_run: bool = True,
) -> Rule:
    """A token that is known by what stands in it or before it; the pattern begins `back` bytes earlier."""
    return Rule(kind, tuple(hints.encode().split()), Pattern(pattern), plausible, in_run=in_run, back=back)


# `word = value` in the ways of shells, settings, JSON, YAML, query strings, options and code.
_ASSIGNED = (
    r"""(?P<key>(?:%s)(?:(?:[_-]?access)?[_-]?key(?:[_-]?base)?)?)(?P<close>\\*["'])?"""
    r"""[ \t]*(?P<sep>:[ \t]*[A-Za-z_][\w.]{0,256}[ \t]*=|=>|:=|={1,2}|:|[ ])[ \t]*"""
    r"""(?:[bfru]{0,2}\\*["'`](?P<quoted>[^\s"'`\\]{6,4096}+)(?=\\*["'`])"""
    r"""|(?P<bare>[^\s"'`\\,;&<>(){}\[\]|]{6,4096}+)(?=\Z|[\s"'`\\,;&<>)}\]|]))"""
)
_ASSIGNED_THEN = b"_-ak\\\"' \t:="
"""With what all of it may go on behind the word: most words are in no such place."""
_ASSIGNED_REACH = 4096 + 512
"""The longest value, and what may stand between it and the word."""


def _named(words: str) -> bytes:
    """What a word that alone says little must stand behind."""
    return b"(?:" + b"|".join(b"(?<=%b)|(?<=%b[_-])" % (word, word) for word in words.encode().split()) + b")"


def _assigned(
    kind: str, words: str, plausible: Callable[[re.Match[bytes]], bool], behind: bytes = b""
) -> Rule:
    names = "|".join(word.replace("_", "[_-]?") for word in words.split())
    spelled = [hint for word in words.split() for hint in (word, word.replace("_", ""))]
    hints = tuple(hint.encode() for hint in dict.fromkeys(spelled))
    pattern = Pattern(behind + (_ASSIGNED % names).encode(), re.IGNORECASE)
    return Rule(
        kind,
        hints,
        pattern,
        plausible,
        folded=True,
        certain=False,
        then=_ASSIGNED_THEN,
        reach=_ASSIGNED_REACH,
    )


RULES: tuple[Rule, ...] = (
    # --- clouds and hosts
    _form("aws_access_key", "AKIA ASIA ABIA ACCA", rb"[A-Z]{4}[A-Z0-9]{16}(?![A-Za-z0-9])"),
    _form(
        "google_key",
        "AIza ya29. GOCSPX-",
        rb"(?:(?<!\+)AIza[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])|ya29\.[A-Za-z0-9_-]{20,4096}+|GOCSPX-[A-Za-z0-9_-]{20,4096}+)",
    ),
    _around(
        "azure_storage_key",
        "AccountKey= SharedAccessKey=",
        0,
        rb"(?:AccountKey|SharedAccessKey)=(?P<secret>[A-Za-z0-9+/]{40,4096}+={0,2})",
    ),
    _around(
        "azure_sas", "sig=", 0, rb"(?<=[?&])sig=(?P<secret>(?:[A-Za-z0-9+/]|%2[BFbf]){40,256}+(?:%3[Dd]|=))"
    ),
    _around("azure_client_secret", "Q~", 4, rb"[\w~.-]{3}\dQ~[\w~.-]{31,34}(?![\w~-])"),
    _form("alibaba_key", "LTAI", _ALONE + rb"LTAI[A-Za-z0-9]{16,26}(?![A-Za-z0-9+/])", _has_digit),
    _form("tencent_key", "AKID", _ALONE + rb"AKID[A-Za-z0-9]{32}(?![A-Za-z0-9+/])", _has_digit),
    _form("yandex_key", "AQVN", _ALONE + rb"AQVN[A-Za-z0-9_-]{35,38}(?![A-Za-z0-9_+/-])", _has_digit),
    _form("digitalocean_token", "dop_v1_ doo_v1_ dor_v1_", rb"do[opr]_v1_[0-9a-f]{64}" + _END),
    _form("cloudflare_key", "v1.0-", rb"v1\.0-[0-9a-f]{24}-[0-9a-f]{100,200}" + _END),
    _form("heroku_key", "HRKU-", rb"HRKU-[A-Za-z0-9_-]{36,80}+"),
    _form(
        "fly_token",
        "fo1_ fm1a_ fm1r_ fm2_",
        rb"(?:fo1_[\w-]{40,64}+|fm(?:1[ar]|2)_[A-Za-z0-9+/]{60,4096}+={0,3})",
    ),
    _form("netlify_token", "nfp_", rb"nfp_[A-Za-z0-9]{36,60}+" + _END),
    _form("databricks_token", "dapi dose dkea", rb"(?:dapi|dose|dkea)[0-9a-f]{32}(?:-\d)?" + _END),
    _form("supabase_key", "sbp_ sb_secret_", rb"(?:sbp_[0-9a-f]{40}|sb_secret_[\w-]{20,64}+)" + _END),
    _form(
        "planetscale_token",
        "pscale_tkn_ pscale_pw_ pscale_oauth_",
        rb"pscale_(?:tkn|pw|oauth)_[\w.=-]{32,64}+",
    ),
    _form("tailscale_key", "tskey-", rb"tskey-[a-z]{3,12}-[A-Za-z0-9]{10,40}+(?:-[A-Za-z0-9]{10,64}+)?"),
    _form("vault_token", "hvs. hvb. hvr.", rb"hv[bsr]\.[A-Za-z0-9_-]{24,4096}+", _has_digit),
    # Behind an id of 14 letters and digits, which opens nothing.
    _around("terraform_token", ".atlasv1.", 0, rb"\.atlasv1\.[A-Za-z0-9_=-]{60,80}+"),
    _form("pulumi_token", "pul-", rb"pul-[0-9a-f]{40}" + _END),
    _form(
        "doppler_token",
        "dp.",
        rb"dp\.(?:pt|st|ct|sa|scim|audit)\.(?:[a-z0-9_-]{2,35}\.)?[A-Za-z0-9]{40,44}" + _END,
    ),
    _form("onepassword_token", "ops_eyJ", rb"ops_eyJ[A-Za-z0-9+/_-]{100,4096}+={0,3}"),
    # --- where sources are kept
    _form(
        "github_token",
        "ghp_ gho_ ghu_ ghs_ ghr_ github_pat_",
        rb"(?:github_pat_[A-Za-z0-9_]{20,255}+|gh[a-z]_(?:[A-Za-z0-9]{20,255}+|\d+_eyJ[\w.-]{20,4096}+))",
    ),
    _form(
        "gitlab_token",
        "glpat- gldt- glrt- glrtr- glptt- glft- glsoat- glimt- glagent- glcbt- gloas- glffct- GR1348941",
        rb"(?:gl(?:pat|dt|rtr?|ptt|ft|soat|imt|agent|cbt|oas|ffct)-[A-Za-z0-9_.-]{20,4096}+|GR1348941[A-Za-z0-9_-]{20,50}+)",
    ),
    _form(
        "atlassian_token",
        "ATATT3 ATCTT3 ATBB",
        rb"(?:AT[AC]TT3[A-Za-z0-9_=-]{60,400}+|ATBB[A-Za-z0-9]{32}" + _END + rb")",
    ),
    _form("sourcegraph_token", "sgp_", rb"sgp_(?:(?:[0-9a-f]{16}|local)_)?[0-9a-f]{40}" + _END),
    # --- models
    _form("anthropic_key", "sk-ant-", rb"sk-ant-[A-Za-z0-9_-]{20,4096}+"),
    _form(
        "openai_key",
        "sk-",
        rb"sk-(?:(?:proj|svcacct|admin|or-v1)-[A-Za-z0-9_-]{20,4096}+|[A-Za-z0-9]{20,4096}+)(?![A-Za-z0-9_-])",
        _has_digit,
    ),
    _form("huggingface_token", "hf_ api_org_", rb"(?:hf_|api_org_)[A-Za-z0-9]{30,4096}+(?![A-Za-z0-9_])"),
    _form("groq_key", "gsk_", rb"gsk_[A-Za-z0-9]{40,80}+" + _END),
    _form("xai_key", "xai-", rb"xai-[A-Za-z0-9]{60,100}+" + _END),
    _form("perplexity_key", "pplx-", rb"pplx-[A-Za-z0-9]{40,64}+" + _END),
    _form("replicate_token", "r8_", rb"r8_[A-Za-z0-9]{37}" + _END),
    _form("nvidia_key", "nvapi-", rb"nvapi-[A-Za-z0-9_-]{60,80}+"),
    _form("together_key", "tgp_v1_", rb"tgp_v1_[A-Za-z0-9_-]{40,60}+"),
    _form("cerebras_key", "csk-", rb"csk-[a-z0-9]{40,64}" + _END),
    _form("pinecone_key", "pcsk_", rb"pcsk_[A-Za-z0-9_]{40,100}+"),
    _form("langsmith_key", "lsv2_pt_ lsv2_sk_", rb"lsv2_(?:pt|sk)_[0-9a-f]{32}_[0-9a-f]{10}" + _END),
    _form("elevenlabs_key", "sk_", rb"sk_[0-9a-f]{48}" + _END),
    # --- chat
    _form(
        "slack_token",
        "xox xapp-",
        rb"(?:xox[a-z](?:\.xox[a-z])?-[A-Za-z0-9-]{15,4096}+|xapp-\d-[A-Za-z0-9-]{13,4096}+)",
        _has_digit,
    ),
    _around(
        "slack_webhook",
        "hooks.slack.com/",
        0,
        rb"hooks\.slack\.com/(?:services|workflows|triggers)/(?P<secret>[TE][A-Z0-9]+/[A-Z0-9]+/[A-Za-z0-9/]{16,200}+)",
        _has_digit,
    ),
    _form(
        "discord_token",
        "MT Mj Mz ND NT Nj Nz OD OT",
        rb"[MNO][A-Za-z0-9_-]{23,27}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27,40}(?![A-Za-z0-9_-])",
        _has_digit,
    ),
    _around(
        "discord_webhook", "/api/webhooks/", 0, rb"/api/webhooks/\d{16,20}/(?P<secret>[A-Za-z0-9_-]{60,80}+)"
    ),
    _around(
        "telegram_token", ":AA", 8, rb"\d{8}:(?P<secret>AA[A-Za-z0-9_-]{33})(?![A-Za-z0-9_-])", in_run=False
    ),
    _around(
        "teams_webhook",
        ".webhook.office.com/",
        0,
        rb"\.webhook\.office\.com/webhookb2/(?P<secret>[A-Za-z0-9@/-]{80,300}+)",
    ),
    # --- payment
    _form(
        "stripe_key",
        "sk_live_ sk_test_ rk_live_ rk_test_ whsec_",
        rb"(?:[rs]k_(?:live|test)_[A-Za-z0-9]{16,4096}+|whsec_[A-Za-z0-9+/=]{24,4096}+)",
    ),
    _form("square_token", "sq0atp- sq0csp- sq0idp-", rb"sq0(?:atp|csp)-[A-Za-z0-9_-]{22,64}+"),
    _around(
        "braintree_token",
        "access_token$",
        0,
        rb"access_token\$(?:production|sandbox)\$(?P<secret>[0-9a-z]{16}\$[0-9a-f]{32})",
    ),
    _form("razorpay_key", "rzp_live_ rzp_test_", rb"rzp_(?:live|test)_[A-Za-z0-9]{14,32}" + _END),
    _form(
        "plaid_token",
        "access-production- access-sandbox- access-development-",
        rb"access-(?:production|sandbox|development)-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    ),
    _form("shopify_token", "shpat_ shpca_ shppa_ shpss_", rb"shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}" + _END),
    _form("flutterwave_key", "FLWSECK", rb"FLWSECK(?:_TEST)?-[0-9a-zA-Z]{12,40}-X" + _END),
    # --- mail, messages, monitoring, office
    _form("sendgrid_key", "SG.", rb"SG\.[A-Za-z0-9_-]{20,24}\.[A-Za-z0-9_-]{39,50}(?![A-Za-z0-9_-])"),
    _form("mailgun_key", "key-", rb"key-[0-9a-f]{32}" + _END),
    _around("mailchimp_key", "-us", 32, _BEGIN + rb"[0-9a-f]{32}-us\d{1,2}" + _END),
    _form("brevo_key", "xkeysib- xsmtpsib-", rb"x(?:key|smtp)sib-[0-9a-f]{64}-[A-Za-z0-9]{16}" + _END),
    _form("twilio_key", "SK", rb"SK[0-9a-f]{32}" + _END),
    _form("new_relic_key", "NRAK- NRAA- NRII- NRRA-", rb"NR(?:AK|AA|II|RA)-[A-Za-z0-9_-]{27,48}+"),
    _form("sentry_token", "sntrys_ sntryu_", rb"sntry(?:s_eyJ[A-Za-z0-9+/=_-]{60,4096}+|u_[0-9a-f]{64})"),
    _form(
        "grafana_token",
        "glsa_ glc_",
        rb"(?:glsa_[A-Za-z0-9]{32}_[0-9a-fA-F]{8}|glc_[A-Za-z0-9+/]{32,4096}+={0,3})",
    ),
    _form("dynatrace_token", "dt0c01. dt0s01. dt0s16.", rb"dt0[cs]\d\d\.[A-Z0-9]{24}\.[A-Z0-9]{64}" + _END),
    _form("posthog_key", "phx_", rb"phx_[A-Za-z0-9]{40,60}+" + _END),
    _form("linear_key", "lin_api_ lin_oauth_", rb"lin_(?:api|oauth)_[A-Za-z0-9]{32,64}+" + _END),
    _form(
        "notion_token",
        "ntn_ secret_",
        rb"(?:ntn_[A-Za-z0-9]{40,50}+|secret_[A-Za-z0-9]{43})" + _END,
        _has_digit,
    ),
    _form("airtable_token", "pat", rb"pat[A-Za-z0-9]{14}\.[0-9a-f]{64}" + _END),
    _form("figma_token", "figd_", rb"figd_[A-Za-z0-9_-]{38,60}+"),
    _form("postman_key", "PMAK-", rb"PMAK-[0-9a-f]{24}-[0-9a-f]{34}" + _END),
    _form("dropbox_token", "sl.", rb"sl\.(?:u\.)?[A-Za-z0-9_-]{120,1500}+", _has_digit),
    _form("contentful_token", "CFPAT-", rb"CFPAT-[A-Za-z0-9_-]{40,60}+"),
    _form("facebook_token", "EAACEdEose0cBA", rb"EAACEdEose0cBA[A-Za-z0-9]{20,500}+"),
    _form("age_key", "AGE-SECRET-KEY-1", rb"AGE-SECRET-KEY-1[02-9AC-HJ-NP-Z]{58}" + _END),
    # --- packages
    _form("npm_token", "npm_", rb"npm_[A-Za-z0-9]{36}(?![A-Za-z0-9])"),
    _form("pypi_token", "pypi-AgE", rb"pypi-AgE[A-Za-z0-9_-]{16,4096}+"),
    _form("rubygems_key", "rubygems_", rb"rubygems_[0-9a-f]{48}" + _END),
    _form("crates_token", "cio", _ALONE + rb"cio[A-Za-z0-9]{32}(?![A-Za-z0-9+/])", _has_digit),
    _form("docker_token", "dckr_pat_ dckr_oat_", rb"dckr_[po]at_[A-Za-z0-9_-]{24,60}+"),
    _form("nuget_key", "oy2", _ALONE + rb"oy2[a-z0-9]{43}(?![A-Za-z0-9+/])"),
    _form("clojars_token", "CLOJARS_", rb"CLOJARS_[0-9a-f]{60}" + _END),
    _form(
        "artifactory_token",
        "AKCp cmVmdGtu",
        _ALONE + rb"(?:AKCp[A-Za-z0-9]{60,80}+|cmVmdGtu[A-Za-z0-9]{50,70}+)(?![+/])",
    ),
    # --- by their own form, whoever gave them
    _form("jwt", "eyJ", rb"eyJ[A-Za-z0-9_-]{8,4096}+\.eyJ[A-Za-z0-9_-]{8,4096}+\.[A-Za-z0-9_-]{8,4096}+"),
    # Up to the last `@` before the path, for passwords with an `@`; `image:tag@sha256:…` has none.
    Rule(
        "url_password",
        (b"://",),
        Pattern(
            rb"://(?!\[REDACTED:)[^\s:/?#@\"'`\\<>]{0,255}:(?P<secret>[^\s/?#\"'`\\<>]{1,255})@(?!sha256:)[\w\[$.%{-]"
        ),
        _is_filled_in,
    ),
    # --- by the words around them
    Rule(
        "authorization",
        (b"authorization", b"bearer"),
        Pattern(
            rb"(?:authorization\\*[\"']?[ \t]*[:=,][ \t]*(?:[bfru]{0,2}\\*[\"'`])?"
            rb"(?:(?:basic|bearer|digest|token|apikey|negotiate)[ \t]+)?|bearer[ \t]+)"
            rb"(?P<secret>[A-Za-z0-9._~+/-]{8,4096}+={0,2})(?![A-Za-z0-9._~+/-])",
            re.IGNORECASE,
        ),
        _is_credential,
        folded=True,
        certain=False,
    ),
    Rule(
        "basic_auth",
        (b" -u ", b" --user "),
        Pattern(
            rb"(?<=[\w\"'/])[ ](?:-u|--user)[ ]+\\*[\"']?[A-Za-z0-9._@+-]{1,128}:"
            rb"(?P<secret>[^\s\"'\\$<{*:]{4,256}+)(?=[\s\"'\\]|\Z)"
        ),
        _is_login,
        certain=False,
    ),
    Rule(
        "netrc_password",
        (b"machine ",),
        Pattern(
            rb"machine[ ]+[^\s\"'\\]{1,255}(?:[ ]+|\\+n[ ]*)login[ ]+[^\s\"'\\]{1,128}(?:[ ]+|\\+n[ ]*)"
            rb"password[ ]+(?P<secret>[^\s\"'\\$<{*]{4,256}+)"
        ),
        _is_login,
        certain=False,
    ),
    _assigned("password", "password passwd passphrase pwd", _is_password),
    _assigned("secret", "secret", _is_random),
    # Not the tokens that only name a page or a public key.
    _assigned("token", "token", _is_random, rb"(?<!next)(?<!next_)(?<!page)(?<!page_)(?<!publickey)"),
    _assigned("api_key", "key", _is_random, _named("api access")),
    _assigned("key", "key", _is_entropic, _named("private signing encryption master account auth shared")),
    _assigned("credential", "credential", _is_entropic),
    Rule(
        "env_value",
        (b"_KEY=", b"_PASS=", b"_AUTH=", b"_PAT="),
        Pattern(
            rb"(?<=[A-Z0-9])_[A-Z]+=(?P<quote>\\*[\"'])?(?P<secret>[A-Za-z0-9_+/=.~!@#%^*?-]{8,4096}+)(?![(\[{])"
        ),
        _is_env_value,
        certain=False,
    ),
)

_WHOLE = _Search(lambda rule: not (rule.folded or rule.in_run))
_FOLDED = _Search(lambda rule: rule.folded)
_IN_RUNS = _Search(lambda rule: rule.in_run)

# Hints that stand in words, and say nothing where what follows is gone.
_LOOSE = (
    b"://",
    b"pat",
    b"cio",
    b"dp.",
    b"sl.",
    b"sk_",
    b"-us",
    b":AA",
    b"sig=",
    b"key-",
    b"oy2",
    b"secret_",
    b"dose",
    b"v1.0-",
)
_FORMS = b"|".join(
    re.escape(hint)
    for rule in RULES
    if rule.certain
    for hint in rule.hints
    if len(hint) > 2 and hint not in _LOOSE
)
HALF = Pattern(
    rb"(?:%b(?:%b)|://[^\s/?#\[]{0,255}:|-----BEGIN [^\n\[]{0,4096}"
    rb"|(?i:(?:pass(?:word|wd|phrase)|pwd|secret|token|key)\W{0,4}[=:][ \t]*|(?:bearer|basic)[ \t]+))"
    rb"[^\s\[/]{0,4096}(?=\xe2\x80\xa6\Z)" % (_BEGIN, _FORMS)
)
"""Where a text was cut (it ends in `…`), a secret may have lost the end by which a rule knows it."""

KINDS: tuple[str, ...] = ("private_key", *(rule.kind for rule in RULES), CUT_OFF, CUSTOM)
"""Every kind there is, in the order of their ranks: the labels of a metric."""
