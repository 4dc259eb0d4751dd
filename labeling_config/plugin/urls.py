"""Label Studio's addresses, and ours."""

from core.urls import urlpatterns as label_studio  # pyright: ignore[reportMissingImports]
from django.urls import path  # pyright: ignore[reportMissingModuleSource, reportMissingImports]

from labeling_config.contract import CONSOLE
from labeling_config.plugin import clips, pages
from labeling_config.plugin.console import console
from labeling_config.plugin.others import others

urlpatterns = [
    path("robopref/next", pages.next_pair, name="robopref-next"),
    path("robopref/signed-in", pages.signed_in, name="robopref-signed-in"),
    path("robopref/state", pages.state, name="robopref-state"),
    path("robopref/trouble", pages.trouble, name="robopref-trouble"),
    path("robopref/ready", pages.ready, name="robopref-ready"),
    path("robopref/health", pages.health, name="robopref-health"),
    path("robopref/clips/<int:task_id>/<slug:side>", clips.clip, name="robopref-clip"),
    path("robopref/others/<int:task_id>", others, name="robopref-others"),
    path("robopref/guidelines", pages.guidelines, name="robopref-guidelines"),
    path("robopref/guidelines/<slug:name>.jpg", pages.picture, name="robopref-picture"),
    path(CONSOLE.lstrip("/"), console, name="robopref-console"),
    path(f"{CONSOLE.lstrip('/')}/<path:rest>", console, name="robopref-console-page"),
    path("robopref/<slug:name>.js", pages.file, {"kind": "js"}, name="robopref-script"),
    path("robopref/<slug:name>.css", pages.file, {"kind": "css"}, name="robopref-style"),
    *label_studio,
]
