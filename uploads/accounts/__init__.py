"""Signing in and staying signed in: django-allauth's flows with our forms, limits, sessions and pages."""
