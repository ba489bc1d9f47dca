from django.urls import path

from jobs import views

urlpatterns = [
    path("jobs/", views.Jobs.as_view(), name="jobs"),
    path("ticks/", views.Ticks.as_view(), name="ticks"),
]
