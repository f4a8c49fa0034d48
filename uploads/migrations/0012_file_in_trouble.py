"""Files that are damaged or missing are few, and are looked for among millions."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("uploads", "0011_sweep_tries")]

    operations = [
        migrations.AddIndex(
            model_name="file",
            index=models.Index(
                fields=["-available_at", "-id"],
                condition=models.Q(("checksum_basis__in", ["damaged", "missing"]), ("state", "available")),
                name="file_in_trouble",
            ),
        ),
    ]
