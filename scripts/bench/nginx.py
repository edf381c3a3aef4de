"""nginx as the executor: it answers `POST /execute` at once, at a small cost per call, the same for everybody."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from scripts.bench.rig import free_port, wait_up

_CONF = """
daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 600s;
  client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder}; uwsgi_temp_path {folder};
  scgi_temp_path {folder};
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    default_type application/json;
    location / {{ return 200 '{{"result":{{"ok":true}},"usage":[]}}'; }}
  }}
}}
"""


@contextlib.contextmanager
def executor() -> Iterator[str]:
    """An nginx process of its own; its URL."""
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    if not Path(program).exists():
        raise SystemExit("bench: nginx is missing (Debian: apt-get install nginx-light)")
    with tempfile.TemporaryDirectory(prefix="yard-nginx-") as folder:
        port = free_port()
        conf = Path(folder) / "conf"
        conf.write_text(_CONF.format(folder=folder, port=port))
        process = subprocess.Popen([program, "-p", folder, "-c", str(conf), "-e", f"{folder}/error.log"])
        try:
            wait_up(f"http://127.0.0.1:{port}/health", process, None)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(10)
