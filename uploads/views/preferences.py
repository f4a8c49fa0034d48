"""What people choose for themselves: favorites, saved searches, and the language."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import check_for_language
from django.utils.translation import gettext as _
from django.views import i18n
from django.views.decorators.http import require_POST, require_safe

from uploads import names
from uploads.errors import ValidationFailed
from uploads.forms import find_folder, parse_list_query
from uploads.models import Favorite, File, Folder, Preference, SavedSearch
from uploads.models.preference import MAX_NAME_CHARACTERS, MAX_QUERY_CHARACTERS
from uploads.views.responses import html_errors, redirect_next, request_user


@require_POST
@html_errors
def favorite_file(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Make a file a favorite of the user, or with `remove` no longer."""
    file = get_object_or_404(File.objects.listed_for(request.user).by_permanent_id(pk))
    _change_favorite(request, file=file.permanent_id)
    return redirect_next(request, file.get_absolute_url())


@require_POST
@html_errors
def favorite_folder(request: HttpRequest, pk: int) -> HttpResponse:
    """Make a folder a favorite of the user, or with `remove` no longer."""
    folder = get_object_or_404(Folder.objects.visible_to(request.user), pk=pk)
    _change_favorite(request, folder=folder)
    return redirect_next(request, folder.get_absolute_url())


def _change_favorite(request: HttpRequest, *, file: UUID | None = None, folder: Folder | None = None) -> None:
    favorites, user = Favorite.objects, request_user(request)
    try:
        (favorites.discard if request.POST.get("remove") else favorites.add)(user, file=file, folder=folder)
    except ValidationFailed as problem:
        messages.error(request, problem.message)


@require_safe
def saved_searches(request: HttpRequest) -> HttpResponse:
    """List the user's saved searches, except those in folders that they cannot see."""
    user = request_user(request)
    searches = list(SavedSearch.objects.filter(user=user).select_related("folder"))
    visible = set(
        Folder.objects.visible_to(user)
        .filter(pk__in=[search.folder_id for search in searches if search.folder_id])
        .values_list("pk", flat=True)
    )
    shown = [search for search in searches if search.folder_id is None or search.folder_id in visible]
    return render(request, "uploads/saved_searches.html", {"searches": shown})


@require_POST
@html_errors
def save_search(request: HttpRequest) -> HttpResponse:
    """Save the query of a list with a name. The same name again replaces the search."""
    user = request_user(request)
    list_query = parse_list_query(request.POST.get("query", ""), user)
    query = list_query.to_querystring()
    if not list_query.has_filters or len(query) > MAX_QUERY_CHARACTERS:
        raise ValidationFailed(_("This search can't be saved. Search again."))
    missing = _("This folder no longer exists. Open the library and search again.")
    folder = find_folder(request.POST.get("folder"), user, missing=missing)
    name = names.clean_text(request.POST.get("name", "")) or list_query.q or _("Search")
    try:
        search = SavedSearch.objects.save_for(user, name[:MAX_NAME_CHARACTERS], query=query, folder=folder)
    except ValidationFailed as problem:
        messages.error(request, problem.message)
    else:
        messages.success(request, _("Saved the search “%(name)s”.") % {"name": search.name})
    return redirect_next(request)


@require_POST
def delete_search(request: HttpRequest, pk: int) -> HttpResponse:
    search = get_object_or_404(SavedSearch, user=request_user(request), pk=pk)
    search.delete()
    messages.success(request, _("Deleted the search “%(name)s”.") % {"name": search.name})
    return redirect("saved_searches")


@login_not_required
def set_language(request: HttpRequest) -> HttpResponseBase:
    """Set the language cookie, as Django does, and remember the language of a user who is signed in."""
    language = request.POST.get("language", "")
    if request.method == "POST" and isinstance(request.user, User) and check_for_language(language):
        Preference.objects.set_language(request.user, language)
    response: HttpResponseBase = i18n.set_language(request)
    return response
