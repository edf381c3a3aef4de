"""Every interval and bound of a serving agent, with its unit."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one agent; the defaults suit production, tests make them short."""

    stream_after_s: float = 0.02
    """A quiet handler that ends sooner is answered in plain JSON, without opening a stream."""
    ping_s: float = 10.0
    """A quiet stream carries a comment this often, so that proxies keep it open."""
    unheard_s: float = 120.0
    """An execution that nobody has listened to for so long is cancelled."""
    send_s: float = 60.0
    """A listener that takes nothing for so long is taken for gone."""
    kept_results: int = 256
    """Succeeded results kept for a caller that asks again for the same attempt."""
    kept_bytes: int = 64 << 20
    """Bytes of those results kept."""
    kept_result_s: float = 600.0
    """How long such a result is kept."""
    kept_fences: int = 4096
    """Tasks whose highest fence is remembered."""
    live_events: int = 2048
    """Progress and token events kept for listeners; the oldest go first."""
    live_bytes: int = 1 << 20
    """Bytes of those events kept."""
    step_bytes: int = 256 << 10
    """Largest result of a step, as JSON."""
    siblings_s: float = 30.0
    """How long a new step waits for the concurrent parts of its handler to ask for the stored ones."""
    usage_events: int = 1000
    """Usage events sent one by one; later ones are added up and sent before the outcome."""
    body_bytes: int = 32 << 20
    """Largest accepted request body."""
    error_chars: int = 2000
    """Longest error message sent."""
