"""Yardmaster: the control plane for AI agents in production.

`main.create_app` makes the HTTP service, `wiring.Yard` builds and owns every concrete object, and each folder beside
them is one domain. The direction of imports is checked by import-linter (see pyproject.toml).
"""
