from django.urls import path

from uploads.api import views
from uploads.views import bulk, downloads, file, folders, form_upload, library, trash

urlpatterns = [
    path("", library.library, name="library"),
    path("folders/", folders.create_folder, name="create_folder"),
    path("folders/<int:pk>/", library.folder, name="folder"),
    path("folders/<int:pk>/rename", folders.rename_folder, name="rename_folder"),
    path("folders/<int:pk>/move", folders.move_folder, name="move_folder"),
    path("folders/<int:pk>/access", folders.access_folder, name="access_folder"),
    path("folders/<int:pk>/remove", folders.remove_folder, name="remove_folder"),
    path("tags/", library.tags, name="tags"),
    path("upload/", form_upload.upload, name="upload"),
    path("unfinished/", downloads.unfinished, name="unfinished"),
    path("unfinished/<uuid:pk>/cancel", downloads.cancel_upload, name="cancel_upload"),
    path("trash/", trash.trash, name="trash"),
    path("trash/undo", trash.undo, name="undo"),
    path("files/bulk", bulk.bulk, name="bulk"),
    path("files/zip", downloads.download_zip, name="download_zip"),
    path("files/<uuid:pk>/", file.file, name="file"),
    path("files/<uuid:pk>/download", downloads.download, name="download"),
    path("files/<uuid:pk>/preview", downloads.preview, name="preview"),
    path("files/<uuid:pk>/thumbnail", downloads.thumbnail, name="thumbnail"),
    path("files/<uuid:pk>/versions/<uuid:version>/download", downloads.download_version, name="download_version"),
    path("files/<uuid:pk>/rename", file.rename_file, name="rename_file"),
    path("files/<uuid:pk>/move", file.move_file, name="move_file"),
    path("files/<uuid:pk>/tag", file.tag_file, name="tag_file"),
    path("files/<uuid:pk>/visibility", file.visibility_file, name="visibility_file"),
    path("files/<uuid:pk>/replace", file.replace_file, name="replace_file"),
    path("files/<uuid:pk>/versions/<uuid:version>/restore", file.restore_version, name="restore_version"),
    path("files/<uuid:pk>/trash", trash.trash_file, name="trash_file"),
    path("files/<uuid:pk>/restore", trash.restore_file, name="restore_file"),
    path("uploads/", views.uploads, name="uploads"),
    path("uploads/finish/", views.finish, name="finish"),
    path("uploads/<uuid:pk>/", views.upload_detail, name="upload_detail"),
    path("uploads/<uuid:pk>/parts/", views.sign_parts, name="sign_parts"),
]
