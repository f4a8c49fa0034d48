"""Words and phrases that are not plain American English, or not this project's terms, with what to write instead.

`BANNED` holds for everything that people read: pages, command help and output, documentation. `BANNED_ON_PAGES` adds
the operators' words, which pages for people do not use. Keys are regular expressions for whole words, case ignored.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

BANNED = {
    # Vague words: say who acts, and what happens.
    r"whoever|whomever": "the person: you, the user, an administrator, the client",
    r"nobody|no ?body": "no one, or turn the sentence around: no user, only administrators",
    r"somebody(?: else)?": "someone, another user",
    r"everybody": "everyone, all users",
    r"anew": "again",
    r"meanwhile": "while …, or nothing",
    r"whose turn": "name the actor",
    r"that which": "what",
    r"go(?:es)? on(?! to\b)(?! sale\b)": "continue, resume",
    r"at leisure": "in the background",
    r"to (?:hand|be had)": "available",
    r"not at hand": "not available",
    r"makes? (?:no )?sense": "is invalid",
    r"takes? the place of": "replaces",
    r"(?<!there )(?:is|are|be|was|were) none": "is not a valid …",
    r"nothing is wrong": "leave it out, or say what happens next",
    r"nothing is lost": "your files are safe",
    r"(?:this|that|it) is gone": "deleted, no longer available",
    r"gone for good|for good": "permanently",
    r"in all(?= *[.,;:)])": "total, in total",
    r"no more then": "no longer",
    r"on (?:its|their) way": "in progress, running",
    r"by and by": "gradually",
    r"as it (?:is|was) told": "as configured",
    r"(?:is|are|be|was|were|been|being) (?:asked|told)\b(?! (?:for|to (?:sign in|enter|choose|confirm)))": (
        "name the actor: the server asks; configure, report, notify"
    ),
    r"told": "reported, described, configured, notified",
    r"(?:is|are|was|were|be|been) (?:away|silent)": "unavailable, does not respond, timed out",
    r"mend(?:s|ed|ing)?": "repair, fix",
    r"reckon(?:s|ed|ing)?": "estimate, calculate",
    r"brought in|bring in|take[ns]? over from a bucket": "import",
    r"brings? (?:it|them) back": "restores it, restores them",
    # One term for each thing.
    r"(?:put|puts|putting|moved?) in(?:to)? the trash|into the trash": "move to trash, moved to trash",
    r"log (?:out|off)|logged (?:out|off)|(?:to|you|must) log in": "sign in, sign out",
    r"login (?:page|form)s?": "sign-in page",
    r"second factors?": "two-factor authentication",
    r"known browsers?": "known device",
    r"announced? (?:an? |the )?(?:files?|uploads?)": "create an upload, declared",
    r"upload(?:s|ed)? in parts": "multipart upload",
    r"strays?": "orphaned multipart upload, orphan",
    r"signed (?:address|url)(?:es|s)?": "presigned URL",
    r"(?:url|address|link|token)s? (?:live|die)s?": "expires",
    r"digests? held against": "checksum verified against",
    r"claimed type": "declared type",
    r"damaged": "corrupted",
    r"counts again": "is the current version again",
    r"counts now": "current version",
    r"what is (?:above|below|written down|left|there)": "parent folder, subfolders, activity, the rest",
    r"with what is": "including",
    r"rules? of its own": "its own access rules",
    r"(?:growing pauses|pauses that grow)": "backoff",
    r"clocks? apart": "clock skew",
    r"how far (?:behind|it is)": "replica lag",
    r"work that waits": "backlog",
    r"fault points?": "failpoint",
    r"(?:do|does|did) not agree": "differ, are out of sync",
    r"belong together": "are in sync",
    r"(?<!load )balancers?": "load balancer",
    r"to strangers": "to the public, anonymous",
    # Plain American English.
    r"please": "leave it out",
    r"e\.g\.|i\.e\.": "for example, that is",
    r"cancelled|cancelling": "canceled, canceling",
    r"colour\w*": "color",
    r"behaviour\w*": "behavior",
    r"licen[c]es?": "license",
    r"catalogues?": "catalog",
    r"centre[ds]?": "center",
    r"favourites?": "favorite",
    r"(?:organ|recogn|author|normal|synchron|minim|optim|custom|summar)is(?:e[ds]?|ing|ation)": "-ize, -ization",
    r"whilst|amongst": "while, among",
    r"has to wait": "is throttled",
    r"shall": "must, will",
    r"thereby|thereof|therein|hereby|whereupon": "a shorter sentence",
    r"just now": "right now, currently",
    r"in the place of": "instead of",
    r"the (?:like|same) of": "such as",
    r"of (?:its|their|one's) own accord": "automatically",
    r"half a minute": "30 seconds",
    r"(?:takes?|accepts?) an? (?:whole )?(?:number|integer)": "must be an integer",
}

BANNED_ON_PAGES = {
    r"(?:the|this|which) stores?": "storage",
    r"bytes": "file, contents, size; sizes as kB, MB, GB",
    r"(?<!directory )buckets?": "storage",
    r"objects?": "file, contents",
    r"rows?": "entry, file",
    r"keys? of the (?:bucket|object)": "storage key",
    r"claim(?:s|ed)?": "declared",
    r"ticks?|ticked": "select",
    r"(?:is|are) not there": "missing, not found, no longer exists",
    r"gone": "deleted, no longer available",
    r"yours to": "you don't have permission to …",
    r"you may(?! (?:have|be|need|want))": "you can",
    r"(?:you|they|people|accounts?|roles?) may not": "don't have permission to …, can't",
}

Found = tuple[str, str, str]  # where it stands, the words, what to write instead


def banned_words(
    texts: Iterable[tuple[str, str]], *lists: dict[str, str], allowed: frozenset[str] = frozenset()
) -> Iterator[Found]:
    """Yield the banned words of texts, each given with the place where it stands.

    `allowed` holds patterns (keys of the lists) that these texts may use.
    """
    for banned in lists or (BANNED,):
        for pattern, instead in banned.items():
            if pattern in allowed:
                continue
            search = re.compile(rf"(?<![\w-])(?:{pattern})(?![\w-])", re.IGNORECASE)
            for where, text in texts:
                for match in search.finditer(text):
                    yield where, match[0], instead


def advice(matches: Iterable[Found]) -> str:
    """Return one line for each: the place, the words and what to write instead."""
    return "\n".join(
        f"{where}: instead of “{words}”, write: {instead}" for where, words, instead in sorted(set(matches))
    )


def prose(markdown: str) -> str:
    """Return a Markdown text without its fenced and inline code and the addresses of its links."""
    markdown = re.sub(r"^( *)(```|~~~).*?^\1\2 *$", "", markdown, flags=re.MULTILINE | re.DOTALL)
    markdown = re.sub(r"`[^`\n]*`", "", markdown)
    return re.sub(r"\]\([^)]*\)", "]", markdown)
