"""The databases that the reception is proven on: a test runs once on each; with `database_url` on PostgreSQL only where it may be long."""

import contextlib
import shutil
import tempfile
from pathlib import Path

import postgres_site
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine
from tryggport.reception import database


@pytest.fixture(scope="session")
def postgres():
    """A private cluster, begun when it is first needed."""
    if lacks := postgres_site.missing():
        pytest.skip(f"{lacks} is not installed")
    folder = Path(tempfile.mkdtemp(prefix="tryggport-pg-"))  # a path short enough for a Unix socket
    try:
        with postgres_site.cluster(folder) as made:
            yield made
    finally:
        shutil.rmtree(folder)


def _url(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'reception.db'}"
    return request.getfixturevalue("postgres").fresh()


each_database_url = pytest.fixture(_url, params=["sqlite", "postgresql"])
database_url = pytest.fixture(_url, params=["sqlite", pytest.param("postgresql", marks=pytest.mark.long)])


@contextlib.contextmanager
def written_by(revision, url):
    """A connection to a new database with the schema of an earlier version, for what that version left in it."""
    config = Config()
    config.set_main_option("script_location", str(database.MIGRATIONS))
    config.set_main_option("path_separator", "os")
    engine = create_engine(url)
    try:
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
            yield connection
    finally:
        engine.dispose()
