"""The sweep finds previews that nobody ended, however many are ready."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("uploads", "0007_library_indexes")]

    operations = [
        migrations.AddIndex(
            model_name="preview",
            index=models.Index(
                condition=models.Q(("state", "making")), fields=["lease_until"], name="preview_being_made"
            ),
        ),
    ]
