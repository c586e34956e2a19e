"""One address: /ask/<text>."""

from django.urls import path
from peers.views import ask

urlpatterns = [path("ask/<str:text>", ask)]
