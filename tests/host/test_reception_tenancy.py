"""No municipality sees or changes what is another's (TP-REC-001)."""

import importlib
import inspect
import json
import pkgutil

import pytest
from reception_databases import each_database_url, postgres  # noqa: F401
from reception_world import DAY, World
from tryggport import reception
from tryggport.errors import TryggError
from tryggport.reception import (
    cases,
    database,
    escalation,
    installations,
    orders,
    supervision,
    views,
)
from tryggport.reception.tenants import Scope
from tryggport.wire import kinds


@pytest.fixture
def world(each_database_url):  # noqa: F811
    made = World(each_database_url)
    yield made
    made.close()


@pytest.fixture
def towns(world):
    """Asker has secrets of every sort; Bodø has one home and must not see any of them."""
    asker = world.town("Asker")
    bodo = world.town("Bodø")
    world.install("Asker", "SECRET-home", "secret-0001", cid="99887766", call_back="+4799887766", area="SECRET-area")
    world.install("Asker", "SECRET-old", "secret-0002")
    world.install("Bodø", "B-1", "bodo-0001")
    world.say("secret-0001", firmware="SECRET-fw")
    world.alarm(0, gateway="secret-0001", sensor="SECRET-belt")
    world.alarm(0, gateway="bodo-0001")
    world.arrive(world.event(0, kinds.HELP, "secret-0001"))  # a conflict
    installations.replace(world.centre, "secret-0002", "secret-0003", "SECRET-Ida", world.now_ms)
    installations.revoke(world.centre, "secret-0003", "SECRET-Ida", "SECRET-why", world.now_ms)
    step = escalation.Step("webhook", "SECRET-duty", "https://secret.example/", 1000, "SECRET-file")
    escalation.set_steps(world.centre, "Asker", [step], "SECRET-Ida")
    orders.queue(world.db, "secret-0001", 0, 1, b"SECRET-envelope")
    cases.take(asker, 1, "SECRET-Aud", world.now_ms)
    world.later(DAY)
    supervision.Supervisor(world.db, world.clock).tick()
    return asker, bodo


def reads():
    """The read API: every public function of views.py, found by looking and not by a list."""
    return [
        f
        for name, f in vars(views).items()
        if inspect.isfunction(f) and f.__module__ == views.__name__ and name[0] != "_"
    ]


def test_TP_REC_001_every_read_takes_a_scope_first():
    assert len(reads()) >= 13
    for function in reads():
        first = next(iter(inspect.signature(function, eval_str=True).parameters.values()))
        assert first.annotation is Scope and first.default is inspect.Parameter.empty, function.__name__


# What works on a whole database and shows nobody anything; all that shows something takes a scope.
MACHINERY = {
    "store.commit", "store.count_refusals", "store.to_tell", "store.forget_told", "grace.promote", "tenants.centre",
    "tenants.municipality", "orders.queue", "orders.due", "orders.mark_sent", "orders.keep_results", "orders.answer",
    "orders.last_counter", "orders.epoch_and_next_seq", "orders.confirmed", "aside.commit", "aside.keep_results",
    "seats.take", "seats.try_take",
}  # fmt: skip


def test_TP_REC_001_nothing_else_in_the_reception_reads_a_whole_database():
    found = set()
    for module in pkgutil.iter_modules(reception.__path__):
        made = importlib.import_module(f"{reception.__name__}.{module.name}")
        for name, function in vars(made).items():
            if name[0] != "_" and inspect.isfunction(function) and function.__module__ == made.__name__:
                kinds_of = [p.annotation for p in inspect.signature(function, eval_str=True).parameters.values()]
                if database.Database in kinds_of:
                    found.add(f"{module.name}.{name}")
    assert found == MACHINERY


@pytest.mark.parametrize("function", reads(), ids=lambda f: f.__name__)
def test_TP_REC_001_no_tenant_reads_another_s_by_id_list_or_stream(towns, world, function):
    """Each read is asked by Bodø for all there is, and for Asker's by name and number; a new parameter must be told here."""
    values = {"case_id": 1, "after": 0, "limit": 10_000, "gateway": "secret-0001", "home": "SECRET-home", "closed": True,
              "held": True, "ended": True, "municipality": "Asker"}  # fmt: skip
    parameters = list(inspect.signature(function).parameters)[1:]
    mine = function(world.centre, **{name: values[name] for name in parameters})
    asked = [
        {name: values[name] for name in parameters},
        {name: values[name] for name in parameters if name != "gateway"},
    ]
    if function not in (views.vital_signs, views.workers, views.newest_change):
        assert "secret" in json.dumps(mine, default=repr).lower() or "asker" in json.dumps(mine, default=repr).lower()
    for arguments in asked:
        try:
            found = function(towns[1], **arguments)
        except TryggError as e:
            found = e.message.replace("SECRET-home", "").replace("Asker", "")  # what was asked for may be said again
        shown = json.dumps(found, default=repr).lower()
        assert "secret" not in shown and "asker" not in shown and "99887766" not in shown, function.__name__


def test_TP_REC_001_no_tenant_acts_on_another_s(towns, world):
    _, bodo = towns
    for act in (
        lambda: cases.take(bodo, 1, "Bo"),
        lambda: cases.contacted(bodo, 1, "Bo"),
        lambda: cases.on_the_way(bodo, 1, "Bo"),
        lambda: cases.close(bodo, 1, "Bo", "other"),
        lambda: installations.replace(bodo, "secret-0001", "bodo-0002", "Bo", world.now_ms),
        lambda: installations.revoke(bodo, "secret-0001", "Bo", "x", world.now_ms),
        lambda: installations.assign(
            bodo, "Asker", installations.Placement(home="H", gateway="bodo-0009"), "Bo", world.now_ms
        ),
        lambda: installations.add_municipality(bodo, "Oslo", "Bo"),
        lambda: escalation.set_steps(bodo, "Asker", [], "Bo"),
    ):
        with pytest.raises(TryggError) as e:
            act()
        assert "SECRET" not in e.value.message
    assert world.case(1)["status"] == "taken"
    assert [case["id"] for case in world.cases(bodo)] == [2]
    cases.take(bodo, 2, "Bo")


def test_TP_REC_001_the_past_stays_with_the_municipality_it_was_in(world):
    asker, bodo = world.town("Asker"), world.town("Bodø")
    world.install("Asker", "A-1", "moving-1")
    world.alarm(0, gateway="moving-1")
    installations.revoke(world.centre, "moving-1", "Ida", "moved", world.now_ms)
    with pytest.raises(TryggError, match="is revoked"):
        world.install("Bodø", "B-1", "moving-1")
    world.install("Asker", "A-2", "moving-2")
    world.alarm(0, gateway="moving-2")
    installations.replace(asker, "moving-2", "moving-3", "Ida", world.now_ms)
    world.install("Bodø", "B-1", "moving-2")
    world.alarm(1, gateway="moving-2")
    assert [e["seq"] for e in views.list_events(bodo)] == [1]
    assert [e["gateway"] for e in views.list_events(asker)] == ["moving-2", "moving-1"]
    assert [(c["home"], c["municipality"]) for c in world.cases()] == [
        ("B-1", "Bodø"),
        ("A-2", "Asker"),
        ("A-1", "Asker"),
    ]
