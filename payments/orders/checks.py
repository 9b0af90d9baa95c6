"""Payments that were only a check of the platform (`manage.py verify`): no money came, so they are no revenue."""

from mongo.collections import collection_of
from payments.models import Payment


def withdraw_check(order: Payment) -> bool:
    """Mark an order that a check paid as failed and flag it, so that no figure counts it. Whether this call did it.

    The credits are the caller's to take back. Safe to repeat.
    """
    update = {"$set": {"status": Payment.Status.FAILED.value}, "$addToSet": {"flags": Payment.Flag.CHECK.value}}
    query = {"_id": order.pk, "status": {"$in": [Payment.Status.SUCCESS.value, Payment.Status.PENDING.value]}}
    return bool(collection_of(Payment).update_one(query, update).modified_count)
