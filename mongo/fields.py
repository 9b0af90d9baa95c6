"""Model fields of adopted documents, which may lack any field and hold any BSON type in any of them.

One field a type, and each says in two ways what it can read: `read` in Python, `readable` in the database. Whatever it
cannot read becomes an `Unreadable`, never an error: a list with one odd document is shown all the same. A model of
such fields is an `AdoptedModel`, which puts the unreadable ones aside.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Self, cast

import pymongo
from bson import DBRef, Decimal128, ObjectId
from django.db import NotSupportedError, models
from django_mongodb_backend.fields import ObjectIdAutoField
from pymongo.errors import PyMongoError

from mongo.collections import collection_of
from mongo.times import as_utc
from mongo.unreadable import Unreadable, id_of_text, is_odd_id, text_of_id

Expression = Any

FIRST_TIME, LAST_TIME = datetime.min.replace(tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999000, tzinfo=UTC)
"""The times that Python can hold; a stored one may be millions of years away."""
NUMBERS = ("int", "long", "double", "decimal")
LARGEST_INTEGER = 2**63 - 1


class NotReadable(Exception):
    """A stored value that a field cannot read. Never leaves the field."""


class AdoptedField(models.Field):
    """A field of adopted documents. To migrations it is Django's field that it is stored like."""

    reads_stored_values = True
    """It gets values as they are stored: the back end's converters fail for what they do not expect."""
    stored_like: type[models.Field] | None = None
    """None for a field that migrations know by its own name."""
    is_secret = False
    """Whether what it holds is shown nowhere, not even if it cannot be read."""
    stands_for_unreadable: Any = None
    """What the attribute of a model holds in the place of an unreadable value."""

    def read(self, value: Any) -> Any:
        """A value that is there, as Python has it. Raises `NotReadable`."""
        raise NotImplementedError

    def absent(self) -> Any:
        """What missing and null mean."""
        return None

    def readable(self, path: str) -> Expression:
        """Expression: whether the database's value at `path` is one that `read` reads, missing, or null."""
        return is_of_type(path, *self.stored_types)

    def readable_in_full(self, path: str) -> Expression:
        """The same for those who have time: `readable` is part of conditions that are judged at every request."""
        return self.readable(path)

    stored_types: tuple[str, ...] = ()

    def from_db_value(self, value: Any, expression: object, connection: object) -> Any:
        if value is None:
            return self.absent()
        try:
            return self.read(value)
        except NotReadable:
            return Unreadable.of(value, is_secret=self.is_secret)

    def deconstruct(self) -> Any:
        name, path, args, kwargs = super().deconstruct()
        return name, f"django.db.models.{self.stored_like.__name__}" if self.stored_like else path, args, kwargs


def is_between(path: str, first: Any, last: Any) -> Expression:
    """Expression: whether the value at `path` lies between two of the same type, both included, is missing, or null."""
    value = {"$ifNull": [path, first]}
    return {"$and": [{"$gte": [value, first]}, {"$lte": [value, last]}]}


def is_of_type(path: str, *types: str) -> Expression:
    """Expression: whether the value at `path` is of one of the BSON types, missing, or null. Lists are lists in it."""
    return {"$in": [{"$type": path}, ["missing", "null", "undefined", *types]]}


class AdoptedCharField(AdoptedField, models.CharField):
    """Text. With `reads_numbers` also a whole number, for names of digits that some documents hold as numbers."""

    stored_like = models.CharField

    def __init__(self, *args: Any, reads_numbers: bool = False, is_secret: bool = False, **kwargs: Any) -> None:
        self.reads_numbers, self.is_secret = reads_numbers, is_secret
        self.stored_types = ("string", "int", "long") if reads_numbers else ("string",)
        super().__init__(*args, **kwargs)

    def read(self, value: Any) -> str:
        if type(value) is str:
            return value
        if self.reads_numbers and isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        raise NotReadable


class AdoptedDateTimeField(AdoptedField, models.DateTimeField):
    """A time from the year 1 to 9999, aware and in UTC."""

    stored_like = models.DateTimeField

    def read(self, value: Any) -> datetime:
        if not isinstance(value, datetime):
            raise NotReadable
        return as_utc(value)

    def readable(self, path: str) -> Expression:
        # The database orders values of all types, so what lies between two times is a time.
        return is_between(path, FIRST_TIME, LAST_TIME)


class AdoptedBooleanField(AdoptedField, models.BooleanField):
    """True or false, and nothing that is taken for them."""

    stored_like: type[models.Field] | None = models.BooleanField
    stored_types = ("bool",)

    def read(self, value: Any) -> bool:
        if not isinstance(value, bool):
            raise NotReadable
        return value


class DefaultTrueField(AdoptedBooleanField):
    """A flag that is true unless the document says false: absent and null read as true, the unreadable as false."""

    stored_like = None
    stands_for_unreadable = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("default", True)
        super().__init__(*args, **kwargs)

    def absent(self) -> bool:
        return True


def whole_number(value: Any) -> int:
    """A number of any type without its fraction. Raises `NotReadable` for what is no number, or does not fit."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal128):
        raise NotReadable
    number = Decimal(str(value))
    if not number.is_finite() or abs(number) > LARGEST_INTEGER:
        raise NotReadable
    return int(number)


class AdoptedIntegerField(AdoptedField, models.IntegerField):
    """A whole number, of any number type; a fraction is cut off."""

    stored_like: type[models.Field] | None = models.IntegerField

    def read(self, value: Any) -> int:
        return whole_number(value)

    def readable(self, path: str) -> Expression:
        # Doubles near the end are the number after it: LARGEST_INTEGER is none of them, and compares exactly.
        return is_between(path, -LARGEST_INTEGER, LARGEST_INTEGER)


class AdoptedBigIntegerField(AdoptedIntegerField, models.BigIntegerField):
    stored_like = models.BigIntegerField


class AdoptedPositiveIntegerField(AdoptedIntegerField, models.PositiveIntegerField):
    stored_like = models.PositiveIntegerField


class AdoptedDecimalField(AdoptedField, models.DecimalField):
    """A finite number of any type."""

    stored_like = models.DecimalField
    stored_types = NUMBERS

    def read(self, value: Any) -> Decimal:
        if isinstance(value, bool) or not isinstance(value, int | float | Decimal128):
            raise NotReadable
        number = Decimal(str(value))
        if not number.is_finite() or abs(number) >= Decimal(10) ** self._most_digits:
            raise NotReadable
        return number

    @property
    def _most_digits(self) -> int:
        return int(self.max_digits or 0) - int(self.decimal_places or 0)

    def readable(self, path: str) -> Expression:
        most = Decimal128(str(10**self._most_digits))
        below, above = {"$lt": [path, most]}, {"$gt": [path, Decimal128(f"-{most}")]}
        return {"$or": [is_of_type(path), {"$and": [above, below]}]}


class AdoptedJSONField(AdoptedField, models.JSONField):
    """JSON of the given shape (`dict`, `list`, or any). Values in it that JSON has not, such as times, read as text."""

    stored_like = models.JSONField

    def __init__(self, *args: Any, shape: type | None = None, **kwargs: Any) -> None:
        self.shape = shape
        self.stored_types = {dict: ("object",), list: ("array",)}.get(cast(Any, shape), ())
        super().__init__(*args, **kwargs)

    def read(self, value: Any) -> Any:
        value = value.as_doc() if isinstance(value, DBRef) else value  # To the database it is an object.
        if self.shape is not None and not isinstance(value, self.shape):
            raise NotReadable
        return json_of(value)

    def readable(self, path: str) -> Expression:
        return super().readable(path) if self.shape else True


def json_of(value: Any) -> Any:
    """A stored value as JSON has it: what JSON has not becomes text."""
    if isinstance(value, Mapping):
        return {str(name): json_of(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [json_of(inner) for inner in value]
    if isinstance(value, float) and not Decimal(value).is_finite():
        return str(value)
    return value if value is None or type(value) in (str, bool, float) or isinstance(value, int) else str(value)


class AdoptedIdField(models.CharField):
    """A name as `_id`. Any other `_id` reads as `text_of_id`, by which it is found again. To migrations a CharField."""

    reads_stored_values = True

    def get_prep_value(self, value: Any) -> Any:
        return id_of_text(value) if isinstance(value, str) else value

    def from_db_value(self, value: Any, expression: object, connection: object) -> str | None:
        if value is None or (type(value) is str and value):
            return value
        return text_of_id(value)

    def deconstruct(self) -> Any:
        name, _, args, kwargs = super().deconstruct()
        return name, "django.db.models.CharField", args, kwargs


class AdoptedObjectIdField(ObjectIdAutoField):
    """An ObjectId as `_id`, made for new documents; another reads as `text_of_id`. To migrations the automatic key."""

    reads_stored_values = True

    def to_python(self, value: Any) -> Any:
        return value if is_odd_id(value) else super().to_python(value)

    def get_prep_value(self, value: Any) -> Any:
        return id_of_text(value) if is_odd_id(value) else super().get_prep_value(value)

    def from_db_value(self, value: Any, expression: object, connection: object) -> Any:
        return value if value is None or isinstance(value, ObjectId) else text_of_id(value)

    def deconstruct(self) -> Any:
        name, _, args, kwargs = super().deconstruct()
        return name, "django_mongodb_backend.fields.ObjectIdAutoField", args, kwargs


class AdoptedModel(models.Model):
    """Documents that were there before: what a field of one cannot read stands in `unreadable`, by the field's name."""

    unreadable: Mapping[str, Unreadable] = MappingProxyType({})

    class Meta:
        abstract = True

    @classmethod
    def from_db(cls, db: str | None, field_names: Any, values: Any) -> Self:  # type: ignore[override]
        found = {name: value for name, value in zip(field_names, values, strict=False) if type(value) is Unreadable}
        if found:
            instead = {name: cls._meta.get_field(name).stands_for_unreadable for name in found}  # type: ignore[union-attr]
            values = [instead.get(name, value) for name, value in zip(field_names, values, strict=False)]
        document = super().from_db(db, field_names, values)
        if is_odd_id(document.pk):
            found[cls._meta.pk.attname] = Unreadable.of(id_of_text(document.pk))
        if found:
            document.unreadable = found
        return document


def unreadable_condition(model: type[models.Model]) -> dict[str, Any]:
    """The filter of the documents of which a field, or the `_id`, cannot be read. No index serves it."""
    fields = [field for field in model._meta.concrete_fields if isinstance(field, AdoptedField)]
    readable = [field.readable_in_full(f"${field.column}") for field in fields]
    has_odd_id = {"$in": [{"$type": "$_id"}, ["string", "objectId"]]}
    return {"$expr": {"$not": [{"$and": [has_odd_id, {"$ne": ["$_id", ""]}, *readable]}]}}


def find_unreadable(model: type[models.Model], *, limit: int, seconds: float) -> tuple[list[Any], bool]:
    """The keys of at most `limit` documents of which something cannot be read, and whether these are all of them.

    Looks at one document after the other, for at most `seconds`.
    """
    found: list[Any] = []
    key = model._meta.pk
    one_by_one = collection_of(model).find(unreadable_condition(model), {"_id": 1}).limit(limit).batch_size(1)
    try:
        with pymongo.timeout(seconds):
            for document in one_by_one:
                found.append(cast(Any, key).from_db_value(document["_id"], None, None))
    except PyMongoError as error:
        if not error.timeout:
            raise
        return found, False
    return found, len(found) < limit


@AdoptedField.register_lookup
class IsStored(models.Lookup):  # type: ignore[type-arg]
    """`field__stored=value`: exactly this is stored, or a list that has it; None = nothing, or null.

    One condition that one index serves in the order of its next field. (The back end's own of None is two.)
    """

    lookup_name = "stored"
    prepare_rhs = False
    can_use_none_as_rhs = True

    def as_mql(self, compiler: Any, connection: Any, as_expr: bool = False) -> dict[str, Any]:
        if as_expr:
            raise NotSupportedError("stored is a condition of documents, not a part of an expression")
        return {self.lhs.as_mql(compiler, connection): {"$eq": self.rhs}}
