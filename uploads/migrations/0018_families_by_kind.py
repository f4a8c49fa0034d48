"""Set families and types by the current rules, from what is known of each file."""

from typing import Any

from django.db import migrations

from uploads.media_types import canonical, category_of


def tell_apart(apps: Any, _schema_editor: Any) -> None:
    """There are few kinds of types, whatever the number of files: one UPDATE for each that changed."""
    File = apps.get_model("uploads", "File")
    kinds = File.objects.order_by().values("detected_type", "claimed_type", "family", "content_encoding").distinct()
    for kind in list(kinds):
        detected = canonical(kind["detected_type"])
        told = {"detected_type": detected, "family": category_of(detected or kind["claimed_type"])}
        if kind["content_encoding"]:
            told["family"] = kind["family"]  # of what is stored in an encoding, the bytes say something else
        if told.items() - kind.items():
            File.objects.filter(**kind).update(**told)


class Migration(migrations.Migration):
    dependencies = [("uploads", "0017_fold_names_again")]

    operations = [migrations.RunPython(tell_apart, migrations.RunPython.noop)]
