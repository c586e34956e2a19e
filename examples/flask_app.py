"""
Flask, with or without its reloader, threaded or not.

    CRUST_PEER=CONTACT flask --app flask_app run
"""

import os

from asker import Asker
from flask import Flask

import crust

app = Flask(__name__)
asker = Asker(os.environ["CRUST_PEER"])  # no node yet: the first request of each process starts one


@app.get("/ask/<text>")
def ask(text: str) -> tuple[dict[str, object], int]:
    try:
        return {"answer": asker.ask(text), "node": str(asker.node.get().id), "pid": os.getpid()}, 200
    except (crust.CrustError, TimeoutError) as error:
        return {"error": str(error)}, 502
