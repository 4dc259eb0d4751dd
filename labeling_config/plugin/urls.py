"""Label Studio's addresses, and two of ours: the script of the labelling page and the guidelines."""

from importlib.resources import files

from core.urls import urlpatterns as label_studio  # pyright: ignore[reportMissingImports]
from django.http import HttpRequest, HttpResponse  # pyright: ignore[reportMissingModuleSource, reportMissingImports]
from django.urls import path  # pyright: ignore[reportMissingModuleSource, reportMissingImports]


def script(_: HttpRequest) -> HttpResponse:
    source = (files("labeling_config") / "plugin" / "static" / "plugin.js").read_bytes()
    return HttpResponse(source, content_type="application/javascript; charset=utf-8")


def guidelines(_: HttpRequest) -> HttpResponse:
    from labeling_config.guidelines import page

    return HttpResponse(page().encode())


urlpatterns = [
    path("robopref/plugin.js", script, name="robopref-script"),
    path("robopref/guidelines", guidelines, name="robopref-guidelines"),
    *label_studio,
]
