"""Limits on storage and files for single people."""

from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    dependencies = [("uploads", "0004_administrators")]

    operations = [
        migrations.AddField(
            model_name="usage",
            name="quota_bytes",
            field=models.BigIntegerField(blank=True, null=True, verbose_name="storage limit"),
        ),
        migrations.AddField(
            model_name="usage",
            name="quota_files",
            field=models.BigIntegerField(blank=True, null=True, verbose_name="file limit"),
        ),
        migrations.AddConstraint(
            model_name="usage",
            constraint=models.CheckConstraint(
                condition=Q(quota_bytes__isnull=True) | Q(quota_bytes__gte=0), name="usage_quota_bytes_not_negative"
            ),
        ),
        migrations.AddConstraint(
            model_name="usage",
            constraint=models.CheckConstraint(
                condition=Q(quota_files__isnull=True) | Q(quota_files__gte=0), name="usage_quota_files_not_negative"
            ),
        ),
    ]
