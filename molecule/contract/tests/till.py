# SPDX-License-Identifier: GPL-3.0-or-later
"""The app in ../app, where things go wrong on purpose."""
HOST = "till.example.com"


def deploy(server, number: int = 1, *words: str, **options):
    """Deploy the till; another number is another release."""
    return server.play("deploy", "-e", "django_app=till", "-e", f"till={number}", *words, **options)
