"""comet: a real-time HTTP push server.

A Flask app served by gevent workers uses greenlet-blocking generators that yield chunks, with a gevent Event-based
controller waking every waiting greenlet whenever a background greenlet publishes a tick.

The map of the house. Imports run one way: a room imports only what stands after it here.

* ``__main__``, ``cli``: the command line
* ``doctor``: what is wrong on the way to a server, and what to change
* ``live``: any command's output as a page
* ``app``: ``create_app``, the stand-alone server; ``demo``: its channels and the gallery
* ``extension``: ``Comet``, for somebody else's Flask app
* ``serving``: what gunicorn is told; ``reloading``: whether it could begin anew; ``handover``: how the new workers
  take over; ``logs``: what they write down
* ``heads``: how long a request's head may take
* ``views``: HTTP in, HTTP out
* ``worker``: everything that lives in one process, wired together
* ``stopping``: how gunicorn tells it to end; ``port``: where it listens, to its last connection
* ``status``: the live page for administration
* ``metrics``: what ``GET /metrics`` tells; ``tallies``: what the workers of one server have counted
* ``audience``: how many subscribe, in all workers of this server
* ``access``: who may; ``tokens``: what a signed token grants; ``revocations``: which of them are called back
* ``limits``: what one address, token or publisher is given
* ``refusals``: when to come back; ``broker_url``: which broker; ``sources``: which triggers
* ``streams``: the generators
* ``controller``: ``add``, ``remove`` and ``update``, the choke point
* ``deliverer``: brings everybody up to the head of the log; ``expiries``: whose token runs out
* ``ends``: why streams end, and the line that says so
* ``cohorts``: who waits together
* ``frames``: what is written next; ``peers``: the TCP connections under the streams
* ``rendering``: what is published in place of what a trigger found
* ``triggers``: the greenlets that watch sources and publish; ``watching``: which channels anybody watches
* ``brokers``: where the log lives
* ``settings``: every ``COMET_*`` variable; ``breath``: room for the other greenlets
* ``core``: updates, log, cursors, gaps, wires: pure values and bytes
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from .app import create_app
    from .core.log import Gap
    from .core.update import Update
    from .extension import Comet

__version__ = "0.1.0"
__all__ = ["Comet", "Gap", "Update", "create_app"]

_ROOMS = {"Comet": "extension", "Gap": "core.log", "Update": "core.update", "create_app": "app"}


def __getattr__(name: str) -> Any:
    # Only when asked for: gunicorn reads its configuration in an unpatched process, where loading Flask (and with it
    # ssl) would break TLS in the workers; and the core must load alone.
    if name in _ROOMS:
        from importlib import import_module

        return getattr(import_module(f".{_ROOMS[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
