"""What a sweep remembers of a row that it could not bring to its end."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("uploads", "0010_operations")]

    operations = [
        migrations.AddField(
            model_name="file",
            name="retry_at",
            field=models.DateTimeField(editable=False, null=True),
        ),
        migrations.AddField(
            model_name="file",
            name="tries",
            field=models.PositiveSmallIntegerField(db_default=0, default=0, editable=False),
        ),
    ]
