"""
The same for gunicorn's gevent workers. With --preload the master imports the application before any worker could patch,
so the patching must come first of all: here, at the top of the configuration.
"""

from gevent import monkey

monkey.patch_all()

from gunicorn_conf import post_worker_init, worker_exit, workers  # noqa: E402, F401

worker_class = "gevent"
