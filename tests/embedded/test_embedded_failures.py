"""Starts that cannot succeed: a clear error, nothing left running, the directory free again."""

import os
from pathlib import Path

import pytest
from embedded_probes import servers_below, value

from app.embedded import EmbeddedServers, EmbeddedStartError, EmbeddedVersionError
from app.embedded.redis_server import RedisServer

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs a second user")


def refused(data_dir: Path, **limits: float) -> EmbeddedStartError:
    """The error of a start that must fail; stop is safe after it."""
    servers = EmbeddedServers(data_dir, **limits)  # type: ignore[arg-type]
    with pytest.raises(EmbeddedStartError) as caught:
        servers.start()
    servers.stop()
    return caught.value


def test_a_cluster_of_another_major_version(root: Path) -> None:
    with EmbeddedServers(root / "data"):
        pass
    version = root / "data" / "postgres" / "PG_VERSION"
    version.write_text("16\n")
    error = refused(root / "data")
    assert isinstance(error, EmbeddedVersionError)
    assert (error.found, error.wanted) == ("16", "18")
    assert "was made by PostgreSQL 16, this release brings 18" in str(error)
    version.write_text("18\n")
    with EmbeddedServers(root / "data") as servers:
        assert value(servers.urls.database_url, "SELECT 1") == 1


def test_files_that_are_no_cluster_are_not_touched(root: Path) -> None:
    diary = root / "data" / "postgres" / "diary.txt"
    diary.parent.mkdir(parents=True)
    diary.write_text("dear diary")
    assert "neither empty nor a PostgreSQL cluster" in str(refused(root / "data"))
    assert diary.read_text() == "dear diary"


def test_a_file_in_place_of_the_directory(root: Path) -> None:
    (root / "data").write_text("")
    assert "File exists" in str(refused(root / "data"))


def test_a_server_that_refuses_its_settings_is_quoted(root: Path) -> None:
    with EmbeddedServers(root / "data"):
        pass
    auto = root / "data" / "postgres" / "postgresql.auto.conf"
    auto.write_text("max_connections = nonsense\n")
    error = refused(root / "data")
    assert 'invalid value for parameter "max_connections": "nonsense"' in str(error)
    assert "ready to accept connections" not in str(error), "the log of earlier starts does not belong here"
    assert servers_below(root) == []
    auto.write_text("")
    with EmbeddedServers(root / "data") as servers:
        assert value(servers.urls.database_url, "SELECT 1") == 1


def test_a_start_that_takes_too_long(root: Path) -> None:
    assert "PostgreSQL was not ready within 0 s" in str(refused(root / "data", postgres_start_timeout_s=0))
    assert servers_below(root) == []


def test_a_redis_that_does_not_answer_takes_postgres_down_with_it(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RedisServer, "_answers", lambda _server: False)  # a real one may answer at once
    assert "Redis was not ready within 0 s" in str(refused(root / "data", redis_start_timeout_s=0))
    assert servers_below(root) == []


@as_root
def test_a_socket_directory_of_somebody_else(root: Path) -> None:
    sockets = root / "data" / "run"
    sockets.mkdir(parents=True)
    os.chown(sockets, 65534, 65534)
    assert f"{sockets} is needed for sockets but belongs to somebody else" in str(refused(root / "data"))


@as_root
def test_a_symlink_in_place_of_the_sockets_is_not_followed(root: Path) -> None:
    (root / "precious").mkdir(mode=0o755)
    (root / "data").mkdir()
    (root / "data" / "run").symlink_to(root / "precious")
    assert "belongs to somebody else" in str(refused(root / "data"))
    assert (root / "precious").stat().st_mode & 0o777 == 0o755
