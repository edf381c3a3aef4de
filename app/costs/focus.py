"""The export in FOCUS 1.3, the FinOps Open Cost and Usage Specification: its Cost and Usage dataset, as CSV.

A row is what a model was used for on a UTC day by one tenant, pool and type of task, with one set of labels. Names,
order (alphabetical, custom columns last) and nullability are those of the specification, as the column pages of
https://github.com/FinOps-Open-Cost-and-Usage-Spec/FOCUS_Spec state them for 1.3.

Mandatory columns, all there: BilledCost, BillingAccountId, BillingAccountName, BillingCurrency, BillingPeriodEnd/Start,
ChargeCategory, ChargeClass, ChargeDescription, ChargePeriodEnd/Start, ContractedCost, EffectiveCost, HostProviderName,
InvoiceIssuerName, ListCost, PricingQuantity, PricingUnit, ServiceCategory, ServiceName, ServiceProviderName, and
ProviderName and PublisherName, which 1.3 deprecates and still demands. Of the conditional and recommended ones:
ChargeFrequency, ConsumedQuantity/Unit (usage is measured), InvoiceId, PricingCategory, ResourceId/Name/Type (the pool),
ServiceSubcategory, SkuId/SkuMeter/SkuPriceId (the model), SubAccountId/Name (the tenant), Tags (the labels).

What is put in, and why:
- The four costs are the same: we know what usage costs by the price that it was stamped with, not what an invoice will
  say, and neither discounts nor commitments. ListUnitPrice and ContractedUnitPrice are left out (conditional on a price
  list with one price a unit): a row mixes input and output tokens.
- Costs must not be null, so a row without a price has 0; `x_UnpricedTokens` says how many tokens are in none of them.
- ServiceProviderName (and ProviderName, PublisherName) is who offers the model, as far as it is known, else
  "Unknown"; HostProviderName is the same, as allowed where the host is not seen, and InvoiceIssuerName, as it is the
  vendor who is paid. InvoiceId is null: there is no invoice yet.
- ChargeClass is null: "Correction" is for what was billed in an earlier period, and a corrected day is exported anew.
- Our own facts in Tags have the prefix `yardmaster/`, as the specification asks of a provider's tags.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from app.costs.report import money

UNKNOWN = "Unknown"
_VENDOR = ("HostProviderName", "InvoiceIssuerName", "ProviderName", "PublisherName", "ServiceProviderName")

COLUMNS = (
    "BilledCost",
    "BillingAccountId",
    "BillingAccountName",
    "BillingCurrency",
    "BillingPeriodEnd",
    "BillingPeriodStart",
    "ChargeCategory",
    "ChargeClass",
    "ChargeDescription",
    "ChargeFrequency",
    "ChargePeriodEnd",
    "ChargePeriodStart",
    "ConsumedQuantity",
    "ConsumedUnit",
    "ContractedCost",
    "EffectiveCost",
    "HostProviderName",
    "InvoiceId",
    "InvoiceIssuerName",
    "ListCost",
    "PricingCategory",
    "PricingQuantity",
    "PricingUnit",
    "ProviderName",
    "PublisherName",
    "ResourceId",
    "ResourceName",
    "ResourceType",
    "ServiceCategory",
    "ServiceName",
    "ServiceProviderName",
    "ServiceSubcategory",
    "SkuId",
    "SkuMeter",
    "SkuPriceId",
    "SubAccountId",
    "SubAccountName",
    "Tags",
    "x_Attempts",
    "x_InputTokens",
    "x_OutputTokens",
    "x_UnpricedTokens",
)

type VendorOf = Callable[[str], str | None]
"""Who offers a model; None where nobody knows."""


def charge(row: Mapping[str, Any], vendor_of: VendorOf) -> dict[str, Any]:
    """A row of the daily roll-up as a charge."""
    day: date = row["day"]
    cost, tokens = _decimal(row["cost_usd"]), _decimal(row["input_tokens"] + row["output_tokens"])
    vendor = vendor_of(row["model"]) or UNKNOWN
    model, pool, tenant = (row[name] or UNKNOWN for name in ("model", "pool", "tenant"))
    work = f"tasks of type {row['type']}" if row["type"] else "tasks"
    ended = f", attempts that ended as {row['outcome']}" if row["outcome"] else ""
    return {
        **dict.fromkeys(("BilledCost", "ContractedCost", "EffectiveCost", "ListCost"), cost),
        "BillingAccountId": "yardmaster",
        "BillingAccountName": "Yardmaster",
        "BillingCurrency": "USD",
        "BillingPeriodStart": _moment(day.replace(day=1)),
        "BillingPeriodEnd": _moment((day.replace(day=1) + timedelta(days=32)).replace(day=1)),
        "ChargeCategory": "Usage",
        "ChargeClass": None,
        "ChargeDescription": f"{model} for {work} in pool {pool}{ended}",
        "ChargeFrequency": "Usage-Based",
        "ChargePeriodStart": _moment(day),
        "ChargePeriodEnd": _moment(day + timedelta(days=1)),
        **dict.fromkeys(("ConsumedQuantity", "PricingQuantity"), tokens),
        **dict.fromkeys(("ConsumedUnit", "PricingUnit", "SkuMeter"), "Tokens"),
        **dict.fromkeys(_VENDOR, vendor),
        "InvoiceId": None,
        "PricingCategory": "Standard",
        "ResourceId": f"pools/{pool}",
        "ResourceName": pool,
        "ResourceType": "Agent pool",
        "ServiceCategory": "AI and Machine Learning",
        "ServiceName": "Model inference",
        "ServiceSubcategory": "Generative AI",
        **dict.fromkeys(("SkuId", "SkuPriceId"), model),
        **dict.fromkeys(("SubAccountId", "SubAccountName"), tenant),
        "Tags": _tags(row),
        "x_Attempts": row["attempts"],
        "x_InputTokens": row["input_tokens"],
        "x_OutputTokens": row["output_tokens"],
        "x_UnpricedTokens": row["unpriced_tokens"],
    }


def _tags(row: Mapping[str, Any]) -> str:
    """Labels as they are, and our own facts. An attempt counts in one row a model."""
    ours = {"type": row["type"], "outcome": row["outcome"], "synthetic": "true" if row["synthetic"] else ""}
    tags = {**json.loads(row["labels"]), **{f"yardmaster/{name}": value for name, value in ours.items() if value}}
    return json.dumps(tags, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def _decimal(amount: Decimal | int) -> str:
    """With a point always: readers guess a column's type by its values, and these must be decimals."""
    text = money(Decimal(amount))
    return text if "." in text else f"{text}.0"


def _moment(day: date) -> str:
    return f"{datetime.combine(day, time(), UTC):%Y-%m-%dT%H:%M:%SZ}"
