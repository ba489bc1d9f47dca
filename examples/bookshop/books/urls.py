from django.urls import path

from books import views

urlpatterns = [
    path("", views.BookList.as_view(), name="books"),
    path("<int:pk>/cover/", views.BookCover.as_view(), name="cover"),
]
