"""Statements that are built and compiled once.

SQLAlchemy takes some twenty times as long to build a small statement and to find its compiled form as SQLite to run it: 400 to 700
microseconds of CPU against 30, and an answer takes forty of them. What runs for every message is therefore prepared. The columns'
types still convert what goes in and what comes out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

from sqlalchemy import BindParameter, ColumnElement, Executable, bindparam
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.types import TypeEngine

from twin.store.driver import run_at_once
from twin.store.tables import UtcDateTime, from_column, to_column
from twin.times import since_1970

Convert = Callable[[Any], Any]
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
        return self._found(connection, values)

    async def first(self, connection: AsyncConnection, **values: Any) -> tuple[Any, ...] | None:
        found = self._found(connection, values)
        return found[0] if found else None

    def _found(self, connection: AsyncConnection, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        compiled = self._compiled
        return compiled.read(run_at_once(connection, compiled.sql, compiled.parameters(values)).fetchall())


class _Compiled:
    """The statement's words, and the two functions that convert what goes in and what comes out. Those are written as source, as
    `namedtuple` writes its own: an answer reads some hundred rows, and a loop over their columns takes three times as long."""

    def __init__(self, statement: Any) -> None:
        compiled: SQLCompiler = statement.compile(dialect=_DIALECT, compile_kwargs={"render_postcompile": True})
        self.sql = str(compiled)
        fixed = {name: value for name, value in compiled.params.items() if value is not None}
        binders = {name: _binder(bound.type) for bound, name in compiled.bind_names.items()}
        known: dict[str, Any] = {}
        places = []
        for place, name in enumerate(compiled.positiontup or ()):
            value = f"values[{name!r}]"
            if name in fixed:
                value = f"fixed_{place}"
                known[value] = fixed[name]
            places.append(_converted(value, place, binders.get(name), known))
        self.parameters: Callable[[Mapping[str, Any]], tuple[Any, ...]] = _function("values", f"({_listed(places)})", known)
        self.read = _rows([_reader(column) for column in getattr(statement, "exported_columns", ())])


def _rows(readers: Sequence[Convert | None]) -> Callable[[list[Any]], list[Any]]:
    """Converts rows."""
    if not any(readers):
        return lambda rows: rows
    known: dict[str, Any] = {}
    names = [f"column_{place}" for place in range(len(readers))]
    values = [_converted(name, place, read, known) for place, (name, read) in enumerate(zip(names, readers, strict=True))]
    return _function("rows", f"[({_listed(values)}) for {_listed(names)} in rows]", known)


def _function(argument: str, expression: str, known: dict[str, Any]) -> Callable[[Any], Any]:
    # Nothing in it comes from outside.
    made: Callable[[Any], Any] = eval(f"lambda {argument}: {expression}", known)
    return made


def _listed(values: Sequence[str]) -> str:
    return "".join(f"{value}, " for value in values)


def _converted(value: str, place: int, convert: Convert | None, known: dict[str, Any]) -> str:
    if convert is None:
        return value
    known[f"convert_{place}"] = convert
    return f"convert_{place}({value})"


def _binder(kind: TypeEngine[Any]) -> Convert | None:
    if isinstance(kind, UtcDateTime):
        return to_column  # a TypeDecorator's own takes three times as long
    return kind.dialect_impl(_DIALECT).bind_processor(_DIALECT)


def _reader(column: ColumnElement[Any]) -> Convert | None:
    if isinstance(column.type, UtcDateTime):
        return from_column if getattr(column, "nullable", True) else since_1970
    return column.type.dialect_impl(_DIALECT).result_processor(_DIALECT, None)
