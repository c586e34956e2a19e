"""
Celery with its prefork pool: a node in each child of the worker, none in its parent.

    CRUST_PEER=CONTACT celery -A celery_tasks worker
"""

import os

from asker import Asker
from celery import Celery
from celery.exceptions import SoftTimeLimitExceeded
from celery.signals import worker_process_init, worker_process_shutdown

folder = os.environ.get("CELERY_FOLDER", "/tmp/celery")  # a broker of plain files; yours is probably another
os.makedirs(f"{folder}/results", exist_ok=True)
app = Celery("celery_tasks", broker="filesystem://", backend=f"file://{folder}/results")
app.conf.broker_transport_options = {
    "data_folder_in": f"{folder}/queue",
    "data_folder_out": f"{folder}/queue",
    "control_folder": f"{folder}/control",
    "polling_interval": 0.1,
}
asker = Asker(os.environ["CRUST_PEER"])  # no node yet: the parent imports this too


@worker_process_init.connect
def start(**_: object) -> None:
    asker.node.get()  # in each child, before its first task


@worker_process_shutdown.connect
def stop(**_: object) -> None:
    asker.node.close()


@app.task
def ask(text: str) -> dict[str, object]:
    try:
        return {"answer": asker.ask(text, timeout=30.0), "node": str(asker.node.get().id), "pid": os.getpid()}
    except SoftTimeLimitExceeded:  # it may strike anywhere in crust; the node is sound, and serves the next task
        return {"error": "too late", "node": str(asker.node.get().id), "pid": os.getpid()}
