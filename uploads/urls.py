from django.urls import path

from uploads.views import form_upload, pages, protocol

urlpatterns = [
    path("", pages.library, name="library"),
    path("upload/", form_upload.upload, name="upload"),
    path("unfinished/", pages.unfinished, name="unfinished"),
    path("unfinished/<uuid:pk>/cancel", pages.cancel_upload, name="cancel_upload"),
    path("trash/", pages.trash, name="trash"),
    path("files/<uuid:pk>/", pages.file, name="file"),
    path("files/<uuid:pk>/download", pages.download, name="download"),
    path("files/<uuid:pk>/trash", pages.trash_file, name="trash_file"),
    path("files/<uuid:pk>/restore", pages.restore_file, name="restore_file"),
    path("uploads/", protocol.uploads, name="uploads"),
    path("uploads/finish/", protocol.finish, name="finish"),
    path("uploads/<uuid:pk>/", protocol.upload_detail, name="upload_detail"),
    path("uploads/<uuid:pk>/parts/", protocol.sign_parts, name="sign_parts"),
]
