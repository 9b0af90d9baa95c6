"""The page of a price row without what the operator pays, for those who may not see it: they change nothing there."""

import json
from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from proxy.models import ModelPrice
from support.access.costs import without_costs
from support.access.roles import sees_price_costs
from support.admin.display import code_block, unreadable_of

COSTS = "Operator's cost"
WITHOUT_COSTS = {"sample": "charged_sample", "tiers": "charged_tiers", "tool_fees": "charged_tool_fees"}
"""What stands in the place of a field that holds costs of the operator."""


class HiddenCosts:
    """A mixin of the admin of prices."""

    def sample_of(self, price: ModelPrice, *, has_own: bool) -> str:
        """What a sample request costs, and if `has_own` what it costs the operator."""
        raise NotImplementedError

    @admin.display(description="a sample request costs")
    def charged_sample(self, price: ModelPrice) -> str:
        return self.sample_of(price, has_own=False)

    @admin.display(description="tiers by input size")
    def charged_tiers(self, price: ModelPrice) -> str:
        return _json_without_costs(price, "tiers")

    @admin.display(description="fees of server tools")
    def charged_tool_fees(self, price: ModelPrice) -> str:
        return _json_without_costs(price, "tool_fees")

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        fieldsets = super().get_fieldsets(request, obj)  # type: ignore[misc]
        if sees_price_costs(request.user):
            return fieldsets
        return [
            (title, {**options, "fields": tuple(WITHOUT_COSTS.get(row, row) for row in options["fields"])})
            for title, options in fieldsets
            if title != COSTS
        ]


def _json_without_costs(price: ModelPrice, name: str) -> str:
    value = getattr(price, name)
    return unreadable_of(price, name) or (code_block(json.dumps(without_costs(value), indent=2)) if value else "–")
