"""A plain function awaited in a thread of its own.

Not the default executor: its threads are joined when Python exits, so one stuck handler would keep a
drained agent alive for ever. A daemon thread a call costs some 50 µs and is bounded by the agent's slots.
"""

import asyncio
import contextvars
import inspect
import threading
from collections.abc import Callable
from typing import Any

from yardmaster.unwinding import Unwind


def is_async(function: Callable[..., Any]) -> bool:
    """Whether calling it gives a coroutine: an async function, or an object whose call is one."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


async def run_in_thread(function: Callable[..., Any], *args: Any) -> Any:
    """What `function(*args)` returns or raises; a cancel of the caller is delivered when the thread ends.

    The thread can't be stopped, so the awaiting task stays until it ends: whoever counts running work
    counts the truth.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[Any] = loop.create_future()
    context = contextvars.copy_context()

    def body() -> None:
        try:
            result, error = context.run(function, *args), None
        except BaseException as raised:
            result, error = None, raised
        try:
            loop.call_soon_threadsafe(_finish, ended, result, error)
        except RuntimeError:  # the loop is gone: the process is on its way out
            return

    threading.Thread(target=body, name="handler", daemon=True).start()
    return await _to_the_end(ended)


async def _to_the_end(ended: "asyncio.Future[Any]") -> Any:
    cancelled: asyncio.CancelledError | None = None
    while not ended.done():
        try:
            await asyncio.wait([ended])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        ended.exception()  # looked at, so that asyncio doesn't report it as lost
        raise cancelled
    return ended.result()


def _finish(ended: "asyncio.Future[Any]", result: Any, error: BaseException | None) -> None:
    if error is None:
        ended.set_result(result)
    elif isinstance(error, Exception | Unwind) and not isinstance(error, StopIteration):
        ended.set_exception(error)
    else:  # what a future refuses, or what would end the loop if it were raised there
        ended.set_exception(RuntimeError(f"{type(error).__name__}: {error}"))
