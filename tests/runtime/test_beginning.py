"""Greenlets that an interrupt strikes before they have begun: the main greenlet hears of it, and their work is done."""

from __future__ import annotations

import pytest

from tests.support.modes import run_python

STRUCK = """
import threading
import gevent
from crust.runtime.threads import Deadline, Threads

whole = threading.Thread.{name}
def once(*arguments):
    threading.Thread.{name} = whole
    raise KeyboardInterrupt
threading.Thread.{name} = once

crew, ran = Threads(), []
spawner = gevent.spawn(crew.spawn, "work", ran.append, "done")
try:
    threading.Event().wait(30)
except KeyboardInterrupt:
    print("interrupted")
spawner.join(30)
print(crew.join(Deadline(30)), ran, [thread.name for thread in threading._limbo])
"""
"""A greenlet is struck at the first line of something that threading runs on it."""


@pytest.mark.parametrize("name", ["_bootstrap", "_bootstrap_inner", "_set_native_id", "run"])
def test_an_interrupt_before_the_first_line(name: str) -> None:
    result = run_python(STRUCK.format(name=name), gevent=True)
    assert (result.returncode, result.stdout) == (0, "interrupted\n[] ['done'] []\n"), result.stderr
