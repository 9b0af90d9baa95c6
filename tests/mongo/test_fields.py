"""What the fields of adopted documents cannot read in Python is what the database finds as unreadable."""

from typing import Any

import pytest
from bson import ObjectId
from django.db import connection

from accounts.models import Account
from mongo.fields import AdoptedModel, find_unreadable
from mongo.unreadable import id_of_text, is_odd_id, text_of_id
from payments.models import Payment
from proxy.models import ModelPrice, RequestLog
from tests.odd_values import NOT_AN_ID, VALUES

pytestmark = pytest.mark.usefixtures("odd_documents")


@pytest.mark.parametrize("model", [Account, Payment, RequestLog, ModelPrice])
def test_python_and_the_database_agree_on_every_field_and_type(db: None, model: type[AdoptedModel]) -> None:
    columns = {str(field.column): field.attname for field in model._meta.concrete_fields if field.column != "_id"}
    collection = connection.database[model._meta.db_table]  # type: ignore[attr-defined]
    documents: dict[Any, tuple[str, str]] = {}
    for column in columns:
        for name in VALUES:
            documents[ObjectId()] = (column, name)
    collection.insert_many({"_id": key, column: VALUES[name]} for key, (column, name) in documents.items())

    found = set(find_unreadable(model, limit=10_000, seconds=60)[0])
    for document in model._default_manager.all():
        key = ObjectId(str(id_of_text(document.pk)))
        column, name = documents[key]
        is_key_odd = model in (Account, ModelPrice)  # Their keys are names, so an ObjectId is odd in itself.
        expected = {columns[column]} if columns[column] in document.unreadable else set()
        assert set(document.unreadable) - {model._meta.pk.attname} == expected
        if not is_key_odd:
            assert (document.pk in found) is bool(document.unreadable), (column, name)


def test_an_odd_id_is_found_by_its_text(usersnew: Any) -> None:
    names = [name for name in VALUES if name not in NOT_AN_ID]
    usersnew.insert_many({"_id": VALUES[name], "role": name} for name in names)
    for account in Account.objects.all():
        assert Account.objects.get(pk=account.pk).role == account.role or account.pk.startswith("~long-")
        hash(account)
    for name in names:
        text = text_of_id(VALUES[name])
        assert is_odd_id(text)
        if not text.startswith("~long-"):
            assert repr(id_of_text(text)) == repr(VALUES[name])
    assert id_of_text("~zz") == "~zz"
    assert id_of_text("~0000000000") == "~0000000000"
