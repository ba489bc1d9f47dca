import hmac

from django.conf import settings
from rest_framework import status
from rest_framework.decorators import api_view
from rest_framework.request import Request
from rest_framework.response import Response

from scents.advisor import NoAdviceError, ask
from scents.models import Scent
from scents.serializers import ScentSerializer


def is_admin(request: Request) -> bool:
    """Return True for a request that brings the key."""
    key = settings.ADMIN_ACCESS_KEY
    return bool(key) and hmac.compare_digest(request.headers.get("X-Admin-Key", "").encode(), key.encode())


@api_view(["GET", "POST"])
def scents(request: Request) -> Response:
    if request.method == "POST":
        if not is_admin(request):
            return Response({"detail": "X-Admin-Key is missing or wrong"}, status=status.HTTP_403_FORBIDDEN)
        given = ScentSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        given.save()
        return Response(given.data, status=status.HTTP_201_CREATED)
    found = Scent.objects.all()
    if mood := request.query_params.get("mood"):
        found = found.filter(mood=mood)
    return Response(ScentSerializer(found[:50], many=True).data)


@api_view(["POST"])
def advice(request: Request) -> Response:
    wish = str(request.data.get("wish", "")).strip()[:200]
    if not wish:
        return Response({"detail": "send a wish"}, status=status.HTTP_400_BAD_REQUEST)
    try:
        return Response({"advice": ask(wish, list(Scent.objects.values_list("name", flat=True)[:50]))})
    except NoAdviceError as error:
        return Response({"detail": str(error)}, status=status.HTTP_502_BAD_GATEWAY)
