"""The `yard` command: the service, its database, and a client of the REST API.

command ─▶ Session (which URL, which key) ─▶ Api (one HTTP call) ─▶ JSON ─▶ --json: as it is
                                              └▶ following (SSE)          └▶ people: output, render, watching

stdout holds data only: a table, a result, an id, or with `--json` exactly one JSON document (`watch`: one a line).
Everything else, progress included, goes to stderr. Exit codes are in `failures`. Text that came from outside is
cleaned of control characters before a terminal sees it.
"""
