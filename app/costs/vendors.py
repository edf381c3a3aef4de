"""Who offers a model, as far as the list of prices knows."""

from __future__ import annotations

from functools import lru_cache


@lru_cache(maxsize=1000)
def vendor_of(model: str) -> str | None:
    """The vendor's name; None for a model that is on no list."""
    from genai_prices.data_snapshot import get_snapshot  # takes a moment to load

    try:
        vendor, _ = get_snapshot().find_provider_model(model, None, None, None)
    except LookupError:
        return None
    return vendor.name
