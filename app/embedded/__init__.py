"""The embedded PostgreSQL and Redis: real servers, started and stopped with the service.

Owns one data directory and the two server processes in it. Nobody else starts, stops or signals them;
everybody else sees two URLs, and does not know whether the servers behind them are embedded.

    DIR/lock       flock of the holder, with its pid; the kernel releases it however the holder ends
    DIR/postgres/  the cluster (PostgreSQL 18), all that must survive
    DIR/redis/     working directory of Redis; its data is in memory only
    DIR/logs/      postgres.log, redis.log (each bounded, one older part kept)
    DIR/run/       the sockets, unless that path cannot serve as one: then a short directory under temp

Invariants
- One holder per DIR. The second gets `EmbeddedBusyError`; it changes nothing.
- A server is known by what it *is*, never by a number in a file: a process with the server's name whose
  working directory is ours. A stale pid file therefore can neither stop a start nor have a stranger
  signalled.
- Servers that a killed holder left behind are stopped (a fast shutdown), not adopted. Stopping ends the dead
  holder's transactions and locks, applies the settings of the code that now runs, makes the servers our
  children so that their end is seen at once, and leaves one way to start instead of two. It costs part of a
  second.
- A cluster appears under its name only when complete: initdb works in `postgres.new`, which is then renamed.
- fsync and synchronous_commit stay on: what PostgreSQL acknowledged survives a kill and a power cut.
- Each server has a session of its own. Ctrl-C reaches the service alone, which drains before it calls
  `stop()`.

Started by root, the servers run under an unprivileged account (see `account`). The calls are synchronous and
may take long (crash recovery): a service makes them in a thread.
"""

from app.embedded.errors import EmbeddedBusyError, EmbeddedError, EmbeddedStartError, EmbeddedVersionError
from app.embedded.servers import EmbeddedCheck, EmbeddedServers, EmbeddedUrls

__all__ = [
    "EmbeddedBusyError",
    "EmbeddedCheck",
    "EmbeddedError",
    "EmbeddedServers",
    "EmbeddedStartError",
    "EmbeddedUrls",
    "EmbeddedVersionError",
]
