"""Say labels of models in plain American English. The database stays as it is."""

from django.db import migrations, models
from django.db.models.functions import Now

from uploads.models.audit import action_choices
from uploads.models.file import main_store


class Migration(migrations.Migration):
    dependencies = [
        ("uploads", "0006_mail"),
    ]

    operations = [
        migrations.AlterField(
            model_name="event",
            name="action",
            field=models.CharField(choices=action_choices, max_length=20, verbose_name="action"),
        ),
        migrations.AlterField(
            model_name="event",
            name="actor",
            field=models.CharField(blank=True, max_length=150, verbose_name="user"),
        ),
        migrations.AlterField(
            model_name="event",
            name="address",
            field=models.GenericIPAddressField(null=True, unpack_ipv4=True, verbose_name="IP address"),
        ),
        migrations.AlterField(
            model_name="event",
            name="at",
            field=models.DateTimeField(db_default=Now(), editable=False, verbose_name="time"),
        ),
        migrations.AlterField(
            model_name="file",
            name="checksum_status",
            field=models.CharField(
                choices=[
                    ("unverified", "not verified yet"),
                    ("verified_by_storage", "verified by storage on upload"),
                    ("verified", "verified against the stored file"),
                    ("corrupted", "corrupted"),
                    ("missing", "missing from storage"),
                ],
                default="unverified",
                editable=False,
                max_length=20,
                verbose_name="checksum status",
            ),
        ),
        migrations.AlterField(
            model_name="file",
            name="modified",
            field=models.DateTimeField(blank=True, null=True, verbose_name="original modification time"),
        ),
        migrations.AlterField(
            model_name="file",
            name="origin",
            field=models.CharField(
                choices=[
                    ("uploaded", "uploaded here"),
                    ("imported", "imported, never deleted from storage"),
                    ("adopted", "imported, managed by Amalga"),
                ],
                db_default="uploaded",
                default="uploaded",
                editable=False,
                max_length=8,
                verbose_name="origin",
            ),
        ),
        migrations.AlterField(
            model_name="file",
            name="refusal",
            field=models.CharField(
                blank=True,
                choices=[
                    ("archived", "archived, must be restored first"),
                    ("encrypted", "encrypted with a key that isn't available"),
                    ("denied", "access denied by storage"),
                ],
                db_default="",
                default="",
                editable=False,
                max_length=9,
                verbose_name="refused by storage",
            ),
        ),
        migrations.AlterField(
            model_name="file",
            name="store",
            field=models.CharField(
                blank=True, db_default="", default=main_store, editable=False, max_length=40, verbose_name="storage"
            ),
        ),
        migrations.AlterField(
            model_name="file",
            name="updated_at",
            field=models.DateTimeField(db_default=Now(), editable=False, verbose_name="last changed"),
        ),
        migrations.AlterField(
            model_name="file",
            name="verified_at",
            field=models.DateTimeField(editable=False, null=True, verbose_name="last verified"),
        ),
        migrations.AlterField(
            model_name="finding",
            name="kind",
            field=models.CharField(
                choices=[
                    ("missing", "missing object"),
                    ("orphan", "orphan"),
                    ("size_mismatch", "size mismatch"),
                    ("etag_mismatch", "ETag mismatch"),
                    ("stuck", "stuck file"),
                    ("orphaned_multipart", "orphaned multipart upload"),
                    ("foreign", "unrecognized key"),
                    ("corrupted", "corrupted"),
                    ("failed", "check failed"),
                ],
                max_length=18,
                verbose_name="kind",
            ),
        ),
        migrations.AlterField(
            model_name="folder",
            name="removed_at",
            field=models.DateTimeField(editable=False, null=True, verbose_name="deleted"),
        ),
        migrations.AlterField(
            model_name="folder",
            name="restricted",
            field=models.BooleanField(default=False, verbose_name="restricted to selected groups"),
        ),
        migrations.AlterField(
            model_name="grant",
            name="level",
            field=models.PositiveSmallIntegerField(
                choices=[(1, "View"), (2, "Upload"), (3, "Manage")], default=1, verbose_name="level"
            ),
        ),
        migrations.AlterField(
            model_name="preview",
            name="state",
            field=models.CharField(
                choices=[("pending", "pending"), ("ready", "ready"), ("failed", "failed")],
                default="pending",
                max_length=7,
            ),
        ),
        migrations.AlterField(
            model_name="report",
            name="outcome",
            field=models.CharField(
                choices=[
                    ("running", "running"),
                    ("succeeded", "succeeded"),
                    ("differences", "differences"),
                    ("refused", "refused"),
                    ("stopped", "stopped"),
                ],
                default="running",
                max_length=11,
                verbose_name="outcome",
            ),
        ),
        migrations.AlterField(
            model_name="report",
            name="scope",
            field=models.CharField(blank=True, max_length=1024, verbose_name="scope"),
        ),
        migrations.AlterField(
            model_name="statistic",
            name="kind",
            field=models.CharField(
                choices=[
                    ("total", "total"),
                    ("owner", "by owner"),
                    ("folder", "by folder"),
                    ("category", "by type"),
                    ("day", "by day"),
                    ("tag", "by tag"),
                ],
                max_length=8,
            ),
        ),
        migrations.AlterField(
            model_name="statistic",
            name="status",
            field=models.CharField(
                choices=[
                    ("stored", "in the library"),
                    ("version", "previous versions"),
                    ("trashed", "in the trash"),
                    ("unfinished", "unfinished"),
                ],
                max_length=10,
            ),
        ),
    ]
