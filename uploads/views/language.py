"""The language that a person chooses, which their mails use too."""

from __future__ import annotations

from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponseBase
from django.utils.translation import check_for_language
from django.views import i18n

from uploads.models import Preference


@login_not_required
def set_language(request: HttpRequest) -> HttpResponseBase:
    """Set the language cookie, as Django does, and remember the language of a user who is signed in."""
    language = request.POST.get("language", "")
    if request.method == "POST" and isinstance(request.user, User) and check_for_language(language):
        Preference.objects.set_language(request.user, language)
    response: HttpResponseBase = i18n.set_language(request)
    return response
