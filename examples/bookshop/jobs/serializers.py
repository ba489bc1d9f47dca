from rest_framework import serializers

from jobs.models import Tick


class OrderSerializer(serializers.Serializer):
    """How many tasks to queue, and how long each works."""

    count = serializers.IntegerField(min_value=1, max_value=1000, default=1)
    seconds = serializers.FloatField(min_value=0, max_value=120, default=0)


class TickSerializer(serializers.ModelSerializer):
    class Meta:
        model = Tick
        fields = ["time", "release", "ran", "ran_by"]
