"""One index for the folders that are closed to a user, in place of that of the foreign key.

The indexes are built and dropped concurrently, so nothing is locked for longer than a moment. If this is interrupted,
drop the new index, which is invalid, and run `migrate` again. Processes of the previous version go on working.
"""

import django.db.models.deletion
from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("uploads", "0021_original_size")]

    operations = [
        AddIndexConcurrently(
            "folder",
            models.Index(
                condition=Q(("access_root__isnull", False)), fields=["access_root", "id"], name="folder_by_access_root"
            ),
        ),
        migrations.AlterField(
            "folder",
            "access_root",
            models.ForeignKey(
                db_index=False,
                editable=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="uploads.folder",
            ),
        ),
    ]
