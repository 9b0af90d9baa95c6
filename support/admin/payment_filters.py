"""The filters of the payments and of the webhook events, each served by an index."""

from typing import Any

from django.db.models import Q
from django.http import HttpRequest

from payments.models import Payment, Promotion, WebhookEvent
from payments.providers import all_providers, label_of
from support.admin.lists import ChoiceFilter

MOST_PROMOTIONS = 50
ANY, NONE = "any", "none"


class ProviderFilter(ChoiceFilter):
    """By who carried the money; of what is not paid, by what the customer chose: as the list's column has it."""

    title = "provider"
    parameter_name = "provider"
    takes_any = True  # Old payments may name one that is not listed any more.

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        names = dict.fromkeys([provider.name for provider in all_providers()])
        names |= dict.fromkeys(filter(None, [request.GET.get(self.parameter_name, "")]))
        return [(name, label_of(name)) for name in names]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        name = self.value()
        return queryset.filter(Q(provider=name) | Q(provider__stored=None, payment_method=name)) if name else queryset


class EventProviderFilter(ProviderFilter):
    """Of webhook events, which always name their provider."""

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        # With the source, too, which changes nothing but lets the index of both serve.
        named = {"provider": self.value(), "source__in": WebhookEvent.Source.values}
        return queryset.filter(**named) if self.value() else queryset


class FlagFilter(ChoiceFilter):
    """By what staff should know about a payment that was credited all the same."""

    title = "flag"
    parameter_name = "flag"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return list(Payment.Flag.choices)

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        return queryset.filter(flags__stored=self.value()) if self.value() in Payment.Flag.values else queryset


class PromotionFilter(ChoiceFilter):
    """By the promotion that an order was made in: orders keep its percent, and the time says which it was."""

    title = "promotion"
    parameter_name = "promotion"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        latest = Promotion.objects.order_by("-starts_at")[:MOST_PROMOTIONS]
        return [(ANY, "Any promotion"), (NONE, "No promotion"), *((str(one.pk), str(one)) for one in latest)]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        value = self.value()
        if value is None or value not in dict(self.lookup_choices):
            return queryset
        if value == NONE:
            return queryset.filter(Q(bonus_percent__stored=None) | Q(bonus_percent__stored=0))
        if value == ANY:
            # Each percent that there was is one look-up, in the order of time; "above 0" would be in no order.
            percents = set(Promotion.objects.values_list("percent", flat=True)) - {0}
            return queryset.filter(bonus_percent__in=percents) if percents else queryset.none()
        chosen = Promotion.objects.get(pk=value)
        made_in_it = Q(created_at__gte=chosen.starts_at, created_at__lt=chosen.ends_at)
        return queryset.filter(made_in_it, bonus_percent=chosen.percent)


PAYMENT_FILTERS = (ProviderFilter, FlagFilter, PromotionFilter)
