"""What looks at a node from outside may cost: what we chose."""

from __future__ import annotations

STATUS_CLIENTS = 16  # programs at once on the status socket and the page for Prometheus together
STATUS_PATIENCE = 15.0  # seconds that one has for its question, and to read the answer
STATUS_PAGE_LIFE = 0.5  # seconds for which one page serves all who ask
