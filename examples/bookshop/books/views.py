from rest_framework.generics import ListCreateAPIView, UpdateAPIView
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response

from books.models import Book
from books.serializers import BookSerializer, CoverSerializer


class BookList(ListCreateAPIView):
    """The last 20 books, and a new one."""

    queryset = Book.objects.all()
    serializer_class = BookSerializer

    def filter_queryset(self, queryset):
        return super().filter_queryset(queryset)[:20]


class BookCover(UpdateAPIView):
    """A new cover for a book."""

    queryset = Book.objects.all()
    serializer_class = CoverSerializer
    parser_classes = [MultiPartParser]
    http_method_names = ["post", "options"]

    def post(self, request: Request, *args, **kwargs) -> Response:
        return self.update(request, *args, **kwargs)
