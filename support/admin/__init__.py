"""The staff's lists and forms. Django imports this package, and each module registers its own."""

from support.admin import accounts, audit, events, payments, prices, refusals, requests, users

__all__ = ["accounts", "audit", "events", "payments", "prices", "refusals", "requests", "users"]
