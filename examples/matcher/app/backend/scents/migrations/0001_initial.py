from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True
    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Scent",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=100, unique=True)),
                ("mood", models.CharField(db_index=True, max_length=20)),
                ("notes", models.CharField(max_length=200)),
            ],
            options={"ordering": ["name"]},
        ),
    ]
