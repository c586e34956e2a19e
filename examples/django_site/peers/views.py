"""A view that asks the peer."""

import os

from django.apps import apps
from django.http import HttpRequest, JsonResponse

import crust


def ask(request: HttpRequest, text: str) -> JsonResponse:
    try:
        asker = apps.get_app_config("peers").asker
        return JsonResponse({"answer": asker.ask(text), "node": str(asker.node.get().id), "pid": os.getpid()})
    except (crust.CrustError, TimeoutError) as error:
        return JsonResponse({"error": str(error)}, status=502)
