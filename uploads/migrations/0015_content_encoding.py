"""Imported objects may be stored compressed; null until the store is asked."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("uploads", "0014_accounts")]

    operations = [
        migrations.AddField(
            model_name="file",
            name="content_encoding",
            field=models.CharField(editable=False, max_length=100, null=True, verbose_name="content encoding"),
        ),
    ]
