"""The log is searched by whole names: those tried at the door, and those that files and folders had."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("uploads", "0008_preview_being_made")]

    operations = [
        migrations.AddIndex(
            model_name="event",
            index=models.Index(fields=["name", "-id"], name="event_of_name"),
        ),
    ]
