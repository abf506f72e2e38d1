"""Municipalities, homes, cases, grace and who may see what (TP-REC-001 to TP-REC-005)."""

import importlib
import inspect
import json
import pkgutil

import pytest
from alembic import command
from alembic.config import Config
from reception_databases import each_database_url, postgres  # noqa: F401
from reception_world import DAY, MINUTE, SECOND, START_MS, World, sqlite_url
from sqlalchemy import create_engine, delete, update
from sqlalchemy.exc import DBAPIError
from tryggport import reception
from tryggport.cli import app
from tryggport.errors import TryggError
from tryggport.reception import (
    cases,
    channels,
    database,
    escalation,
    grace,
    installations,
    orders,
    placing,
    supervision,
    views,
)
from tryggport.reception.schema import audit
from tryggport.reception.tenants import Scope
from tryggport.wire import kinds
from typer.testing import CliRunner

GRACE = {kinds.DATA_GRACE_MS: 20_000}


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


def test_TP_REC_002_a_later_alarm_joins_the_home_s_open_case_and_never_a_closed_one(world):
    asker = world.town("Asker")
    world.install("Asker", "A-1", "kitchen-7", cid="4711", call_back="+4712345678")
    world.alarm(0)
    world.alarm(1, kinds.HELP)
    installations.replace(asker, "kitchen-7", "kitchen-8", "Ida", world.now_ms)
    world.alarm(0, kinds.HELP, "kitchen-8")  # the home's, whichever gateway it comes from
    (case,) = world.cases(asker)
    assert (case["home"], case["call_back"], [a["seq"] for a in case["alarms"]]) == ("A-1", "+4712345678", [0, 1, 0])
    cases.take(asker, 1, "Kari", world.now_ms)
    assert world.told() == [("kitchen-7", kinds.OUTCOME_TAKEN, [0, 1]), ("kitchen-8", kinds.OUTCOME_TAKEN, [0])]
    cases.close(asker, 1, "Kari", "fall", at_ms=world.now_ms)
    world.alarm(1, kinds.HELP, "kitchen-8")
    assert [(c["id"], c["status"], len(c["alarms"])) for c in world.cases(asker)] == [(2, "new", 1), (1, "closed", 3)]
    world.told()
    world.say("kitchen-8", connect=2)
    assert ("kitchen-8", kinds.OUTCOME_CLOSED, [0]) in world.told()  # also of the case that its predecessor opened


def test_TP_REC_002_test_alarms_have_a_case_of_their_own(world):
    world.town("Asker")
    world.install("Asker", "A-1", "kitchen-7")
    world.arrive(world.event(0, kinds.HELP, test=True), world.event(1, kinds.HELP), world.event(2, test=True))
    assert {(c["test"], tuple(a["seq"] for a in c["alarms"])) for c in world.cases()} == {(True, (0, 2)), (False, (1,))}


def test_TP_REC_003_a_case_goes_its_way_and_the_audit_says_who_when_before_and_after(world):
    world.alarm(0)
    for act, who in ((cases.take, "Kari"), (cases.contacted, "Kari"), (cases.on_the_way, "Ola")):
        world.later(MINUTE)
        act(world.centre, 1, who, at_ms=world.now_ms)
    assert world.told() == [("kitchen-7", kinds.OUTCOME_TAKEN, [0])]  # the home hears once that somebody has it
    with pytest.raises(TryggError, match="is on the way already"):
        cases.contacted(world.centre, 1, "Kari")
    with pytest.raises(TryggError, match="is taken already, by Kari"):
        cases.take(world.centre, 1, "Ola")
    with pytest.raises(TryggError, match="'tea' is no cause") as e:
        cases.close(world.centre, 1, "Ola", "tea")
    assert "false alarm" in e.value.hint
    world.later(MINUTE)
    cases.close(world.centre, 1, "Ola", "Fall", "helped up", at_ms=world.now_ms)
    assert (world.case()["cause"], world.case()["note"]) == ("fall", "helped up")
    lines = [(h["at_ms"] - START_MS, h["who"], h["what"], h["before"], h["after"]) for h in world.case()["history"]]
    assert lines == [
        (0, "kitchen-7", "fall", None, None), (MINUTE, "Kari", "taken", "new", "taken"),
        (2 * MINUTE, "Kari", "contacted", "taken", "contacted"),
        (3 * MINUTE, "Ola", "on the way", "contacted", "on the way"),
        (4 * MINUTE, "Ola", "closed: fall", "on the way", "closed"),
    ]  # fmt: skip


def test_TP_REC_003_the_database_refuses_to_change_or_delete_the_audit(world):
    world.alarm(0)
    for change in (update(audit).values(who="nobody"), delete(audit)):
        with pytest.raises((TryggError, DBAPIError), match="the audit only grows"), world.db.write() as tx:
            tx.execute(change)
    assert world.history() == ["fall"]


@pytest.mark.parametrize("name", ["", " ", "reception", "Reception-Canary"])
def test_TP_WIR_016_no_machine_takes_a_case(world, name):
    world.alarm(0)
    with pytest.raises(TryggError, match="by a named person"):
        cases.take(world.centre, 1, name)
    assert world.told() == []


# Grace: 20 s, by the reception's own timer.


def timer(world):
    return supervision.Supervisor(world.db, world.clock).promote()


def held_case(world):
    """A fall with grace in a home that is alive."""
    world.say()
    world.alarm(0, data=GRACE)
    world.told()
    assert world.cases(held=True)[0]["present_ms"] == world.now_ms + 20_000


def seen(world, monkeypatch):
    """What people see at the world's time."""
    monkeypatch.setattr(views, "now_ms", world.clock)
    return [case["id"] for case in world.cases()]


def test_TP_REC_004_a_fall_is_held_back_until_its_grace_ends_over_a_restart(world, monkeypatch):
    held_case(world)
    assert seen(world, monkeypatch) == [] and views.changes(world.centre) == []
    world.later(19_999)
    assert (timer(world), seen(world, monkeypatch)) == (0, [])
    world.close()
    world.open()  # the reception starts anew: the timer stands in the database
    world.later(1)
    assert seen(world, monkeypatch) == [1]
    assert (timer(world), timer(world)) == (1, 0)
    assert world.history() == ["fall", "presented: the grace ended"]
    assert world.case()["status"] == "new"


def test_TP_REC_004_a_fall_that_tears_out_the_plug_is_presented_when_the_gateway_falls_silent(world, monkeypatch):
    held_case(world)
    world.later(5 * SECOND)
    assert timer(world) == 0
    world.say(online=False)  # the broker speaks the will
    assert timer(world) == 1
    assert seen(world, monkeypatch) == [1]
    assert world.history()[-1] == "presented: the gateway fell silent"


@pytest.mark.parametrize("then", ["help", "long lie", "fall without grace"])
def test_TP_REC_004_whatever_has_no_grace_presents_the_case(world, monkeypatch, then):
    held_case(world)
    world.later(SECOND)
    if then == "help":
        world.alarm(1, kinds.HELP)
    elif then == "long lie":
        world.alarm(1, state=kinds.STATE_UPDATED, ref=0, data={kinds.DATA_VERDICT: kinds.VERDICT_LONG_LIE})
    else:
        world.alarm(1)
    assert seen(world, monkeypatch) == [1]


@pytest.mark.parametrize("together", [False, True])
def test_TP_REC_004_a_cancel_within_the_grace_closes_the_case(world, monkeypatch, together):
    fall, cancel = world.event(0, data=GRACE), world.event(1, state=kinds.STATE_CLEARED, ref=0)
    for batch in [[cancel, fall]] if together else [[fall], [cancel]]:
        world.arrive(*batch)
        world.later(SECOND)
    assert world.told() == [("kitchen-7", kinds.OUTCOME_CLOSED, [0])]
    (case,) = world.cases(held=True)
    assert (case["status"], case["cause"], case["closed_by"]) == ("closed", "cancelled", "kitchen-7")
    assert sorted(world.history()) == ["cancelled", "closed: cancelled in the home within the grace", "fall"]
    world.alarm(2)
    assert [c["status"] for c in world.cases(held=True)] == ["new", "closed"]


def test_TP_REC_004_a_cancel_after_the_grace_or_of_one_fall_of_two_only_marks(world, monkeypatch):
    held_case(world)
    world.alarm(1, data=GRACE)
    world.alarm(2, state=kinds.STATE_CLEARED, ref=0)
    assert world.cases(held=True)[0]["status"] == "new"
    world.later(20_000)
    world.alarm(3, state=kinds.STATE_CLEARED, ref=1)  # the timer was not there yet; the grace is over all the same
    assert world.cases(held=True)[0]["status"] == "new"
    assert world.cases(held=True)[0]["cancelled_ms"] is not None


@pytest.mark.parametrize(
    ("fields", "held_ms"),
    [
        ({"data": {kinds.DATA_GRACE_MS: 9_000_000}}, grace.GRACE_MAX_MS),
        ({"data": {kinds.DATA_GRACE_MS: "long"}}, None),
        ({"data": {kinds.DATA_GRACE_MS: 0}}, None),
        ({"data": GRACE, "kind": kinds.HELP}, None),
        ({"data": GRACE, "utc_ms": START_MS - 15_000, "quality": kinds.QUALITY_SYNCED}, 5_000),
        ({"data": GRACE, "utc_ms": START_MS - 30_000, "quality": kinds.QUALITY_SYNCED}, None),
        ({"data": GRACE, "utc_ms": START_MS - 30_000, "quality": kinds.QUALITY_HOLDOVER}, 20_000),
    ],
)
def test_TP_REC_004_grace_is_bounded_and_counted_from_the_fall(world, fields, held_ms):
    world.alarm(0, **fields)
    until = world.cases(held=True)[0]["present_ms"]
    assert (until and until - START_MS) == held_ms


def test_a_held_case_is_not_escalated(world):
    held_case(world)
    console = channels.Console(world.db, world.clock)
    made = escalation.Escalation(world.db, lambda step: console, world.clock)
    made.tick()
    assert world.case()["escalation"] == []
    world.later(20_000)
    made.tick()
    made.settle()
    assert [step["name"] for step in world.case()["escalation"]] == ["console"]
    made.close()


# The registry.


def test_TP_REC_005_a_gateway_in_no_home_is_received_shown_and_found_its_home_later(world):
    asker = world.town("Asker")
    assert world.alarm(0)[0].outcome == kinds.OUTCOME_STORED
    assert [(c["home"], c["municipality"]) for c in world.cases()] == [(None, None)]
    assert world.cases(asker) == []
    world.install("Asker", "A-1", "kitchen-7")
    world.alarm(1, kinds.HELP)
    (case,) = world.cases(asker)
    assert (case["home"], len(case["alarms"])) == ("A-1", 2)
    assert [e["seq"] for e in views.list_events(asker)] == [1, 0]
    assert "found to be of home A-1" in world.history()


def test_TP_REC_005_replacing_a_gateway_keeps_the_home_s_history(world):
    asker = world.town("Asker")
    world.install("Asker", "A-1", "kitchen-7", cid="4711")
    world.later(DAY)
    installations.replace(asker, "kitchen-7", "kitchen-8", "Ida", world.now_ms)
    rows = views.show_home(asker, "A-1")
    assert [(r["gateway"], r["from_ms"] - START_MS, r["to_ms"] and r["to_ms"] - START_MS, r["cid"]) for r in rows] == [
        ("kitchen-8", DAY, None, "4711"), ("kitchen-7", 0, DAY, "4711")
    ]  # fmt: skip
    with pytest.raises(TryggError, match="kitchen-7 serves no home"):
        installations.replace(asker, "kitchen-7", "kitchen-9", "Ida", world.now_ms)


def test_TP_REC_005_what_a_revoked_gateway_sends_is_kept_shown_and_quarantined(world):
    asker = world.town("Asker")
    world.install("Asker", "A-1", "kitchen-7")
    installations.revoke(asker, "kitchen-7", "Ida", "stolen", world.now_ms)
    event = world.event(0)
    assert [world.arrive(event)[0].outcome for _ in range(2)] == [kinds.OUTCOME_QUARANTINED] * 2
    assert [case["gateway"] for case in world.cases()] == ["kitchen-7"]
    assert world.cases(asker) == []
    with pytest.raises(TryggError, match="No gateway kitchen-77 serves a home or has been heard"):
        installations.revoke(world.centre, "kitchen-77", "Ida", "a slip of the hand", world.now_ms)
    with pytest.raises(TryggError, match="revoked already"):
        installations.revoke(world.centre, "kitchen-7", "Ida", "again", world.now_ms)


def test_TP_REC_005_an_import_is_all_or_nothing_names_every_bad_line_and_may_be_run_again(world, tmp_path):
    asker = world.town("Asker")
    file = tmp_path / "homes.csv"
    good = "home,gateway,cid,call_back,area\nA-1,kitchen-1,4711,+4712345678,north\nA-2,kitchen-2,4712,,\n"
    file.write_text(
        good + "A 3,kitchen-3,,,\nA-4,K,,,\nA-5,kitchen-1,,,\nA-6,kitchen-6,4711,,\nA-7,kitchen-7,x,,\n"
        "12057812345,kitchen-8,,,\nA-9\n"
    )
    done = placing.import_csv(world.centre, "Asker", file, "Ida", world.now_ms)
    assert (done.added, done.unchanged, [number for number, _ in done.bad]) == (0, 0, [4, 5, 6, 7, 8, 9, 10])
    sentences = [sentence for _, sentence in done.bad]
    assert sentences[2] == "The gateway kitchen-1 serves home A-1 already."
    assert sentences[3] == "The controller identity 4711 belongs to another home."
    assert sentences[5] == "A national identity number is no pseudonym."
    assert views.list_installations(asker) == []
    file.write_text(good)
    assert placing.import_csv(asker, "Asker", file, "Ida", world.now_ms) == placing.Imported(2, 0, ())
    assert placing.import_csv(asker, "Asker", file, "Ida", world.now_ms) == placing.Imported(0, 2, ())
    assert [(r["home"], r["gateway"], r["cid"], r["area"]) for r in views.list_installations(asker)] == [
        ("A-1", "kitchen-1", "4711", "north"), ("A-2", "kitchen-2", "4712", None)
    ]  # fmt: skip
    for content, sentence in (
        (b"a,b\n1,2\n", "does not name the columns"),
        (b"home,gateway\n\xff,\n", "is not CSV in UTF-8"),
    ):
        file.write_bytes(content)
        with pytest.raises(TryggError, match=sentence):
            placing.import_csv(asker, "Asker", file, "Ida", world.now_ms)


def test_a_person_can_do_all_of_it_on_the_command_line(world, tmp_path):
    def tryggport(*arguments, code=0):
        done = CliRunner().invoke(app, [*map(str, arguments), "--db", world.url])
        assert done.exit_code == code, (done.output, done.exception)
        return done.stdout

    tryggport("registry", "municipality", "add", "Asker", "--by", "Ida", "--untested-days", 30)
    file = tmp_path / "homes.csv"
    file.write_text("home,gateway\nA-1,kitchen-7\nA-2,hall-0002\n")
    said = tryggport("registry", "import", "--csv", file, "--municipality", "Asker", "--by", "Ida")
    assert said == "2 installations added, 0 were there already.\n"
    file.write_text("home,gateway\nA-1,kitchen-7\nA-3,hall-0002\n")
    done = CliRunner().invoke(
        app, ["registry", "import", "--csv", str(file), "--municipality", "Asker", "--by", "Ida", "--db", world.url]
    )
    assert isinstance(done.exception, TryggError)
    assert done.stdout == "line 3: The gateway hall-0002 serves home A-2 already.\n"
    steps = tmp_path / "steps.toml"
    steps.write_text('[[step]]\nkind = "console"\nname = "duty room"\nwait_s = 90\n')
    assert "duty room" in tryggport("registry", "escalation", "Asker", "--file", steps, "--by", "Ida")
    assert tryggport("registry", "municipality", "list") == f"{'Asker':24}  2 homes\n"
    tryggport("registry", "replace", "hall-0002", "--with", "hall-0003", "--by", "Ida")
    tryggport("registry", "revoke", "hall-0002", "--by", "Ida", "--why", "stolen")
    assert "hall-0003" in tryggport("registry", "show", "A-2")
    world.alarm(0)
    of_town = ("--municipality", "Asker")
    assert "A-1" in tryggport("cases", "list", *of_town)
    tryggport("cases", "take", 1, "--by", "Kari", *of_town)
    tryggport("cases", "contacted", 1, "--by", "Kari")
    tryggport("cases", "on-the-way", 1, "--by", "Ola")
    tryggport("cases", "close", 1, "--by", "Ola", "--cause", "fall", "--note", "unhurt")
    shown = tryggport("cases", "show", 1, *of_town)
    assert "home: A-1" in shown and "note: unhurt" in shown and "Ola: closed: fall" in shown
    assert [c["status"] for c in json.loads(tryggport("cases", "list", "--json", *of_town))] == ["closed"]
    assert "fall: closed by Kari" in tryggport("cases", "list")
    norsk = tryggport("cases", "show", 1, "--lang", "nb")
    assert "fall: avsluttet av Kari" in norsk and "bolig: A-1" in norsk and "Ola: avsluttet: fall" in norsk
    world.say()
    assert "vei 0  tilkoblet" in tryggport("reception", "status", "--lang", "nb")
    done = CliRunner().invoke(app, ["cases", "list", "--municipality", "Oslo", "--db", world.url])
    assert isinstance(done.exception, TryggError) and done.exception.message == "There is no municipality Oslo."


def test_a_database_of_the_first_version_keeps_its_cases(tmp_path):
    """The schema of the first version, with a case in it, is brought up to date."""
    config = Config()
    config.set_main_option("script_location", str(database.MIGRATIONS))
    config.set_main_option("path_separator", "os")
    engine = create_engine(sqlite_url(tmp_path))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        row = "('kitchen-7', 0, 'taken', 1, 2, 'Kari')"
        connection.exec_driver_sql(
            f"INSERT INTO cases (gateway, test, status, opened_ms, taken_ms, taken_by) VALUES {row}"
        )
        connection.exec_driver_sql("INSERT INTO audit (case_id, at_ms, who, what) VALUES (1, 2, 'Kari', 'taken')")
        connection.exec_driver_sql("INSERT INTO outbox (case_id, outcome) VALUES (1, 7)")
    engine.dispose()
    world = World(sqlite_url(tmp_path))
    (case,) = world.cases()
    assert (case["status"], case["taken_by"], case["home_key"]) == ("taken", "Kari", "kitchen-7")
    assert world.history() == ["taken"]
    world.alarm(0, kinds.HELP)
    assert world.told() == [("kitchen-7", kinds.OUTCOME_TAKEN, [])]
    assert len(world.cases()) == 1
    world.close()
