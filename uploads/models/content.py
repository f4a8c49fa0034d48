"""What the worker makes of a file's content: the text of documents, for searches, and preview images."""

from __future__ import annotations

import secrets
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchVectorField
from django.db import OperationalError, connection, models, router
from django.db.models import F, Func, OuterRef, Q, Subquery, Value
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from amalga.db import is_statement_timeout, statement_timeout
from uploads import names
from uploads.keys import PREVIEW_KEY_PATTERN, PREVIEW_PREFIX
from uploads.models.file import File, main_store

MAX_TEXT_CHARACTERS = 100_000  # of the text that is kept for excerpts; words are indexed beyond
MAX_TRIES = 3  # a file whose workers were killed so often may be the cause
INTERRUPTED = "interrupted"
# With the ids of up to this many files Postgres uses its indexes of names as well.
MAX_MATCHES = 5_000
MATCH_SECONDS = 1.0

START = """
INSERT INTO uploads_filecontent AS content (file_id, text, vector, reason, tries)
SELECT id, '', '', 'interrupted', 1 FROM uploads_file WHERE id = %(file)s AND state = 'available' FOR KEY SHARE
ON CONFLICT (file_id) DO UPDATE SET tries = content.tries + 1
    WHERE content.reason = 'interrupted' AND content.tries < %(max_tries)s
"""
# Saves nothing for a file that was changed, quarantined or deleted since `start`.
SAVE = """
UPDATE uploads_filecontent AS content
SET text = %(text)s, reason = %(reason)s, vector = array_to_tsvector(%(words)s::text[])
FROM uploads_file AS file
WHERE file.id = content.file_id AND file.id = %(file)s AND file.etag = %(etag)s AND NOT file.quarantined
    AND file.state IN ('available', 'trashed')
"""


class _HasWords(Func):
    """Whether a vector matches a query."""

    arg_joiner = " @@ "
    template = "%(expressions)s"
    output_field = models.BooleanField()


class FileContentQuerySet(models.QuerySet["FileContent"]):
    def start(self, file: File) -> bool:
        """Record that the file is read now, and return whether it should be: not twice, nor more than MAX_TRIES."""
        with connection.cursor() as cursor:
            cursor.execute(START, {"file": file.pk, "max_tries": MAX_TRIES})
            return bool(cursor.rowcount)

    def save_text(self, file: File, text: str, *, reason: str = "") -> None:
        """Save the text of a file after `start`, or the reason why there is none."""
        plain = " ".join(text.replace("\x00", " ").split())
        parameters: dict[str, Any] = {
            "file": file.pk, "etag": file.etag, "reason": reason, "text": plain[:MAX_TEXT_CHARACTERS],
            "words": names.index_words(plain),
        }  # fmt: skip
        with connection.cursor() as cursor:
            cursor.execute(SAVE, parameters)

    def texts_of(self, ids: list[UUID]) -> dict[UUID, str]:
        return dict(self.filter(pk__in=ids).values_list("pk", "text"))

    def matching(self, search: str) -> Q | None:
        """Return the condition for files whose text has these words. None if there is no such search.

        Costs a query. With the ids of a few files, Postgres uses its indexes. Of words that are in many files, it reads
        the vectors in the order of the list instead, and soon has the files of a page.
        """
        terms = names.search_terms(search)
        if not settings.CONTENT_SEARCH or not terms:
            return None
        words = Func(Value(_as_query(terms)), template="%(expressions)s::tsquery", output_field=models.TextField())
        ids = self._first_matches(words)
        if ids is not None and len(ids) <= MAX_MATCHES:
            return Q(pk__in=ids, quarantined=False)
        vector = Subquery(self.filter(pk=OuterRef("pk")).values("vector"))
        return Q(_HasWords(vector, words), quarantined=False)

    def _first_matches(self, words: Any) -> list[UUID] | None:
        """Return up to MAX_MATCHES + 1 ids from the index of words, or None if that takes longer than MATCH_SECONDS."""
        rows = self.filter(_HasWords(F("vector"), words)).order_by().values_list("pk", flat=True)
        try:
            with statement_timeout(MATCH_SECONDS, using=router.db_for_read(FileContent)) as cursor:
                # with a LIMIT, Postgres may expect to find these sooner without the index
                cursor.execute("SET LOCAL enable_seqscan = off")
                ids = list(rows[: MAX_MATCHES + 1])
                cursor.execute("SET LOCAL enable_seqscan TO DEFAULT")
        except OperationalError as error:
            if is_statement_timeout(error):
                return None
            raise
        return ids


class FileContent(models.Model):
    """The text of a file, and its words as names have them: without case and accents. Derived from the object."""

    file = models.OneToOneField(File, models.CASCADE, primary_key=True, related_name="content")
    text = models.TextField(blank=True)
    vector = SearchVectorField()
    reason = models.CharField(max_length=20, blank=True)  # why it has no text; "interrupted" while it is read
    tries = models.PositiveSmallIntegerField(default=0)

    objects = FileContentQuerySet.as_manager()

    class Meta:
        default_permissions = ()
        indexes = [
            GinIndex(fields=["vector"], name="file_content_by_word"),
            models.Index(fields=["file"], condition=~Q(reason=""), name="file_content_failed"),
        ]

    def __str__(self) -> str:
        return f"text of {self.file_id}"


def _as_query(terms: list[tuple[str, bool]]) -> str:
    """Return the tsquery for all of these words; those with True can be the beginning of a longer word."""
    return " & ".join(f"'{word}'{':*' if is_prefix else ''}" for word, is_prefix in terms)


# --- previews ------------------------------------------------------------------------------------


def new_preview_key() -> str:
    """Return a random object key for one preview. It is never reused."""
    return f"{PREVIEW_PREFIX}{secrets.token_hex(16)}"


class PreviewKind(models.TextChoices):
    THUMBNAIL = "thumbnail", _("thumbnail")  # WebP, for lists
    PICTURE = "picture", _("picture")  # WebP, for the file's page
    EXCERPT = "excerpt", _("excerpt")  # UTF-8, the beginning of a text
    PAGE = "page", _("page")  # WebP, of the pages of a document after the first, which is the picture


class PreviewState(models.TextChoices):
    PENDING = "pending", _("pending")  # an object may appear at the key until lease_until
    READY = "ready", _("ready")
    FAILED = "failed", _("failed")


class Preview(models.Model):
    """One preview of one file, or of one page of a document. Its row is deleted only after its object."""

    file = models.ForeignKey(File, models.PROTECT, related_name="previews")
    kind = models.CharField(max_length=9, choices=PreviewKind.choices)
    page = models.SmallIntegerField(default=1, db_default=1)
    state = models.CharField(max_length=7, choices=PreviewState.choices, default=PreviewState.PENDING)
    key = models.CharField(max_length=34, unique=True, default=new_preview_key, editable=False, db_collation="C")
    store = models.CharField(max_length=40, blank=True, default=main_store, db_default="", editable=False)
    size = models.BigIntegerField(default=0)
    width = models.PositiveIntegerField(default=0)
    height = models.PositiveIntegerField(default=0)
    # Of the file itself in pixels, upright, in the row of its picture. None where they are not known.
    original_width = models.IntegerField(null=True)
    original_height = models.IntegerField(null=True)
    # Of the document, in the row of its picture. None for other files, and before the pages were counted.
    page_count = models.IntegerField(null=True)
    reason = models.CharField(max_length=255, blank=True, default="")
    lease_until = models.DateTimeField()
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        verbose_name = _("preview")
        verbose_name_plural = _("previews")
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(fields=["file", "kind", "page"], name="preview_page_unique"),
            models.CheckConstraint(condition=Q(key__regex=PREVIEW_KEY_PATTERN), name="preview_key_valid"),
            models.CheckConstraint(condition=Q(state__in=PreviewState.values), name="preview_state_valid"),
            models.CheckConstraint(condition=Q(kind__in=PreviewKind.values), name="preview_kind_valid"),
        ]
        indexes = [
            models.Index(fields=["lease_until"], condition=Q(state=PreviewState.PENDING), name="preview_by_lease"),
            models.Index(fields=["updated_at"], condition=Q(state=PreviewState.FAILED), name="preview_failed_by_time"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.page} of {self.file_id}"
