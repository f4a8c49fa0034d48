from django.contrib import admin
from django.contrib.auth.views import LoginView, LogoutView
from django.urls import include, path

urlpatterns = [
    path("", include("uploads.urls")),
    path("accounts/login/", LoginView.as_view(redirect_authenticated_user=True), name="login"),
    path("accounts/logout/", LogoutView.as_view(), name="logout"),
    path("admin/", admin.site.urls),
]

handler400 = "uploads.views.errors.bad_request"
handler403 = "uploads.views.errors.forbidden"
handler404 = "uploads.views.errors.not_found"
handler500 = "uploads.views.errors.server_error"
