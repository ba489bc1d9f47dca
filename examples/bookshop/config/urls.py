from django.conf import settings
from django.conf.urls.static import static
from django.contrib import admin
from django.urls import include, path, re_path

from config.health import health

urlpatterns = [
    path("", include("pages.urls")),
    re_path(r"^(?:api/)?healthz/?$", health),
    path("api/books/", include("books.urls")),
    path("api/", include("jobs.urls")),
    path("admin/", admin.site.urls),
    *static(settings.MEDIA_URL, document_root=settings.MEDIA_ROOT),
]
