"""Opens the reception's database, brings its schema up to date, and says in a sentence why it cannot."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Insert, Update, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from tryggport.errors import TryggError

BUSY_TIMEOUT_S = 5
STANDSTILL_S = 10  # TP-BND-249
HEAD = "0008"
KNOWN_REVISIONS = ("0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008")
MIGRATIONS = Path(__file__).parent / "migrations"
_MIGRATING = 0x7472_0000_0000
_SQLITE_SENTENCES = {
    "SQLITE_BUSY": ("is locked by another program", "Close what else writes to it, then start again."),
    "SQLITE_LOCKED": ("is locked by another program", "Close what else writes to it, then start again."),
    "SQLITE_READONLY": ("cannot be written", "Give this user the right to write the file and its folder."),
    "SQLITE_PERM": ("cannot be written", "Give this user the right to write the file and its folder."),
    "SQLITE_FULL": ("cannot grow: the disk is full", "Make room, then start again."),
    "SQLITE_CANTOPEN": ("cannot be opened", "Give this user the right to write the file and its folder."),
    "SQLITE_NOTADB": ("is not a database", "Name another file with --db."),
    "SQLITE_CORRUPT": ("is damaged", "Restore it from its backup."),
    "SQLITE_IOERR": ("cannot be read or written: the disk fails", "Look at the system's log."),
}


class Database:
    """Transactions on one database. Every statement outside `read` and `write` is a mistake."""

    def __init__(self, engine: Engine, fence: Callable[[Connection], None] | None = None) -> None:
        self._engine = engine
        self._fence = fence
        snapshot = {"isolation_level": "REPEATABLE READ"} if engine.dialect.name == "postgresql" else {}
        self._readers = engine.execution_options(tryggport_begin="BEGIN", **snapshot)

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction, durable when the block has been left. Raises TryggError; then nothing of it is stored."""
        with _turn(self._engine), translated(self._engine), self._engine.begin() as tx:
            if self._fence is not None:
                self._fence(tx)
            yield tx

    def fenced(self, fence: Callable[[Connection], None]) -> Database:
        """The same database, whose every write begins with `fence`: what that raises ends the transaction."""
        return Database(self._engine, fence)

    @property
    def engine(self) -> Engine:
        return self._engine

    @property
    def is_postgresql(self) -> bool:
        return self._engine.dialect.name == "postgresql"

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A consistent view that does not hold up writers."""
        with translated(self._engine), self._readers.begin() as tx:
            yield tx

    def close(self) -> None:
        self._engine.dispose()


def for_each(tx: Connection, statement: Insert | Update, rows: Sequence[Mapping[str, Any]]) -> None:
    """The statement for each of the rows at the driver's own speed: SQLAlchemy's own way looks at every value of every row.

    For values that the driver takes as they are (numbers, texts, bytes, booleans, None); each row must have the same keys.
    """
    if not rows:
        return
    keys = list(rows[0]) if statement.is_insert else None
    compiled: Any = statement.compile(dialect=tx.dialect, column_keys=keys)
    names = compiled.positiontup if compiled.positional else None
    values = [tuple(row[name] for name in names) for row in rows] if names else [dict(row) for row in rows]
    tx.exec_driver_sql(str(compiled), values)


class _Turns:
    """A lock that is given in the order in which it was asked for: who writes again and again keeps nobody waiting for long."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken = False
        self._queue: deque[threading.Lock] = deque()

    def take(self, timeout_s: float) -> bool:
        """Whether it is ours now."""
        with self._lock:
            if not self._taken:
                self._taken = True
                return True
            place = threading.Lock()
            place.acquire()
            self._queue.append(place)
        if place.acquire(timeout=timeout_s):
            return True
        with self._lock:
            if place in self._queue:
                self._queue.remove(place)
                return False
        return True  # given in the very moment

    def give(self) -> None:
        with self._lock:
            if self._queue:
                self._queue.popleft().release()
            else:
                self._taken = False


_turns: dict[str, _Turns] = {}


@contextmanager
def _turn(engine: Engine) -> Iterator[None]:
    """SQLite has one writer at a time, and who finds it busy sleeps up to 100 ms before it looks again: in one program they queue."""
    if engine.dialect.name != "sqlite":
        yield
        return
    turns = _turns.setdefault(str(Path(engine.url.database or "").resolve()), _Turns())
    ours = turns.take(BUSY_TIMEOUT_S)  # or SQLite says who is in the way
    try:
        yield
    finally:
        if ours:
            turns.give()


def open_database(url: str, *, create: bool = True) -> Database:
    """The database at a SQLAlchemy URL, with the schema of this version. `create` False: it must be there already.

    Raises TryggError for a bad URL, a missing folder, a database that cannot be used or has a newer schema.
    """
    try:
        parsed = make_url(url)
        engine = create_engine(parsed)
    except ModuleNotFoundError as e:
        hint = (
            "Type: pip install 'tryggport[postgresql]'" if e.name == "psycopg" else "Use sqlite or postgresql+psycopg."
        )
        raise TryggError(f"The driver {e.name} for the database is not installed.", hint) from None
    except (ArgumentError, NoSuchModuleError):
        raise TryggError(f"{url!r} is not a database URL.", "Example: sqlite:///reception.db", usage=True) from None
    if engine.dialect.name == "sqlite":
        _check_path(parsed.database, create)
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    else:
        event.listen(engine, "connect", _set_up_postgresql)
    database = Database(engine)
    try:
        with database.read() as tx:
            revision = _revision(tx)
        if revision != HEAD:
            _migrate(database, engine, revision)
    except BaseException:
        database.close()
        raise
    return database


@contextmanager
def translated(engine: Engine) -> Iterator[None]:
    """Turns the driver's errors into TryggError."""
    try:
        yield
    except DBAPIError as e:
        name = str(getattr(e.orig, "sqlite_errorname", ""))
        what = f"The database {_shown(engine)}"
        for prefix, (sentence, hint) in _SQLITE_SENTENCES.items():
            if name.startswith(prefix):
                raise TryggError(f"{what} {sentence}.", hint) from e
        raise TryggError(f"{what} fails: {e.orig}") from e


def _shown(engine: Engine) -> str:
    return engine.url.database or "" if engine.dialect.name == "sqlite" else engine.url.render_as_string()


def _check_path(path: str | None, create: bool) -> None:
    if not path or path == ":memory:":
        raise TryggError("A database in memory keeps nothing.", "Name a file: --db sqlite:///reception.db", usage=True)
    file = Path(path)
    if not file.parent.is_dir():
        raise TryggError(f"There is no folder {file.parent} for the database.", "Make it, or name another with --db.")
    if not create and not file.exists():
        raise TryggError(f"There is no database {path}.", "Start the reception first, or name its database with --db.")


def _set_up_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # we begin transactions ourselves
    for pragma in (
        f"busy_timeout = {BUSY_TIMEOUT_S * 1000}",
        "journal_mode = WAL",
        "synchronous = FULL",  # in WAL mode only FULL syncs the log at each commit (TP-WIR-011)
        "foreign_keys = ON",
    ):
        connection.execute(f"PRAGMA {pragma}").close()


def _set_up_postgresql(connection: Any, _record: Any) -> None:
    """A worker that stands still in the middle of a transaction, or whose machine has gone, keeps nobody waiting for longer."""
    connection.execute(f"SET idle_in_transaction_session_timeout = {STANDSTILL_S * 1000}")
    connection.commit()


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("tryggport_begin", "BEGIN IMMEDIATE"))


def _revision(tx: Connection) -> str | None:
    if not inspect(tx).has_table("alembic_version"):
        return None
    return tx.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _migrate(database: Database, engine: Engine, revision: str | None) -> None:
    if revision is not None and revision not in KNOWN_REVISIONS:
        raise TryggError(
            f"The database {_shown(engine)} was written by a newer Tryggport (schema {revision}, this one knows {HEAD}).",
            "Update Tryggport on this machine.",
        )
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    with database.write() as tx:
        if database.is_postgresql:  # of workers that start together one does it
            tx.execute(text("SELECT pg_advisory_xact_lock(:migrations)"), {"migrations": _MIGRATING})
        config.attributes["connection"] = tx
        command.upgrade(config, "head")
