"""Settings of an app that says how each request reached it."""
import os

SECRET_KEY = os.environ.get("SECRET_KEY", "for-a-laptop-only")
ALLOWED_HOSTS = os.environ.get("ALLOWED_HOSTS", "localhost").split(",")
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
MIDDLEWARE: list = []
INSTALLED_APPS: list = []
ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
USE_TZ = True
