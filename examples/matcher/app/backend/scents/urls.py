from django.urls import path

from scents import views

urlpatterns = [
    path("scents/", views.scents),
    path("advice/", views.advice),
]
