"""A column that follows a name: the text that searching and sorting see."""

from __future__ import annotations

from typing import Any

from django.db import models

from uploads import names


class NormalizedNameField(models.TextField):  # type: ignore[type-arg]
    """The folded `name` of the row, set whenever it is saved; a queryset's `update` sets both itself."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"editable": False, "db_collation": "C", "default": "", **kwargs})

    def pre_save(self, model_instance: models.Model, add: bool) -> str:
        folded = names.normalize_for_search(model_instance.name)  # type: ignore[attr-defined]
        setattr(model_instance, self.attname, folded)
        return folded
