from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("uploads", "0018_families_by_kind"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="preview",
            index=models.Index(condition=models.Q(("state", "failed")), fields=["made_at"], name="preview_failed_at"),
        ),
    ]
