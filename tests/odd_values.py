"""Values of every BSON type, as an adopted document may hold them in any field."""

from datetime import datetime
from typing import Any

from bson import DBRef, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.binary import Binary
from bson.code import Code
from bson.datetime_ms import DatetimeMS

VALUES: dict[str, Any] = {
    "double": 1.5,
    "minus-zero": -0.0,
    "nan": float("nan"),
    "infinity": float("inf"),
    "huge": 1e20,
    "text": "abc",
    "empty": "",
    "number-as-text": "12.5",
    "date-as-text": "2026-01-31T10:00:00Z",
    "no": "no",
    "long": "x" * 3000,
    "nul": "a\0b/../c?d#e",
    "object": {"a": 1, "b": {"c": [1, None]}},
    "empty-object": {},
    "object-of-text": {"balance": "text", "amount": "x", "at": "y"},
    "object-of-odd-holds": {"req_1": "text", "req_2": {"balance": 5, "amount": "x", "at": 7}, "req_3": None},
    "array": [1, "a", None, True, datetime(2100, 1, 1)],  # noqa: DTZ001  # As the driver reads it.
    "empty-array": [],
    "binary": b"\x00\xff",
    "uuid": Binary(b"0123456789abcdef", 4),
    "object-id": ObjectId("64b7f0f0f0f0f0f0f0f0f0f0"),
    "true": True,
    "false": False,
    "year-1": datetime(1, 1, 1),  # noqa: DTZ001
    "year-9999": datetime(9999, 12, 31, 23, 59, 59, 999000),  # noqa: DTZ001
    "after-all-years": DatetimeMS(2**60),
    "before-all-years": DatetimeMS(-(2**60)),
    "null": None,
    "regex": Regex("^a.*", "i"),
    "code": Code("return 1"),
    "code-with-scope": Code("return 1", {"x": 1}),
    "int32": 7,
    "negative": -7,
    "int64": Int64(2**60),
    "timestamp": Timestamp(1700000000, 1),
    "decimal": Decimal128("7.25"),
    "decimal-nan": Decimal128("NaN"),
    "decimal-huge": Decimal128("1e6000"),
    "min-key": MinKey(),
    "max-key": MaxKey(),
    "db-ref": DBRef("other", 5),
}
"""By a name of letters, digits and hyphens."""

NOT_AN_ID = {"array", "empty-array", "regex", "null", "minus-zero", "decimal-nan"}
"""What the server stores in no `_id`, or takes for another one of these."""
