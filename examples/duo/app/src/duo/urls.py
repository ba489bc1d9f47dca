from django.contrib import admin
from django.urls import include, path

from duo.health import health

urlpatterns = [
    path("health/", health),
    path("api/", include("trips.api_urls")),
    path("admin/", admin.site.urls),
    path("", include("trips.urls")),
]
