"""gunicorn's hooks for wsgi_app.py: a worker starts its node before its first request, and says goodbye at its end."""

workers = 2


def post_worker_init(worker):
    """In the worker, after the fork, when the application has been imported: with --preload and without."""
    from wsgi_app import asker

    asker.node.get()


def worker_exit(server, worker):
    """In the worker, when it ends: its peers hear goodbye at once, and need not wait for it to come back."""
    from wsgi_app import asker

    asker.node.close()
