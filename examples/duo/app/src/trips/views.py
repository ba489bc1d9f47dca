from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import get_language
from rest_framework import status
from rest_framework.decorators import api_view
from rest_framework.request import Request
from rest_framework.response import Response

from trips.models import Trip
from trips.serializers import TripSerializer

TEXTS = {
    "en": {"title": "Dive with us", "trips": "Our trips", "visits": "Your visits"},
    "es": {"title": "Bucea con nosotros", "trips": "Nuestras salidas", "visits": "Tus visitas"},
}


def home(request: HttpRequest) -> HttpResponse:
    language = get_language()
    request.session["visits"] = request.session.get("visits", 0) + 1
    found = [(trip.spanish if language == "es" else trip.english, trip.metres) for trip in Trip.objects.all()[:20]]
    return render(request, "trips/home.html", {"language": language, "texts": TEXTS[language], "trips": found, "version": settings.VERSION,
                                               "visits": request.session["visits"]})


@api_view(["GET", "POST"])
def trips(request: Request) -> Response:
    if request.method == "POST":
        given = TripSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        given.save()
        return Response(given.data, status=status.HTTP_201_CREATED)
    return Response(TripSerializer(Trip.objects.all()[:50], many=True).data)
