"""A private PostgreSQL: a cluster in a temporary folder, run by an unprivileged user, reached over its Unix socket only."""

import importlib.util
import itertools
import os
import pwd
import shutil
import signal
import subprocess
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import create_engine
from tryggport.reception import open_database

PROGRAMS = ":".join([os.environ["PATH"], *map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True))])
USER = "nobody"  # PostgreSQL refuses to run as root


def missing():
    """What this machine lacks for it, or nothing."""
    if importlib.util.find_spec("psycopg") is None:
        return "psycopg"
    return "" if shutil.which("initdb", path=PROGRAMS) else "PostgreSQL (Debian: postgresql)"


class Cluster:
    """`fresh` makes a database with the reception's tables and returns its SQLAlchemy URL."""

    def __init__(self, folder):
        self._folder = folder
        self._numbers = itertools.count()
        self._has_model = False

    def url(self, name):
        return f"postgresql+psycopg://tests@/{name}?host={self._folder}"

    def fresh(self):
        if not self._has_model:
            self._create("model", "template1")
            open_database(self.url("model")).close()
            self._has_model = True
        name = f"reception{next(self._numbers)}"
        self._create(name, "model")
        return self.url(name)

    def _create(self, name, template):
        engine = create_engine(self.url("postgres"), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {name} TEMPLATE {template}")
        engine.dispose()


@contextmanager
def cluster(folder: Path, *, durable=False):
    """The folder must be one that the unprivileged user can reach. `durable`: with the syncs that tests do without."""
    data = folder / "data"
    folder.chmod(0o755)
    data.mkdir()
    as_user = {}
    if os.geteuid() == 0:
        uid = pwd.getpwnam(USER).pw_uid
        os.chown(folder, uid, -1)
        os.chown(data, uid, -1)
        as_user = {"user": uid, "extra_groups": []}
    command = [
        shutil.which("initdb", path=PROGRAMS),
        "-D",
        data,
        "-U",
        "tests",
        "--auth=trust",
        "-E",
        "UTF8",
        "--no-sync",
    ]
    subprocess.run(command, check=True, capture_output=True, cwd=folder, **as_user)
    options = ["-c", "listen_addresses=", "-k", folder, "-c", f"fsync={'on' if durable else 'off'}"]
    with (folder / "log").open("w") as log:
        postgres = subprocess.Popen(
            [shutil.which("postgres", path=PROGRAMS), "-D", data, *options],
            stdout=log,
            stderr=log,
            cwd=folder,
            **as_user,
        )
    try:
        ready = [shutil.which("pg_isready", path=PROGRAMS), "-h", folder, "-q", "-t", "10"]
        while subprocess.run(ready).returncode:
            if postgres.poll() is not None:
                raise RuntimeError((folder / "log").read_text())
        yield Cluster(folder)
    finally:
        postgres.send_signal(signal.SIGINT)  # a fast shutdown, that waits for no client
        postgres.wait(30)
