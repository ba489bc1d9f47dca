import uuid

from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from jobs import tasks
from jobs.models import JobRun, Tick
from jobs.serializers import OrderSerializer, TickSerializer


class Jobs(APIView):
    """Queue tasks, and see how often each ran and by which releases."""

    def post(self, request: Request) -> Response:
        order = OrderSerializer(data=request.data)
        order.is_valid(raise_exception=True)
        keys = [f"job-{uuid.uuid4().hex}" for _ in range(order.validated_data["count"])]
        for key in keys:
            tasks.count.delay(key, order.validated_data["seconds"])
        return Response({"keys": keys}, status=202)

    def get(self, request: Request) -> Response:
        jobs: dict[str, dict] = {}
        for run in JobRun.objects.filter(key__startswith=request.query_params.get("prefix", "")).order_by("pk"):
            job = jobs.setdefault(run.key, {"key": run.key, "runs": 0, "finished": 0, "releases": []})
            job["runs"] += 1
            job["finished"] += run.finished is not None
            job["releases"].append(run.release)
        return Response(list(jobs.values()))


class Ticks(ListAPIView):
    """The last 1000 ticks, the newest first."""

    queryset = Tick.objects.all()[:1000]
    serializer_class = TickSerializer
