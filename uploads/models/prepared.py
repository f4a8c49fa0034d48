"""Questions that are asked all day: Django makes their SQL once, and only the values change.

To make the SQL of a question about permissions takes ten times as long as to put a value into it.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from django.db import DEFAULT_DB_ALIAS, connections, router
from django.db.models import Model, QuerySet

Row = TypeVar("Row", bound=Model)


class PreparedQuery(Generic[Row]):
    """The SQL of a query that was made with `examples` for its values: what equals one of them is a place for a value.

    An example is therefore nothing that could stand in the query for another reason: a large number, a random UUID.
    """

    def __init__(self, rows: QuerySet[Row], *examples: Any) -> None:
        self.model, self.examples = rows.model, examples
        compiler = rows.query.get_compiler(DEFAULT_DB_ALIAS)
        self.sql, self.parameters = compiler.as_sql()
        self.columns = [getattr(told.target, "attname", "") for told, _sql, _alias in compiler.select]
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
        using = router.db_for_read(self.model)
        return [self.model.from_db(using, self.columns, found) for found in self.tuples(*values)]

    def tuples(self, *values: Any) -> list[tuple[Any, ...]]:
        """The same as plain values: for a query that was made with `values_list`."""
        with connections[router.db_for_read(self.model)].cursor() as cursor:
            cursor.execute(*self.filled(*values))
            found: list[tuple[Any, ...]] = cursor.fetchall()
            return found
