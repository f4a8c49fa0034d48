"""Sign-in and sessions: django-allauth's flows with the project's own forms, throttling and pages."""
