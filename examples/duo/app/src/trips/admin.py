from django.contrib import admin

from trips.models import Trip

admin.site.register(Trip)
