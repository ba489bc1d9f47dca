from pathlib import PurePath

from django.core.files import File
from rest_framework import serializers

from books.models import Book

COVER_BYTES = 5 * 1024 * 1024
# What a file is, its first bytes say; its name and content type are only what the sender says.
COVER_SIGNATURES = {
    ".jpg": (b"\xff\xd8\xff",),
    ".jpeg": (b"\xff\xd8\xff",),
    ".png": (b"\x89PNG\r\n\x1a\n",),
    ".gif": (b"GIF87a", b"GIF89a"),
}


class BookSerializer(serializers.ModelSerializer):
    class Meta:
        model = Book
        fields = ["id", "title", "price", "added", "cover"]
        read_only_fields = ["cover"]


class CoverSerializer(serializers.ModelSerializer):
    cover = serializers.FileField()

    class Meta:
        model = Book
        fields = ["cover"]

    def validate_cover(self, cover: File) -> File:
        signatures = COVER_SIGNATURES.get(PurePath(cover.name).suffix.lower(), ())
        start = cover.read(16)
        cover.seek(0)
        if not start.startswith(signatures):
            raise serializers.ValidationError(f"A cover is one of {' '.join(COVER_SIGNATURES)}")
        if cover.size > COVER_BYTES:
            raise serializers.ValidationError(f"A cover has at most {COVER_BYTES} bytes")
        return cover
