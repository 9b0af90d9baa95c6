"""Model fields for documents that may lack them."""

from typing import Any

from django.db import models


class DefaultTrueField(models.BooleanField):
    """A flag that is true unless the document says false: absent and null read as true."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("default", True)
        super().__init__(*args, **kwargs)

    def from_db_value(self, value: object, expression: object, connection: object) -> bool:
        return value is not False
