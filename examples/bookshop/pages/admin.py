from django.contrib import admin

from pages.models import Pick

admin.site.register(Pick)
