"""Queries and subqueries that are compiled once.

They run in every request, and compiling them takes longer than running them. They are compiled with placeholders: a
user's id, and the permanent id of a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from django.db.models import QuerySet

ANY_USER = 2**31 - 1  # the largest id of a user: Django leaves out conditions that no row can meet
ANY_FILE = uuid4()
CompiledQuery = tuple[str, tuple[Any, ...]]


def compile_ids(rows: QuerySet[Any]) -> CompiledQuery:
    """Return the query for the ids of these rows, unsorted."""
    return rows.order_by().values("pk").query.sql_with_params()


def bind(query: CompiledQuery, values: Mapping[Any, Any]) -> tuple[str, list[Any]]:
    """Return the SQL and the parameters of a compiled query, with `values` in the place of its placeholders."""
    sql, parameters = query
    return sql, [values.get(parameter, parameter) for parameter in parameters]
