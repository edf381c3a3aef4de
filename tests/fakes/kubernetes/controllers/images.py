"""How containers behave, by image."""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase


@dataclass(frozen=True)
class Image:
    """What the containers of an image do. The default starts at once, is ready, and runs (in a Job: ends with 0).

    Change the behaviour in `cluster.images` at any time: the next pass goes by the new one.
    """

    # The reason the image can't be had: ErrImagePull, then ImagePullBackOff, with this message.
    pull_error: str = ""
    # Waiting CreateContainerConfigError with this message.
    config_error: str = ""
    # No node takes the pod: PodScheduled False, Unschedulable, with this message.
    unschedulable: str = ""
    # Ends again and again with this exit code; `restarts` times until it is left in CrashLoopBackOff.
    crash_code: int | None = None
    crash_message: str = ""
    restarts: int = 3
    # Runs but never gets ready.
    unready: bool = False
    # Passes until it is ready.
    slow: int = 0
    # What a Job's container ends with.
    exit_code: int = 0

    @classmethod
    def never_starts(cls, message: str = "manifest unknown") -> Image:
        return cls(pull_error=message)

    @classmethod
    def crash_loop(cls, code: int = 1, message: str = "", restarts: int = 3) -> Image:
        return cls(crash_code=code, crash_message=message, restarts=restarts)

    @classmethod
    def misconfigured(cls, message: str) -> Image:
        return cls(config_error=message)

    @classmethod
    def no_node(cls, message: str = "0/3 nodes are available: 3 Insufficient cpu.") -> Image:
        return cls(unschedulable=message)

    @classmethod
    def never_ready(cls) -> Image:
        return cls(unready=True)

    @classmethod
    def starts_slowly(cls, passes: int) -> Image:
        return cls(slow=passes)

    @classmethod
    def fails(cls, code: int = 1) -> Image:
        """A Job's container that fails."""
        return cls(exit_code=code)


@dataclass
class Images:
    """`images["registry/agent:*"] = Image.crash_loop(137)`; the pattern set last wins."""

    _known: dict[str, Image] = field(default_factory=dict)

    def __setitem__(self, pattern: str, image: Image) -> None:
        self._known.pop(pattern, None)
        self._known[pattern] = image

    def __delitem__(self, pattern: str) -> None:
        del self._known[pattern]

    def of(self, name: str) -> Image:
        return next((image for pattern, image in reversed(self._known.items()) if fnmatchcase(name, pattern)), Image())
