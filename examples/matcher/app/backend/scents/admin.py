from django.contrib import admin

from scents.models import Scent

admin.site.register(Scent)
