"""Every error that comet raises on purpose, in one tree.

* :class:`CometError`
    * :class:`SettingsError`: the configuration is wrong; the start stops with this sentence
    * :class:`BadRequest` (400): a name, a parameter or a body that can't be right
    * :class:`Unauthorized` (401): no credential, or one that fails
    * :class:`Forbidden` (403): understood, and refused
    * :class:`NotFound` (404)
    * :class:`TimedOut` (408): a request body that stopped coming
    * :class:`TooLarge` (413)
    * :class:`UnsupportedMedia` (415)
    * :class:`TooManyChannels` (429)
    * :class:`SourceFailed`: a trigger's source is not well; it is tried again
    * :class:`Alarm`: a trigger can't go on before somebody mends something
    * :class:`Unavailable` (503): try again after ``retry_after`` seconds
        * :class:`Full`: no room for another stream
        * :class:`Stopping`: the worker drains
        * :class:`BrokerAway`: the log can't be reached; the update may have been accepted
        * :class:`WrongServer`: this server can't hold streams
        * :class:`LeaseLost`: another worker runs this trigger now
        * :class:`OverLimit` (429): one address, token or publisher has all that it is given

The text of an error is written for the person who caused it: what was wrong, and what would be right.
"""

from __future__ import annotations


class CometError(Exception):
    """Base of the tree. ``status_hint`` tells the views which HTTP status fits."""

    status_hint = 500


class SettingsError(CometError):
    """The configuration is wrong. Its text names the key, the value and what is allowed."""


class BadRequest(CometError):
    status_hint = 400


class Unauthorized(CometError):
    status_hint = 401


class Forbidden(CometError):
    status_hint = 403


class NotFound(CometError):
    status_hint = 404


class TimedOut(CometError):
    status_hint = 408


class TooLarge(CometError):
    status_hint = 413


class UnsupportedMedia(CometError):
    status_hint = 415


class TooManyChannels(CometError):
    status_hint = 429


class SourceFailed(CometError):
    """A trigger's source can't be reached, or does not do what it should; the trigger is started again."""


class Alarm(CometError):
    """A trigger can't go on before somebody mends something: no repetition does. Its text says what is wrong.

    ``statement`` is what to type there, where something to type would mend it.
    """

    def __init__(self, detail: str, *, statement: str = "") -> None:
        super().__init__(f"{detail} Type: {statement}" if statement else detail)
        self.statement = statement


class Unavailable(CometError):
    """Not now: ``retry_after`` says in how many seconds a new attempt makes sense."""

    status_hint = 503

    def __init__(self, detail: str, *, retry_after: int = 5) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class Full(Unavailable):
    pass


class Stopping(Unavailable):
    pass


class BrokerAway(Unavailable):
    pass


class WrongServer(Unavailable):
    pass


class LeaseLost(Unavailable):
    pass


class OverLimit(Unavailable):
    status_hint = 429
