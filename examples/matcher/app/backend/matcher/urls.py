from django.contrib import admin
from django.urls import include, path

from matcher.health import health

urlpatterns = [
    path("api/health/", health),
    path("api/", include("scents.urls")),
    path("api/admin/", admin.site.urls),
]
