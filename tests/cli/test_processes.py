"""What only a process of its own shows: streams, signals, closed pipes."""

import json
import signal

import psutil
from cli_service import Service, until


def test_data_and_remarks_are_apart(service: Service) -> None:
    process = service.process("submit", "stub", '{"do": "stream"}', "--wait", "--json")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0
    assert json.loads(out)["result"]["parts"] == 4
    assert err == ""


def test_ctrl_c_ends_the_wait_and_not_the_task(service: Service) -> None:
    service.stub.gate.clear()
    process = service.process("submit", "stub", '{"do": "hold"}', "--wait", "--priority", "3")
    held = until(lambda: [t for t in service.json("tasks", "--status", "running")["items"] if t["priority"] == 3])
    # Two connections: the one it submitted by, and the one it follows by.
    until(lambda: len([c for c in psutil.Process(process.pid).net_connections() if c.status == "ESTABLISHED"]) == 2)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (130, "")
    assert "The task goes on without you" in err
    assert f"yard watch {held[0]['id']}" in err
    assert f"yard cancel {held[0]['id']}" in err
    assert service.json("task", held[0]["id"])["status"] == "running"
    service.stub.gate.set()


def test_a_closed_pipe_is_no_traceback(service: Service) -> None:
    process = service.process("pools", "--json")
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    err = process.stderr.read()
    process.stderr.close()
    process.wait(30)
    assert "Traceback" not in err
