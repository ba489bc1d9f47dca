from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True
    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Trip",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("english", models.CharField(max_length=100)),
                ("spanish", models.CharField(max_length=100)),
                ("metres", models.PositiveSmallIntegerField()),
                ("photo", models.FileField(blank=True, upload_to="trips/")),
            ],
            options={"ordering": ["metres", "pk"]},
        ),
    ]
