"""The least that FastAPI does for a POST with a body: the reference for submit. `python -m scripts.bench.echo PORT`."""

from __future__ import annotations

import sys
from typing import Any

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()


class Body(BaseModel):
    pool: str
    payload: dict[str, Any]


@app.get("/health")
async def health() -> str:
    return "ok"


@app.post("/v1/tasks")
async def echo(body: Body) -> Body:
    return body


def main(port: int) -> None:
    """Serve with the settings of `yard serve` (app/cli/workers.py)."""
    uvicorn.run(
        app,
        port=port,
        loop="uvloop",
        http="httptools",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=2048,
        timeout_keep_alive=30,
    )


if __name__ == "__main__":
    main(int(sys.argv[1]))
