"""A view that asks the peer."""

import os

from django.apps import apps
from django.http import HttpRequest, JsonResponse

import crust


def ask(request: HttpRequest, text: str) -> JsonResponse:
    try:
        mine = apps.get_app_config("peers").asker.get()  # this process's node
        return JsonResponse({"answer": mine.ask(text), "node": str(mine.node.id), "pid": os.getpid()})
    except (crust.CrustError, TimeoutError) as error:
        return JsonResponse({"error": str(error)}, status=502)
