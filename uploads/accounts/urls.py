"""URLs of the account pages. django-allauth's own URLconf is not included: these are all."""

from django.urls import path

from uploads.accounts import oidc, passkeys, views
from uploads.views import password_reset

urlpatterns = [
    path("login/", views.sign_in, name="login"),
    path("login/", views.sign_in, name="account_login"),
    path("logout/", views.sign_out, name="logout"),
    path("code/", views.code, name="mfa_authenticate"),
    path("sso/", oidc.begin, name="sso"),
    path("sso/back/", oidc.end, name="sso_callback"),
    path("sso/connect/", oidc.connect, name="sso_connect"),
    path("sso/connections/<int:pk>/remove/", oidc.disconnect, name="sso_disconnect"),
    path("sso/<slug:slug>/", oidc.begin, name="sso"),
    path("sso/<slug:slug>/back/", oidc.end, name="sso_callback"),
    path("confirm/", views.reauthenticate, name="account_reauthenticate"),
    path("confirm/code/", views.reauthenticate_code, name="mfa_reauthenticate"),
    path("security/", views.security, name="mfa_index"),
    path("security/sessions/", views.end_other_sessions, name="end_other_sessions"),
    path("security/time-zone/", views.time_zone, name="time_zone"),
    path("password/reset/", password_reset.request_reset, name="request_password_reset"),
    path("reset/<str:token>/", password_reset.reset_password, name="reset_password"),
    path("password/", views.change_password, name="account_change_password"),
    path("factor/add/", views.add_factor, name="mfa_activate_totp"),
    path("factor/remove/", views.remove_factor, name="mfa_deactivate_totp"),
    path("passkeys/options/", passkeys.options, name="passkey_options"),
    path("passkeys/sign-in/", passkeys.sign_in, name="mfa_login_webauthn"),
    path("passkeys/confirm/", passkeys.confirm, name="mfa_reauthenticate_webauthn"),
    path("passkeys/add/", passkeys.add, name="mfa_add_webauthn"),
    path("passkeys/<int:pk>/rename/", passkeys.rename, name="mfa_edit_webauthn"),
    path("passkeys/<int:pk>/remove/", passkeys.remove, name="mfa_remove_webauthn"),
    path("recovery-codes/", views.recovery_codes, name="mfa_view_recovery_codes"),
    path("recovery-codes/new/", views.new_recovery_codes, name="mfa_generate_recovery_codes"),
    path("recovery-codes/download/", views.download_recovery_codes, name="mfa_download_recovery_codes"),
]
