"""Connections to a real MariaDB: encrypted, and what is said of one that fails."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from comet.core.errors import Alarm, CometError, SourceFailed
from comet.triggers.mysql.address import Address
from comet.triggers.mysql.database import Database
from tests.conftest import need
from tests.live.server import free_port
from tests.mariadb import MariaDB


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[MariaDB, Path]]:
    """A MariaDB with TLS, and the certificate that vouches for it."""
    need("openssl")
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost "
        "-addext subjectAltName=IP:127.0.0.1 -keyout key.pem -out cert.pem".split(),
        cwd=folder,
        check=True,
        capture_output=True,
    )
    server = MariaDB(ssl_cert=str(folder / "cert.pem"), ssl_key=str(folder / "key.pem"))
    try:
        yield server.start(), folder / "cert.pem"
    finally:
        server.close()


def cipher(url: str) -> str:
    """How the server says that a connection is encrypted."""
    database = Database(Address.parse(url))
    try:
        return str(database.rows("SHOW STATUS LIKE 'Ssl_cipher'")[0][1])
    finally:
        database.close()


def told(url: str) -> CometError:
    with pytest.raises(CometError) as caught:
        Database(Address.parse(url))
    return caught.value


def test_a_connection_is_encrypted(encrypted: tuple[MariaDB, Path]) -> None:
    """Whenever the URL says so, with or without a look at the certificate; else not on this machine."""
    server, certificate = encrypted
    url = server.url("mysql")
    assert cipher(f"{url}?ca={certificate}").startswith("TLS")
    assert cipher(f"{url}?tls=unverified").startswith("TLS")
    assert cipher(url) == ""


def test_a_certificate_that_nobody_vouches_for(encrypted: tuple[MariaDB, Path]) -> None:
    """One sentence says what to write."""
    error = told(f"{encrypted[0].url('mysql')}?tls=verify")
    assert isinstance(error, Alarm)
    assert str(error).partition("/mysql ")[2] == (
        "has a certificate that can't be verified (self-signed certificate): "
        "write ?ca=FILE or ?tls=unverified behind the URL."
    )


def test_a_server_without_encryption(mariadb: MariaDB) -> None:
    """It is not talked to in the clear."""
    error = told(f"{mariadb.url('mysql')}?tls=unverified")
    assert isinstance(error, Alarm)
    assert str(error).endswith("has no TLS: switch it on there, or write ?tls=off behind the URL.")


def test_a_unix_socket(mariadb: MariaDB) -> None:
    """It is the same server."""
    database = Database(Address.parse(f"mysql://root@localhost/mysql?socket={mariadb.folder / 'socket'}"))
    assert (database.rows("SELECT DATABASE(), @@port"), database.account) == (
        [("mysql", mariadb.port)],
        "'root'@'localhost'",
    )
    database.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-host.invalid"])
def test_a_server_that_is_not_there(host: str) -> None:
    """It is tried again."""
    error = told(f"mysql://a:secret@{host}:{free_port()}/b?tls=off")
    assert isinstance(error, SourceFailed)
    assert "can't be reached: " in str(error) and "secret" not in str(error)


def test_a_server_that_is_frozen(mariadb: MariaDB) -> None:
    """Neither a new connection nor one that is there waits for it for ever."""
    url = f"{mariadb.url('mysql')}?timeout=0.3"
    database = Database(Address.parse(url))
    mariadb.freeze()
    try:
        assert str(told(url)).endswith(f":{mariadb.port}/mysql does not answer.")
        with pytest.raises(SourceFailed, match=r"does not answer\.$"):
            database.rows("SELECT 1")
    finally:
        mariadb.thaw()
        database.close()


def test_a_result_that_is_cut_off_is_not_read_to_its_end(mariadb: MariaDB) -> None:
    """However many rows it has."""
    database = Database(Address.parse(mariadb.url("mysql")))
    columns, rows = database.read("SELECT seq, 'x' AS x FROM seq_1_to_10000000", 10)
    assert ([name for name, _ in columns], len(rows)) == (["seq", "x"], 11)
    database.close()
