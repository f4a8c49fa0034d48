from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("uploads", "0019_preview_failed_at"),
    ]

    operations = [
        migrations.AddField(
            model_name="file",
            name="refusal",
            field=models.CharField(
                blank=True,
                choices=[
                    ("archived", "in an archive of the storage, which has to restore it first"),
                    ("encrypted", "encrypted with a key that Amalga cannot use"),
                    ("denied", "denied by the storage"),
                ],
                db_default="",
                default="",
                editable=False,
                max_length=9,
                verbose_name="not given out by the storage",
            ),
        ),
    ]
