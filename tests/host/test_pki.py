"""Keys and certificates, with OpenSSL's command line as the independent reader."""

import json
import os
import shutil
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID
from tryggport import pki
from tryggport.errors import TryggError
from tryggport.pki.authority import SIGNING_PURPOSE, TRUST_AAD, point
from tryggport.sim.gateway import csr
from tryggport.wire import cbor
from tryggport.wire.envelope import Envelope, kid_of

TRUST_AAD_BYTES = b"trygg/1/trust"


@pytest.fixture
def folder(tmp_path):
    pki.init(tmp_path / "pki", ["mqtt.example.org", "192.0.2.7"])
    return tmp_path / "pki"


def key():
    return ec.generate_private_key(ec.SECP256R1())


def certificate(path):
    return x509.load_pem_x509_certificate(path.read_bytes())


def modes(folder):
    return {path.relative_to(folder).as_posix(): stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*")}


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX")
def test_files_are_their_owners_only(folder):
    pki.issue_device(folder, csr(key(), "kitchen-7"), csr(key(), "kitchen-7"), "kitchen-7")
    found = modes(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    folders = {name for name in found if (folder / name).is_dir()}
    assert folders == {"gateways", "gateways/kitchen-7"}
    assert {found.pop(name) for name in folders} == {0o700}
    assert set(found.values()) == {0o600}
    assert {name for name in found if name.endswith(".key")} == {
        f"{name}.key" for name in ("root", "device-ca", "broker", "reception", "receipt", "command", "configuration")
    }


def test_a_PKI_is_never_overwritten(folder):
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(TryggError, match=rf"There is a PKI in {folder} already. Nothing was overwritten."):
        pki.init(folder)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command")
def test_openssl_verifies_the_chains_for_their_purposes(folder):
    pki.issue_device(folder, csr(key(), "kitchen-7"), csr(key(), "kitchen-7"), "kitchen-7")

    def verify(cas, purpose, leaf):
        command = ["openssl", "verify", "-x509_strict", "-purpose", purpose, "-CAfile", folder / cas, folder / leaf]
        return subprocess.run(command, capture_output=True, text=True).returncode == 0

    assert verify("root.pem", "sslserver", "broker.pem")
    assert verify("client-cas.pem", "sslclient", "reception.pem")
    assert verify("client-cas.pem", "sslclient", "gateways/kitchen-7/tls.pem")
    assert not verify("client-cas.pem", "sslserver", "gateways/kitchen-7/tls.pem")
    assert not verify("client-cas.pem", "sslclient", "gateways/kitchen-7/sign.pem")
    assert not verify("client-cas.pem", "sslclient", "broker.pem")


def test_certificates_begin_with_their_issuer_and_those_of_devices_never_end(folder):
    pki.issue_device(folder, csr(key(), "kitchen-7"), csr(key(), "kitchen-7"), "kitchen-7")
    names = ["root", "device-ca", "broker", "reception", "gateways/kitchen-7/tls", "gateways/kitchen-7/sign"]
    found = {name: certificate(folder / f"{name}.pem") for name in names}
    assert len({c.not_valid_before_utc for c in found.values()}) == 1
    assert found["root"].not_valid_before_utc < datetime.now(UTC)
    never = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    assert {name for name, c in found.items() if c.not_valid_after_utc == never} == set(names) - {"broker", "reception"}
    assert b"99991231235959Z" in found["gateways/kitchen-7/tls"].public_bytes(Encoding.DER)
    for c in found.values():
        assert isinstance(c.public_key().curve, ec.SECP256R1)
        assert not [e for e in c.extensions if isinstance(e.value, x509.CRLDistributionPoints)]


def test_the_broker_answers_to_its_names(folder):
    names = certificate(folder / "broker.pem").extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost", "mqtt.example.org"]
    assert [str(a) for a in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "192.0.2.7"]
    assert certificate(folder / "reception.pem").subject.rfc4514_string() == "CN=reception"


def test_the_trust_list_is_signed_by_the_root_and_gives_each_key_one_role(folder):
    data = (folder / "trust.cbor").read_bytes()
    assert data.startswith(bytes.fromhex("d2844da201260448"))
    root = certificate(folder / "root.pem").public_key()
    envelope = Envelope.from_bytes(data)
    assert envelope.kid == kid_of(root)
    assert TRUST_AAD.encode() == TRUST_AAD_BYTES
    envelope.verify(root, TRUST_AAD)
    rows = []
    for name, role in (("receipt", 1), ("configuration", 8), ("command", 2)):
        public = load_pem_private_key((folder / f"{name}.key").read_bytes(), None).public_key()
        rows.append([kid_of(public), role, point(public)])
    assert cbor.decode(envelope.payload) == {1: 1, 2: rows}


def test_TP_WIR_005_issued_certificates_are_for_the_two_keys_and_one_purpose_each(folder):
    tls, sign = key(), key()
    issued = pki.issue_device(folder, csr(tls, "kitchen-7"), csr(sign, "kitchen-7"), "kitchen-7")
    for der, private, purpose in (
        (issued.tls_der, tls, ExtendedKeyUsageOID.CLIENT_AUTH), (issued.sign_der, sign, SIGNING_PURPOSE),
    ):  # fmt: skip
        found = x509.load_der_x509_certificate(der)
        assert found.subject.rfc4514_string() == "CN=kitchen-7"
        assert point(found.public_key()) == point(private.public_key())
        assert list(found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [purpose]
        assert found.extensions.get_extension_for_class(x509.KeyUsage).value.digital_signature
    home = folder / "gateways" / "kitchen-7"
    assert certificate(home / "tls.pem").public_bytes(Encoding.DER) == issued.tls_der
    assert certificate(home / "sign.pem").public_bytes(Encoding.DER) == issued.sign_der
    with pytest.raises(TryggError, match="one key"):
        pki.issue_device(folder, csr(tls, "garage-2"), csr(tls, "garage-2"), "garage-2")


def test_issuing_again_is_harmless_and_other_keys_need_consent(folder):
    tls, sign = csr(key(), "kitchen-7"), csr(key(), "kitchen-7")
    first = pki.issue_device(folder, tls, sign, "kitchen-7")
    assert pki.issue_device(folder, tls, sign, "kitchen-7") == first
    others = csr(key(), "kitchen-7"), csr(key(), "kitchen-7")
    with pytest.raises(TryggError, match="The gateway kitchen-7 has certificates for other keys"):
        pki.issue_device(folder, *others, "kitchen-7")
    assert pki.issue_device(folder, tls, sign, "kitchen-7") == first
    replaced = pki.issue_device(folder, *others, "kitchen-7", replace=True)
    assert replaced != first
    assert pki.issue_device(folder, *others, "kitchen-7") == replaced


def test_issuing_goes_on_where_it_was_cut(folder):
    """Power went after tls.pem: the same keys need no consent."""
    tls, sign = csr(key(), "kitchen-7"), csr(key(), "kitchen-7")
    pki.issue_device(folder, tls, sign, "kitchen-7")
    (folder / "gateways" / "kitchen-7" / "sign.pem").unlink()
    assert pki.issue_device(folder, tls, sign, "kitchen-7").sign_der
    assert pki.show(folder)["gateways"] == ["kitchen-7"]


def test_bad_requests_are_refused(folder):
    good = csr(key(), "kitchen-7")
    forged = bytearray(csr(key(), "kitchen-7"))
    forged[-1] ^= 1
    p384 = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "kitchen-7")])
    )
    large = ec.generate_private_key(ec.SECP384R1())
    cases = [
        (csr(key(), "garage-2"), "kitchen-7", "is for 'garage-2', not for kitchen-7"),
        (b"nonsense", "kitchen-7", "is not a certificate request"),
        (bytes(forged), "kitchen-7", "is not signed by its own key"),
        (p384.sign(large, x509.base.hashes.SHA256()).public_bytes(Encoding.DER), "kitchen-7", "not for a P-256 key"),
        (csr(key(), "../root"), "../root", "is not a gateway id"),
        (csr(key(), "reception"), "reception", "receiver's own"),
    ]
    for request, gateway, sentence in cases:
        with pytest.raises(TryggError, match=sentence):
            pki.issue_device(folder, good if gateway == "kitchen-7" else request, request, gateway)
    assert pki.show(folder)["gateways"] == []


@pytest.mark.parametrize(("name", "issuer"), [("broker", "root"), ("reception", "device-ca")])
def test_TP_WIR_046_renewing_makes_one_certificate_for_the_same_key_and_touches_nothing_else(folder, name, issuer):
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    old = certificate(folder / f"{name}.pem")
    end = pki.renew(folder, name)
    after = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert {path for path in after if after[path] != before.get(path)} == {folder / f"{name}.pem"}
    renewed = certificate(folder / f"{name}.pem")
    renewed.verify_directly_issued_by(certificate(folder / f"{issuer}.pem"))
    assert renewed.not_valid_before_utc == certificate(folder / f"{issuer}.pem").not_valid_before_utc
    assert renewed.not_valid_after_utc == end > datetime.now(UTC) + timedelta(days=3650)
    assert renewed.serial_number != old.serial_number
    assert (renewed.subject, point(renewed.public_key())) == (old.subject, point(old.public_key()))
    assert [e.value for e in renewed.extensions] == [e.value for e in old.extensions]


def test_renewing_can_add_a_name_and_says_what_is_wrong(folder, tmp_path):
    pki.renew(folder, "broker", ["second.example.org", "localhost"])
    names = certificate(folder / "broker.pem").extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost", "mqtt.example.org", "second.example.org"]
    assert [str(a) for a in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "192.0.2.7"]
    for wrong in ("root", "device-ca", "gateways", "../broker"):
        with pytest.raises(TryggError, match=f"There is no certificate {wrong} to renew. Say broker or reception."):
            pki.renew(folder, wrong)
    with pytest.raises(TryggError, match="does not exist"):
        pki.renew(tmp_path / "none", "broker")
    locked = tmp_path / "locked"
    pki.init(locked, passphrase=b"correct horse")
    with pytest.raises(TryggError, match="is encrypted"):
        pki.renew(locked, "broker")
    assert pki.renew(locked, "broker", passphrase=b"correct horse") > datetime.now(UTC)


def test_a_passphrase_locks_the_keys_of_the_CAs(tmp_path):
    folder = tmp_path / "pki"
    pki.init(folder, passphrase=b"correct horse")
    locked = {path.name for path in folder.glob("*.key") if b"ENCRYPTED" in path.read_bytes()}
    assert locked == {"root.key", "device-ca.key"}
    requests = csr(key(), "kitchen-7"), csr(key(), "kitchen-7")
    with pytest.raises(TryggError, match="is encrypted"):
        pki.issue_device(folder, *requests, "kitchen-7")
    with pytest.raises(TryggError, match="the passphrase is wrong"):
        pki.issue_device(folder, *requests, "kitchen-7", passphrase=b"wrong horse")
    assert pki.issue_device(folder, *requests, "kitchen-7", passphrase=b"correct horse")


def test_pki_runs_where_there_are_no_terminals(tmp_path):
    """As on Windows: the modules that it lacks cannot be imported."""
    script = (
        "import sys\n"
        "for name in ('pty', 'termios', 'fcntl', 'resource', 'tty', 'grp', 'pwd'): sys.modules[name] = None\n"
        "from pathlib import Path\n"
        "from tryggport import pki\n"
        "pki.init(Path(sys.argv[1]))\n"
        "print(len(pki.show(Path(sys.argv[1]))['certificates']))\n"
    )
    done = subprocess.run([sys.executable, "-c", script, tmp_path / "pki"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "4"


def test_the_command_line_makes_and_shows_a_PKI(tmp_path):
    command = str(Path(sys.executable).parent / "tryggport")

    def run(*arguments):
        done = subprocess.run([command, "pki", *map(str, arguments)], capture_output=True, text=True)
        return done.returncode, done.stdout, done.stderr

    folder = tmp_path / "pki"
    secret = tmp_path / "passphrase"
    secret.write_text("correct horse\n")
    code, out, _ = run("init", "--dir", folder, "--broker-name", "mqtt.example.org", "--passphrase-file", secret)
    assert code == 0
    assert out.startswith(f"The PKI is in {folder}.")
    code, out, _ = run("show", "--dir", folder, "--json")
    report = json.loads(out)
    assert code == 0
    assert [c["name"] for c in report["certificates"]] == ["root", "device-ca", "broker", "reception"]
    assert [k["roles"] for k in report["trust"]["keys"]] == [1, 8, 2]
    assert "root        key" in run("show", "--dir", folder)[1]
    assert run("renew", "broker", "--dir", folder)[0] == 1, "the key of the root is encrypted"
    code, out, _ = run("renew", "broker", "--dir", folder, "--passphrase-file", secret)
    assert code == 0 and out.startswith(f"{folder / 'broker'}.pem holds until 203")
    assert run("renew", "root", "--dir", folder)[0] == 2
    assert run("init", "--dir", folder) == (
        1, "", f"tryggport: There is a PKI in {folder} already.\n  Nothing was overwritten. Name another folder.\n"
    )  # fmt: skip
    missing = tmp_path / "none"
    assert run("show", "--dir", missing) == (
        1, "", f"tryggport: {missing / 'root.pem'} does not exist.\n  Make the keys first: tryggport pki init --dir DIR\n"
    )  # fmt: skip
    assert run("init", "--dir", tmp_path / "new", "--broker-name", "two words") == (
        2, "", "tryggport: 'two words' is not a host name or address.\n"
    )  # fmt: skip
    assert not (tmp_path / "new").exists()
    assert run("init")[0] == 2
    (tmp_path / "file").write_text("")
    assert run("init", "--dir", tmp_path / "file" / "pki") == (
        1, "", f"tryggport: The folder {tmp_path / 'file' / 'pki'} cannot be made: Not a directory.\n"
        "  Name another folder.\n"
    )  # fmt: skip
