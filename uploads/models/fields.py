"""Columns derived from a name: the normalized text that lists search, and the text that they sort by."""

from __future__ import annotations

from typing import Any

from django.db import models

from uploads import names


class NormalizedNameField(models.TextField):  # type: ignore[type-arg]
    """The normalized `name` of the row, set on every save. A queryset's `update` must set both columns."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"editable": False, "db_collation": "C", "default": "", **kwargs})

    def pre_save(self, model_instance: models.Model, add: bool) -> str:
        normalized = names.normalize_for_search(model_instance.name)  # type: ignore[attr-defined]
        setattr(model_instance, self.attname, normalized)
        return normalized


class NaturalNameField(models.TextField):  # type: ignore[type-arg]
    """The normalized name in natural order, where 2 comes before 10. A trigger sets it, for raw SQL as well."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"editable": False, "db_collation": "C", "db_default": "", **kwargs})
