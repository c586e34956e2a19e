"""A client of ``crust node --control SOCKET``: asks a peer through the node that several processes share."""

import base64
import concurrent.futures
import contextlib
import itertools
import json
import socket
import threading
import uuid


class SharedNode:
    """One connection to the node; make one in each process, after the fork. Thread-safe."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path)
        self._sending = threading.Lock()
        self._numbers = itertools.count(1)
        self._replies: dict[int, concurrent.futures.Future] = {}
        self._answers: dict[str, concurrent.futures.Future] = {}
        self.alive = True
        threading.Thread(target=self._read, daemon=True).start()
        self.command("subscribe", events=["new_message"])  # every subscriber gets every message

    def command(self, cmd: str, **fields: object) -> dict:
        number = next(self._numbers)
        with self._sending:
            if not self.alive:
                raise ConnectionError("the shared node has ended")
            reply = self._replies[number] = concurrent.futures.Future()
            try:
                self._socket.sendall(json.dumps({"id": number, "cmd": cmd, **fields}).encode() + b"\n")
            except OSError:
                self.alive = False
                raise
        found = reply.result(30)
        if not found["ok"]:
            raise RuntimeError(f"{cmd}: {found['text']}")
        return found

    def ask(self, contact: str, text: str) -> str:
        peer = self.command("connect", peer=contact, timeout=10)["peer"]
        tag = str(uuid.uuid4().int)  # tells our answer from those to other processes
        answer = concurrent.futures.Future()
        with self._sending:
            self._answers[tag] = answer
        self.command("send", peer=peer, data=base64.b64encode(f"{tag} {text}".encode()).decode())
        return answer.result(10)

    def _read(self) -> None:
        with contextlib.suppress(ConnectionError):
            for line in self._socket.makefile("rb"):
                self._take(json.loads(line))
        with self._sending:
            self.alive = False
        for waiting in (*self._replies.values(), *self._answers.values()):
            waiting.set_exception(ConnectionError("the shared node has ended"))

    def _take(self, found: dict) -> None:
        if found.get("event") == "new_message":
            tag, _, text = base64.b64decode(found["data"]).decode().partition(" ")
            if tag in self._answers:
                self._answers.pop(tag).set_result(text)
        elif "event" not in found:
            self._replies.pop(found["id"]).set_result(found)
