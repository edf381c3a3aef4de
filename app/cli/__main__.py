"""`python -m app.cli` is `yard`."""

from app.cli.main import app

app()
