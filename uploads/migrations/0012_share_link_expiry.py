"""An index for the links that expire soon, which the sweep looks for."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("uploads", "0011_notifications")]

    operations = [
        migrations.AddIndex(
            model_name="sharelink",
            index=models.Index(
                fields=["expires_at"], condition=models.Q(revoked_at__isnull=True), name="share_link_by_expiry"
            ),
        ),
    ]
