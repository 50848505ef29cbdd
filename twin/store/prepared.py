"""Statements that are built and compiled once.

SQLAlchemy takes some twenty times as long to build a small statement and to find its compiled form as SQLite to run it: 400 to 700
microseconds of CPU against 30, and an answer takes forty of them. What runs for every message is therefore prepared. The columns'
types still convert what goes in and what comes out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

from sqlalchemy import BindParameter, Executable, bindparam
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.types import TypeEngine

from twin.store.driver import run_at_once
from twin.store.tables import UtcDateTime, from_column, to_column

_DIALECT = SQLiteDialect_pysqlite(paramstyle="qmark")


def given(name: str) -> BindParameter[Any]:
    """A value that comes with each run. Not the name of a column that the statement sets; a fixed NULL is `null()`."""
    return bindparam(name, required=False)


class Prepared:
    """`run` takes by name what the statement has `given`, and the columns of an INSERT that have a default in Python."""

    def __init__(self, statement: Executable) -> None:
        self._statement = statement

    @cached_property
    def _compiled(self) -> _Compiled:
        return _Compiled(self._statement)

    @property
    def sql(self) -> str:
        """With a question mark for each value."""
        return self._compiled.sql

    async def run(self, connection: AsyncConnection, **values: Any) -> int:
        """Returns how many rows it changed."""
        compiled = self._compiled
        return run_at_once(connection, compiled.sql, compiled.parameters(values)).rowcount

    async def insert(self, connection: AsyncConnection, **values: Any) -> int:
        """Returns the new row's id."""
        compiled = self._compiled
        made = run_at_once(connection, compiled.sql, compiled.parameters(values)).lastrowid
        assert made is not None
        return made

    async def rows(self, connection: AsyncConnection, **values: Any) -> list[tuple[Any, ...]]:
        compiled = self._compiled
        found = run_at_once(connection, compiled.sql, compiled.parameters(values)).fetchall()
        if compiled.converting:
            return [compiled.read(row) for row in found]
        return found

    async def first(self, connection: AsyncConnection, **values: Any) -> tuple[Any, ...] | None:
        return next(iter(await self.rows(connection, **values)), None)


class _Compiled:
    def __init__(self, statement: Any) -> None:
        compiled: SQLCompiler = statement.compile(dialect=_DIALECT, compile_kwargs={"render_postcompile": True})
        self.sql = str(compiled)
        self._fixed = {name: value for name, value in compiled.params.items() if value is not None}
        binders = {name: _binder(bound.type) for bound, name in compiled.bind_names.items()}
        self._names = list(compiled.positiontup or ())
        self._binding = [(place, bind) for place, name in enumerate(self._names) if (bind := binders.get(name))]
        readers = [_reader(column.type) for column in getattr(statement, "exported_columns", ())]
        self.converting = [(place, read) for place, read in enumerate(readers) if read]

    def read(self, row: tuple[Any, ...]) -> tuple[Any, ...]:
        values = list(row)
        for place, read in self.converting:
            values[place] = read(values[place])
        return tuple(values)

    def parameters(self, values: Mapping[str, Any]) -> tuple[Any, ...]:
        named = {**self._fixed, **values}
        found = [named[name] for name in self._names]
        for place, bind in self._binding:
            found[place] = bind(found[place])
        return tuple(found)


def _binder(kind: TypeEngine[Any]) -> Callable[[Any], Any] | None:
    if isinstance(kind, UtcDateTime):
        return to_column  # a TypeDecorator's own takes three times as long
    return kind.dialect_impl(_DIALECT).bind_processor(_DIALECT)


def _reader(kind: TypeEngine[Any]) -> Callable[[Any], Any] | None:
    if isinstance(kind, UtcDateTime):
        return from_column
    return kind.dialect_impl(_DIALECT).result_processor(_DIALECT, None)
