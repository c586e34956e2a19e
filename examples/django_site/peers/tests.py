"""The view, tested without a network: ``python manage.py test``."""

import contextlib
from unittest import mock

from asker import Asker
from django.apps import apps
from django.test import SimpleTestCase

import crust
import crust.testing


class AskTest(SimpleTestCase):
    def setUp(self) -> None:
        stack = contextlib.ExitStack()
        self.addCleanup(stack.close)
        net = stack.enter_context(crust.testing.network())
        stack.enter_context(mock.patch("crust.Service", net.Service))  # what Asker makes is a node in memory
        self.peer = net.service()
        asker = Asker(str(self.peer.contact))
        stack.enter_context(mock.patch.object(apps.get_app_config("peers"), "asker", asker))

    def test_an_answer(self) -> None:
        self.peer.on(crust.NewMessage, lambda message: message.peer.send(message.data.upper()))
        response = self.client.get("/ask/hello")
        self.assertEqual(response.json()["answer"], "HELLO")

    def test_a_peer_that_is_gone(self) -> None:
        self.peer.close()
        response = self.client.get("/ask/hello")
        self.assertContains(response, "refused", status_code=502)
