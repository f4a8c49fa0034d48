"""The dimensions of pictures, in the rows of their previews. They are unknown in the rows of earlier versions.

The columns have no default and no constraint, so the table is locked for a moment only. Processes of the previous
version go on working.
"""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("uploads", "0020_preview_pages"),
    ]

    operations = [
        migrations.AddField("preview", "original_width", models.IntegerField(null=True)),
        migrations.AddField("preview", "original_height", models.IntegerField(null=True)),
    ]
