"""Questions that are asked all day: Django makes their SQL once, and only the values change.

To make the SQL of a question about permissions takes ten times as long as to put a value into it.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from django.db import connections, router
from django.db.models import Model, QuerySet

Row = TypeVar("Row", bound=Model)


class Compiled(Generic[Row]):
    """The SQL of a query that was made with `examples` for its values: what equals one of them is a place for a value.

    An example is therefore nothing that could stand in the query for another reason: a large number, a random UUID.
    """

    def __init__(self, rows: QuerySet[Row], *examples: Any) -> None:
        self.model, self.examples = rows.model, examples
        self.sql, self.parameters = rows.query.sql_with_params()
        self.places = [(place, examples.index(told)) for place, told in enumerate(self.parameters) if told in examples]
        if {number for _place, number in self.places} != set(range(len(examples))):
            raise ValueError("An example does not stand in the SQL.")

    def filled(self, *values: Any) -> tuple[str, list[Any]]:
        parameters = list(self.parameters)
        for place, number in self.places:
            parameters[place] = values[number]
        return self.sql, parameters

    def rows(self, *values: Any) -> list[Row]:
        """What the query finds with these values in the places of the examples, in their order."""
        return list(self.model._default_manager.raw(*self.filled(*values)))

    def tuples(self, *values: Any) -> list[tuple[Any, ...]]:
        """The same as plain values: for a query that was made with `values_list`."""
        with connections[router.db_for_read(self.model)].cursor() as cursor:
            cursor.execute(*self.filled(*values))
            found: list[tuple[Any, ...]] = cursor.fetchall()
            return found
