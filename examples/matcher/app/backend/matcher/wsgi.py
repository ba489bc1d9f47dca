import os
from importlib import import_module

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "matcher.settings")

application = get_wsgi_application()
# Django imports the views at the first request: half a second for the first visitor of each worker, at each deploy.
import_module("matcher.urls")
