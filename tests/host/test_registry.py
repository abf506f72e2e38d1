"""Keys that change, versions that rise, orders that wait: the host's side of protocols/commands.md."""

import contextlib

import pytest
from tryggport import pki
from tryggport.devices import configuration
from tryggport.devices.configuration import Placement
from tryggport.errors import TryggError
from tryggport.pki import files, rotation
from tryggport.pki.overview import read_trust_list, trust_entries
from tryggport.reception import open_database, orders, views
from tryggport.reception.presence import keep_statuses
from tryggport.reception.tenants import centre
from tryggport.registry import changes, commands
from tryggport.sim.gateway import Gateway
from tryggport.wire import order
from tryggport.wire.envelope import Envelope, kid_of
from tryggport.wire.order import Command, Result

HOME = "kitchen-7"


@pytest.fixture
def folder(tmp_path):
    pki.init(tmp_path / "pki")
    return tmp_path / "pki"


@pytest.fixture
def gateway(folder):
    """A registered gateway as provisioning leaves it."""
    made = Gateway(folder, HOME)
    config = configuration.seal(folder, Placement(HOME, (("localhost", 8883),)))
    configuration.provisioned(folder, HOME, config, files.read(folder / files.TRUST_LIST))
    return made


@pytest.fixture
def db(tmp_path):
    with contextlib.closing(open_database(f"sqlite:///{tmp_path / 'reception.db'}")) as database:
        yield database


def says(db, kind, number, code):
    orders.keep_results(db, [Result(gateway=HOME, epoch=bytes(8), kind=kind, number=number, code=code)], 1000)


def online(db, gateway, at_ms):
    with db.write() as tx:
        keep_statuses(tx, [(gateway.status(connect=1), False)], at_ms)


def roles(folder):
    root = files.load_certificate(folder / "root.pem")
    return [key["roles"] for key in read_trust_list(files.read(folder / "trust.cbor"), root)["keys"]]


def test_TP_CMD_016_a_rotation_may_be_interrupted_anywhere_and_repeated(tmp_path):
    folder = tmp_path / "locked"
    pki.init(folder, passphrase=b"secret")
    old = (folder / "receipt.key").read_bytes()
    with pytest.raises(TryggError, match="passphrase is wrong"):
        rotation.start(folder, "receipt", b"wrong")
    assert not rotation.is_under_way(folder, "receipt") and roles(folder) == [1, 8, 2]
    assert rotation.start(folder, "receipt", b"secret").version == 2
    assert roles(folder) == [1, 8, 2, 1]
    with pytest.raises(TryggError, match="A rotation of the receipt key is under way"):
        rotation.start(folder, "receipt", b"secret")
    following = (folder / "receipt.next.key").read_bytes()
    assert rotation.finish(folder, "receipt", b"secret").version == 3
    assert roles(folder) == [8, 2, 1]
    assert (folder / "receipt.key").read_bytes() == following != old
    (folder / "receipt.key").rename(folder / "receipt.next.key")  # cut between the list and the key
    assert rotation.finish(folder, "receipt", b"secret").version == 4
    assert roles(folder) == [8, 2, 1] and (folder / "receipt.key").read_bytes() == following


def test_TP_CMD_017_a_lost_key_is_replaced_with_nothing_but_the_root(folder):
    before = trust_entries(files.read(folder / "trust.cbor"), files.load_certificate(folder / "root.pem"))[1]
    lost = next(kid_of(key) for key, role in before if role == 1)
    (folder / "receipt.key").unlink()
    listed = rotation.replace_lost(folder, "receipt", None)
    entries = trust_entries(listed.envelope, files.load_certificate(folder / "root.pem"))[1]
    assert lost not in [kid_of(key) for key, _ in entries]
    assert kid_of(files.load_key(folder / "receipt.key").public_key()) in [
        kid_of(k) for k, role in entries if role == 1
    ]


def test_TP_CMD_016_finishing_waits_for_every_gateway_unless_forced(folder, gateway, db):
    listed = changes.rotate(db, folder, "receipt", None)
    with pytest.raises(TryggError, match=f"1 gateways have not confirmed trust list 2: {HOME}"):
        changes.finish(db, folder, "receipt", None)
    says(db, order.TRUST, listed.version, 11)
    with pytest.raises(TryggError, match="have not confirmed"):
        changes.finish(db, folder, "receipt", None)
    changes.push_trust(db, folder)
    says(db, order.TRUST, listed.version, order.DONE)
    assert changes.finish(db, folder, "receipt", None).version == 3
    changes.rotate(db, folder, "receipt", None)
    assert changes.finish(db, folder, "receipt", None, force=True).version == 5


def test_TP_CMD_016_a_lost_configuration_key_is_rotated_and_each_configuration_comes_before_the_list(
    folder, gateway, db
):
    with pytest.raises(TryggError, match="Gateways keep no trust list that does not cover their configuration"):
        changes.replace_lost(db, folder, "configuration", None)
    (folder / "configuration.key").unlink()
    says(db, order.TRUST, changes.rotate(db, folder, "configuration", None).version, order.DONE)
    changes.finish(db, folder, "configuration", None)
    queued = [(row["order"], row["number"]) for row in views.list_orders(centre(db)) if row["answered_ms"] is None]
    assert queued == [("trust list", 3), ("configuration", 2)], "newest first"
    kid = kid_of(files.load_key(folder / "configuration.key").public_key())
    assert Envelope.from_bytes(orders.due(db, 0)[0][2]).kid == kid


def test_versions_of_configurations_only_rise(folder, gateway, db):
    for version in (2, 3):
        order_id = changes.configure(db, folder, HOME, grace_ms=version * 1000)
        assert [row["number"] for row in views.list_orders(centre(db)) if row["id"] == order_id] == [version]
    assert configuration.last_given(folder, HOME).grace_ms == 3000
    assert configuration.last_given(folder, HOME).brokers == (("localhost", 8883),)
    for wrong, words in (
        ({"grace_ms": 60_001}, "grace"),
        ({"sensor": "ear"}, "worn at the ear"),
        ({"brokers": ()}, "brokers"),
    ):
        with pytest.raises(TryggError, match=words):
            changes.configure(db, folder, HOME, **wrong)
    with pytest.raises(TryggError, match="There is no gateway nobody-1"):
        changes.configure(db, folder, "nobody-1", grace_ms=0)


def test_a_gateway_gets_one_order_at_a_time_oldest_first(folder, gateway, db):
    with pytest.raises(TryggError, match="never heard of kitchen-7"):
        commands.send(db, folder, HOME, order.RESTART)
    online(db, gateway, 1000)
    first, second = (commands.send(db, folder, HOME, order.RESTART) for _ in range(2))
    (due,) = orders.due(db, 2000)
    assert due[0] == first
    orders.mark_sent(db, [first], 2000)
    assert orders.due(db, 3000) == []
    counters = {row["id"]: row["number"] for row in views.list_orders(centre(db))}
    assert counters[second] > counters[first]
    says(db, order.COMMAND, counters[first], order.DONE)
    assert orders.due(db, 3000)[0][0] == second
    assert commands.wait(db, first, 0) == {} and commands.wait(db, second, 0) is None


def test_TP_BND_027_what_is_not_answered_is_repeated_while_the_gateway_is_on_line(folder, gateway, db):
    online(db, gateway, 1000)
    order_id = commands.send(db, folder, HOME, order.RESTART)
    orders.mark_sent(db, [order_id], 5000)
    assert orders.due(db, 65_000) == []
    assert [row[0] for row in orders.due(db, 65_001)] == [order_id]
    with db.write() as tx:
        keep_statuses(tx, [(gateway.status(connect=1, online=False), False)], 66_000)
    assert orders.due(db, 200_000) == [], "it is off line"
    online(db, gateway, 201_000)
    assert orders.due(db, 201_000) != []
    says(db, order.COMMAND, views.list_orders(centre(db))[0]["number"], order.BUSY)
    assert orders.due(db, 201_000) != [], "busy is no answer"
    late = views.list_orders(centre(db))[0]["queued_ms"] + commands.TTL_MS
    assert orders.due(db, late + 1) == [], "and it expires"


def test_TP_CMD_005_counters_rise_over_a_database_that_forgot_them(folder, gateway, db):
    online(db, gateway, 1000)
    commands.send(db, folder, HOME, order.RESTART)
    before = orders.last_counter(db, HOME)
    command = Command.from_bytes(Envelope.from_bytes(orders.due(db, 0)[0][2]).payload)
    assert command.counter == before and command.gateway == HOME and command.not_after_ms is not None
    with db.write() as tx:
        tx.exec_driver_sql("DELETE FROM orders")
    commands.send(db, folder, HOME, order.RESTART)
    assert orders.last_counter(db, HOME) >= before


def test_TP_CMD_007_a_result_is_kept_once_and_also_when_its_order_is_not_known(folder, gateway, db):
    for _ in range(2):
        says(db, order.COMMAND, 77, order.DONE)
    (row,) = views.list_orders(centre(db), HOME)
    assert (row["number"], row["state"], row["answered_ms"]) == (77, "done", 1000)
