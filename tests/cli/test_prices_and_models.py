"""`yard prices` and `yard models` against the real service."""

from __future__ import annotations

import re

from cli_service import Service


def test_a_price_from_its_setting_to_its_end(service: Service) -> None:
    made = service.yard("prices", "set", "house/llama", "input_tokens=0.2/M", "output_tokens=0.6/M", "requests=0.01")
    assert re.fullmatch(r"house/llama is priced from 20\S+ on\n", made.stdout), made.stderr
    shown = service.yard("prices", "get", "house/llama").stdout
    assert re.search(r"^source +override/", shown, re.M), shown
    assert re.search(r"^input_tokens +0\.20 / M$", shown, re.M), shown
    assert re.search(r"^requests +0\.01$", shown, re.M), shown
    table = service.yard("prices", "list").stdout
    assert re.search(r"^house/llama +20\S+ \S+ +0\.20 +0\.60 +requests 0\.01 ", table, re.M), table
    assert service.yard("prices", "end", "house/llama").stdout.startswith("the price of house/llama ends at 20")
    gone = service.yard("prices", "get", "house/llama")
    assert (gone.exit_code, "unpriced_model" in gone.stderr) == (1, True)
    tiers = service.yard("prices", "get", "gemini-2.5-pro").stdout
    assert re.search(r"^USD +base +above 200,000 in$", tiers, re.M), tiers
    for wrong in (["m", "input_tokens"], ["m", "a=b"], ["m", "a=NaN"], ["m", "a=1", "--from", "soon"]):
        assert service.yard("prices", "set", *wrong).exit_code == 2


def test_a_model_is_recommended(service: Service) -> None:
    advice = service.yard("models", "recommend", "code_generation", "--speed", "0.3", "--budget", "0.03")
    assert advice.exit_code == 0, advice.stderr
    assert advice.stdout.startswith("take gpt-4o\n")
    assert re.search(r"^gpt-4o +0\.91\d\d +0\.900 +0\.900 +625 +2,500 +0\.0265625 +0$", advice.stdout, re.M)
    assert "· claude-opus-4.1 is out: it would cost" in advice.stdout
    none = service.yard("models", "recommend", "general", "--candidate", "nobody")
    assert (none.exit_code, "no_model_fits" in none.stderr) == (1, True)
    assert service.yard("models", "rate", "house", "--quality", "0.5", "--speed", "0.6").stdout == (
        "house is rated: quality 0.5, speed 0.6\n"
    )
    assert re.search(r"^house +0\.500 +0\.500 +0 +0\.600 ", service.yard("models", "list").stdout, re.M)
