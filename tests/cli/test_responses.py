"""`yard emergency` and `yard actions` against a real service."""

from __future__ import annotations

from cli_service import Service


def test_emergency_mode_on_shown_and_off(service: Service) -> None:
    assert "emergency mode is off" in service.yard("emergency", "show").stdout
    on = service.yard("emergency", "on", "The provider is down.", "--pool", "stub", "--priority", "-5", "--for", "10m")
    assert on.exit_code == 0, on.stderr
    assert "stub" in on.stdout and "sheds below -5, asks people" in on.stdout and "in 10 min" in on.stdout
    refused = service.yard("submit", "stub", '{"result": 1}', "--priority", "-6")
    assert refused.exit_code == 1 and "Emergency mode of 'stub'" in refused.stderr
    assert service.json("emergency", "show")["items"][0]["reason"] == "The provider is down."
    assert service.yard("emergency", "off", "--pool", "stub").stdout == "1 lifted; emergency mode is off\n"
    assert service.json("emergency", "off") == {"on": False, "items": [], "lifted": []}


def test_wrong_words(service: Service) -> None:
    assert service.yard("emergency", "on", "r", "--for", "soon").exit_code == 2
    nowhere = service.yard("emergency", "on", "r", "--pool", "nowhere")
    assert nowhere.exit_code == 1 and "no pool" in nowhere.stderr


def test_actions(service: Service) -> None:
    assert service.json("actions", "list", "--status", "running")["items"] == []
    assert service.yard("actions", "list").exit_code == 0
    missing = "01a1fb40-7d11-7c3a-8a57-0d5c4e6b7a10"
    for command in ("show", "end", "report"):
        result = service.yard("actions", command, missing)
        assert result.exit_code == 1 and "There is no" in result.stderr
