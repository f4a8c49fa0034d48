"""Queries whose SQL Django compiles once; only their values change.

To compile the SQL of a permission query takes ten times as long as to fill in a value.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from django.db import DEFAULT_DB_ALIAS, connections, router
from django.db.models import Model, QuerySet

Row = TypeVar("Row", bound=Model)


class PreparedQuery(Generic[Row]):
    """The SQL of a query that was built with `placeholders` for its values: each parameter that equals one is replaced.

    A placeholder must be a value that cannot occur in the query otherwise: a large number, a random UUID.
    Raises ValueError if a placeholder does not occur in the query.
    """

    def __init__(self, rows: QuerySet[Row], *placeholders: Any) -> None:
        self.model, self.placeholders = rows.model, placeholders
        compiler = rows.query.get_compiler(DEFAULT_DB_ALIAS)
        self.sql, self.parameters = compiler.as_sql()
        self.columns = [getattr(column.target, "attname", "") for column, _sql, _alias in compiler.select]
        self.positions = [
            (position, placeholders.index(value))
            for position, value in enumerate(self.parameters)
            if value in placeholders
        ]
        if {number for _position, number in self.positions} != set(range(len(placeholders))):
            raise ValueError("A placeholder does not occur in the SQL.")

    def bind(self, *values: Any) -> tuple[str, list[Any]]:
        """Return the SQL and its parameters, with `values` in the positions of the placeholders."""
        parameters = list(self.parameters)
        for position, number in self.positions:
            parameters[position] = values[number]
        return self.sql, parameters

    def rows(self, *values: Any) -> list[Row]:
        """Run the query with these values, in the order of the placeholders."""
        using = router.db_for_read(self.model)
        return [self.model.from_db(using, self.columns, row) for row in self.tuples(*values)]

    def tuples(self, *values: Any) -> list[tuple[Any, ...]]:
        """Like `rows`, but return tuples: for a query that was built with `values_list`."""
        with connections[router.db_for_read(self.model)].cursor() as cursor:
            cursor.execute(*self.bind(*values))
            rows: list[tuple[Any, ...]] = cursor.fetchall()
            return rows
