"""Drop the replaced system's unique index on `modelId`: a model has a price row per upstream now."""

from django.db import migrations


def drop_unique_model_index(apps, schema_editor):
    collection = schema_editor.get_collection("model_pricing")
    for name, index in collection.index_information().items():
        if index["key"] == [("modelId", 1)] and index.get("unique"):
            collection.drop_index(name)


class Migration(migrations.Migration):
    dependencies = [("proxy", "0001_initial")]
    operations = [migrations.RunPython(drop_unique_model_index, migrations.RunPython.noop)]
