from rest_framework import serializers

from scents.models import Scent


class ScentSerializer(serializers.ModelSerializer):
    class Meta:
        model = Scent
        fields = ["id", "name", "mood", "notes"]
