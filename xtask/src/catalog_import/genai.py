"""Prints what the package genai-prices knows about models, as JSON.

Reads [[provider, model], ...] from standard input; a model that the package does not know is null.
"""

import json
import sys
from datetime import datetime, timezone
from decimal import Decimal

from genai_prices.data import providers

FIELDS = {
    "input_mtok": "input",
    "output_mtok": "output",
    "cache_read_mtok": "cache_read",
    "cache_write_mtok": "cache_write",
    "input_audio_mtok": "audio_input",
    "output_audio_mtok": "audio_output",
}
KNOWN = {provider.id: provider for provider in providers}


def plain(amount: Decimal) -> str:
    return format(round(amount, 6).normalize(), "f")  # our prices have at most six places


def prices(model):
    found = model.get_prices(datetime.now(timezone.utc))
    rates, tiers = {}, {}
    for theirs, ours in FIELDS.items():
        price = getattr(found, theirs, None)
        if price is None:
            continue
        if hasattr(price, "base"):
            for tier in price.tiers:
                tiers.setdefault(str(tier.start), {})[ours] = plain(tier.price)
            price = price.base
        rates[ours] = plain(price)
    return {"rates": rates, "tiers": tiers, "context": model.context_window}


def lookup(provider_id, model_id):
    provider = KNOWN.get(provider_id)
    model = provider and provider.find_model(model_id)
    return prices(model) if model else None


json.dump([lookup(*pair) for pair in json.load(sys.stdin)], sys.stdout)
