"""
Flask, with or without its reloader, threaded or not.

    CRUST_PEER=CONTACT flask --app flask_app run
"""

import os

from asker import Asker
from flask import Flask

import crust

app = Flask(__name__)
asker = crust.ProcessLocal(lambda: Asker(os.environ["CRUST_PEER"]))  # no node yet: importing this costs nothing


@app.get("/ask/<text>")
def ask(text: str) -> tuple[dict[str, object], int]:
    try:
        mine = asker.get()  # this process's node; the first request starts it
        return {"answer": mine.ask(text), "node": str(mine.node.id), "pid": os.getpid()}, 200
    except (crust.CrustError, TimeoutError) as error:
        return {"error": str(error)}, 502
