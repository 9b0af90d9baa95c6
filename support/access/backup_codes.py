"""Backup codes: who has lost the phone logs in with one of them in place of the app's code. Each is good once.

They are kept with the second factor, as hashes alone, and go with it. A code has 80 random bits, so that a plain hash
gives nothing away.
"""

import hashlib
import hmac
import re
import secrets

from django.contrib.auth.models import User

from mongo.collections import collection_of
from payments.orders.codes import ALPHABET
from support.audit.actors import actor_of
from support.audit.trail import record
from support.models import SecondFactor

COUNT = 10
LENGTH, GROUP = 16, 4
_NOT_KEPT = re.compile(r"[\s-]")


def count_left(user: User) -> int | None:
    """How many unused codes a user has; None without a second factor."""
    factor = SecondFactor.objects.filter(pk=str(user.pk)).first()
    return None if factor is None else len(factor.backup_hashes or ())


def make_codes(user: User) -> list[str]:
    """New codes in place of all earlier ones, audited; they are returned here and shown never again.

    Every call makes other codes. Without a second factor there is nothing to store them with, and none is returned.
    """
    codes = ["".join(secrets.choice(ALPHABET) for _ in range(LENGTH)) for _ in range(COUNT)]
    hashes = [_hash(user, code) for code in codes]
    if not SecondFactor.objects.filter(pk=str(user.pk)).update(backup_hashes=hashes):
        return []
    record(actor=actor_of(user), action="make backup codes", target="")
    return ["-".join(code[start : start + GROUP] for start in range(0, LENGTH, GROUP)) for code in codes]


def use_backup_code(user: User, code: str) -> bool:
    """Whether this is an unused backup code; it is used by that, and the audit says so.

    The removal decides: of two tries at the same time one succeeds.
    """
    text = _NOT_KEPT.sub("", code).upper().translate(str.maketrans("OIL", "011"))
    if len(text) != LENGTH:
        return False
    hashed = _hash(user, text)
    used = collection_of(SecondFactor).update_one(
        {"_id": str(user.pk), "backupHashes": hashed}, {"$pull": {"backupHashes": hashed}}
    )
    if not used.modified_count:
        return False
    record(actor=actor_of(user), action="use backup code", target="", after={"left": count_left(user)})
    return True


def _hash(user: User, code: str) -> str:
    return hmac.new(str(user.pk).encode(), code.encode(), hashlib.sha256).hexdigest()
