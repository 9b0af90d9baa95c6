"""What customers do at this platform in the cycle, and what the model says of it."""

import random
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial

from accounts import credits
from accounts.api_keys import create_key, delete_key, rotate_further_key, set_key_disabled
from accounts.errors import BillingError
from accounts.keys import hash_key, key_id
from accounts.models import Account, Balance
from accounts.registration import create_account, hash_stored_key, rotate_key
from mongo.collections import collection_of
from proxy.models import RequestLog
from tests.takeover.model import ZERO, Customer, Key, found

SECRETS = "sk-trollllm-{:064x}"
FIELDS = {"credits": Balance.OHMYGPT, "creditsNew": Balance.OPENHANDS}


class Clock:
    """What time it is, for this platform and for the old programs."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC).replace(microsecond=0)

    def __call__(self) -> datetime:
        return self.now

    @property
    def naive(self) -> datetime:
        return self.now.replace(tzinfo=None)


class Deeds:
    """What any customer may do, drawn by chance. Each is compared with the model at once."""

    clock: Clock
    chance: random.Random
    customers: dict[str, Customer]

    def some(self, is_meant: Callable[[Customer], bool], count: int) -> list[Customer]:
        """So many of those that are meant, or all of them."""
        meant = [customer for customer in self.customers.values() if is_meant(customer)]
        return self.chance.sample(meant, min(count, len(meant)))

    def secret(self) -> str:
        """A new key, the same for the same seed."""
        return SECRETS.format(self.chance.getrandbits(256))

    def request(self, customer: Customer, *, dies: bool = False) -> None:
        """A request with any of the customer's keys, on any balance: served and paid for, or refused."""
        if not customer.keys:
            return
        text, field = self.chance.choice(list(customer.keys)), self.chance.choice(list(FIELDS))
        balance, cost = FIELDS[field], Decimal(self.chance.randint(1, 999_999)).scaleb(-8)
        request_id, answers = f"req_{self.chance.getrandbits(128):032x}", customer.answers(text, self.clock.now)
        is_enough = (
            customer.account[field] - sum(held for one, held, _ in customer.open_costs if one == field) >= 2 * cost
        )
        refused = refusal_of(
            lambda: credits.hold(
                api_key=text, balance=balance, request_id=request_id, minimum=2 * cost, maximum=2 * cost
            )
        )
        if refused:
            assert refused in answers or (answers == ("",) and not is_enough), (customer.name, refused)
            return
        assert answers == ("",), (customer.name, answers)
        assert is_enough, customer.name
        is_logged = not dies or self.chance.random() < 0.5
        if is_logged:
            log = {"_id": request_id, "userId": customer.name, "creditType": balance.value, "createdAt": self.clock.now}
            collection_of(RequestLog).insert_one(log | {"creditsCost": float(cost), "hold": float(2 * cost)})
        if dies:
            customer.open_costs.append((field, 2 * cost, cost if is_logged else ZERO))
            return
        credits.settle(username=customer.name, request_id=request_id, balance=balance, cost=cost)
        customer.spend(field, cost)

    def buy(self, customer: Customer) -> None:
        if customer.is_readable:
            amount, operation = Decimal(self.chance.choice((20, 50, 100))), f"payment:{self.chance.getrandbits(64):x}"
            for _ in range(2):  # The same event twice.
                credits.top_up(username=customer.name, amount=amount, operation=operation, actor="sepay")
            customer.buy(amount, self.clock.now)

    def transfer(self, customer: Customer) -> None:
        source, target = self.chance.sample(list(FIELDS), 2)
        amount = min(Decimal(self.chance.randint(1, 2000)).scaleb(-2), round(customer.account[source], 2))
        if amount <= 0 or not customer.is_readable:
            return
        may_move = customer.account["migration"] is not False and not customer.is_expired(self.clock.now)
        transfer = partial(
            credits.transfer,
            username=customer.name,
            source=FIELDS[source],
            amount=amount,
            operation=f"transfer:{self.chance.getrandbits(64):x}",
            actor="staff:olga",
            reason="asked for",
        )
        if refusal_of(transfer):
            assert not may_move or amount > customer.account[source], customer.name
            return
        assert may_move, customer.name
        customer.transfer(source, target, amount)

    def change_keys(self, customer: Customer) -> None:
        """Replace, hash, make, disable, delete: whatever there is to be changed."""
        if not customer.is_readable:
            return
        name, first, new = customer.name, customer.first, self.secret()
        further = [text for text, key in customer.keys.items() if key.place == "further"]
        deed = self.chance.choice(
            ("rotate", "hash", "create", "disable", "disable further", "delete", "rotate further")
        )
        if deed == "rotate":
            rotate_key(username=name, new_key=new)
            customer.replace_first(new, is_plain=False)
        elif deed == "hash" and first is not None:
            hash_stored_key(username=name)
            customer.keys[first].is_plain = False
        elif deed == "create":
            create_key(username=name, name="another", new_key=new)
            customer.keys[new] = Key("further", is_plain=False, is_made_here=True)
        elif deed == "disable" and first is not None:
            self.set_disabled(customer, first)
        elif further:
            text = self.chance.choice(further)
            wanted_id = _id_of(customer, text)
            if deed == "disable further":
                self.set_disabled(customer, text)
            elif deed == "delete":
                delete_key(username=name, wanted_id=wanted_id)
                customer.keys[text].place = "gone"
            elif deed == "rotate further":
                rotate_further_key(username=name, wanted_id=wanted_id, new_key=new)
                is_disabled = customer.keys[text].is_disabled
                customer.keys[text].place = "gone"
                customer.keys[new] = Key("further", is_plain=False, is_disabled=is_disabled, is_made_here=True)

    def set_disabled(self, customer: Customer, text: str) -> None:
        """Disable a key, or enable it again."""
        key = customer.keys[text]
        if key.there is False and not key.is_ours:
            return  # Revoked there: it is to be replaced, and not enabled.
        key.is_disabled = not key.is_disabled
        set_key_disabled(username=customer.name, wanted_id=_id_of(customer, text), is_disabled=key.is_disabled)

    def join(self) -> None:
        """A new customer, who buys at once."""
        name = f"new-{len(self.customers)}"
        _, text = create_account(username=name)
        account = found({"isActive": True, "migration": True})
        self.customers[name] = Customer(name, "made here", account, {text: Key(is_plain=False)})
        self.buy(self.customers[name])


def _id_of(customer: Customer, text: str) -> str:
    """The id of a key, which stays the same when its secret is replaced."""
    account = Account.objects.get(pk=customer.name)
    entry = account.keys.get(key_id(hash_key(text)), {})
    return str(entry.get("id") or key_id(hash_key(text)))


def refusal_of(act: Callable[[], object]) -> str:
    """Why something is refused; an empty text if it is not."""
    try:
        act()
    except BillingError as error:
        return error.code
    return ""
