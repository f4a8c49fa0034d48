"""Until when a folder in the trash can be restored."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("uploads", "0014_malware")]

    operations = [
        migrations.AddField(
            model_name="folder",
            name="purge_after",
            field=models.DateTimeField(editable=False, null=True),
        ),
        migrations.AddIndex(
            model_name="folder",
            index=models.Index(
                fields=["normalized_name", "id"],
                condition=models.Q(removed_at__isnull=False, purge_after__isnull=False),
                name="folder_trashed_by_name",
            ),
        ),
    ]
