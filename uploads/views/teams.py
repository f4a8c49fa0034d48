"""Teams: the list, and a page of each with its members."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.auth.models import Group
from django.core.paginator import Paginator
from django.db.models import Count
from django.db.models.functions import Lower
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from uploads.accounts import roles
from uploads.accounts.people_forms import MembersForm, TeamForm
from uploads.errors import Problem
from uploads.models import Folder
from uploads.views.people import changes_people, suggestions
from uploads.views.responses import request_user

PAGE_SIZE = 50
MAX_FOLDERS = 20


@require_http_methods(["GET", "HEAD", "POST"])
@changes_people
def team_list(request: HttpRequest) -> HttpResponseBase:
    """List the teams, and create one."""
    form = TeamForm(request.POST if request.method == "POST" else None)
    if form.is_valid():
        try:
            team = roles.create_team(form.cleaned_data["name"], by=request_user(request))
        except Problem as problem:
            form.add_error("name", problem.message)
        else:
            messages.success(request, _("Created team “%(name)s”.") % {"name": team.name})
            return redirect("team", pk=team.pk)
    rows = roles.teams().annotate(members=Count("user")).order_by(Lower("name"), "pk")
    page = Paginator(rows, PAGE_SIZE).get_page(request.GET.get("page"))
    return render(request, "people/teams.html", {"form": form, "page": page})


@require_safe
@changes_people
def team(request: HttpRequest, pk: int) -> HttpResponseBase:
    return _team_page(request, _get_team(pk))


def _team_page(request: HttpRequest, team: Group, **bound: Any) -> HttpResponse:
    """Render the page of a team. `bound` replaces forms by those with errors."""
    members = team.user_set.order_by(Lower("username"))
    context = {
        "team": team,
        "members": members,
        "name_form": TeamForm(initial={"name": team.name}),
        "members_form": MembersForm(team=team),
        "suggestions": suggestions(without=list(members)),
        **_folders(request, team),
        **bound,
    }
    return render(request, "people/team.html", context)


@require_POST
@changes_people
def rename_team(request: HttpRequest, pk: int) -> HttpResponseBase:
    team, form = _get_team(pk), TeamForm(request.POST)
    if form.is_valid():
        try:
            roles.rename_team(team, form.cleaned_data["name"], by=request_user(request))
        except Problem as problem:
            form.add_error("name", problem.message)
    if not form.is_valid():
        return _team_page(request, _get_team(pk), name_form=form)
    messages.success(request, _("Renamed the team to “%(name)s”.") % {"name": team.name})
    return redirect("team", pk=pk)


@require_POST
@changes_people
def change_members(request: HttpRequest, pk: int) -> HttpResponseBase:
    team = _get_team(pk)
    form = MembersForm(request.POST, team=team)
    if form.is_valid():
        add, remove = form.cleaned_data["add"], form.cleaned_data["remove"]
        try:
            roles.change_members(team, add=add, remove=remove, by=request_user(request))
        except Problem as problem:
            form.add_error("add", problem.message)
    if not form.is_valid():
        return _team_page(request, team, members_form=form)
    messages.success(request, _("Updated the members of “%(name)s”.") % {"name": team.name})
    return redirect("team", pk=pk)


@require_http_methods(["GET", "HEAD", "POST"])
@changes_people
def delete_team(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Say which access ends, and delete the team."""
    team, by = _get_team(pk), request_user(request)
    if request.method == "POST":
        roles.delete_team(team, by=by)
        messages.success(request, _("Deleted team “%(name)s”.") % {"name": team.name})
        return redirect("teams")
    context = {"team": team, "count": team.user_set.count(), **_folders(request, team)}
    return render(request, "people/delete_team.html", context)


def _folders(request: HttpRequest, team: Group) -> dict[str, Any]:
    """Return the folders that are open to the team: those that this user may see, and how many others there are."""
    rows = Folder.objects.living().filter(grants__group=team)
    visible = rows.filter(pk__in=Folder.objects.visible_to(request.user).values("pk")).order_by("natural_name")
    folders = list(visible[:MAX_FOLDERS])
    return {"folders": folders, "hidden_folders": rows.count() - len(folders)}


def _get_team(pk: int) -> Group:
    return get_object_or_404(roles.teams(), pk=pk)
