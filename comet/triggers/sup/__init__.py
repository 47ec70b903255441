"""Sup: follows feeds of another server by its SUP document, and publishes each when it has changed.

One small request a period says which of them changed, and only those are fetched, each once more with the next look:
who says that something changed, and who is asked for it then, may be two caches, or two workers. Between two looks
nothing is open. Where the document does not reach back to the last look, all feeds are fetched, and published if they
are not what they were.
"""

from __future__ import annotations

import codecs
import logging
import re
import time
from collections.abc import Mapping
from contextlib import closing
from hashlib import sha256

from gevent.event import Event

from ...breath import breathe
from ...core.errors import Alarm, BadRequest, SourceFailed, TooLarge
from ...core.update import BINARY, Update, check_type
from .. import Publish
from .document import Document
from .feeds import Feed, check_url, read_feed
from .fetching import Answer, Stopped, Web, shown
from .seen import Place, Seen


log = logging.getLogger("comet")

#: Bytes of a document, and of a feed.
DOCUMENT = 1_048_576
MOST = 262_144

#: Who asks.
AGENT = "comet (SUP)"

#: From these, text becomes utf-8. (Some of Python's take their time.)
_CHARSETS = "iso8859-|cp125|koi8-|utf-16|euc_|shift_jis|gb|big5"

_LATER = (408, 425, 429)
_GONE = (404, 410)


class Sup:
    """Every ``every`` seconds, or at the pace that the document at ``url`` asks for, look what has changed.

    ``ids`` has for each SUP-ID a channel, if the document is another comet's and the channel has the same name there;
    else ``{"channel": …, "feed": URL}``. Of a feed at most ``most`` bytes are taken.
    """

    def __init__(
        self,
        name: str,
        *,
        url: str,
        ids: Mapping[str, str | Mapping[str, str]],
        every: float | None = None,
        event: str | None = None,
        most: int = MOST,
    ) -> None:
        self.name = name
        self.url = check_url(url, "url")
        self.feeds = [read_feed(self.url, each, value) for each, value in ids.items()]
        self.every = every
        self.event = event
        self.most = most
        self._stopping = Event()
        self._document: Document | None = None
        self._mark = ""
        self._asked = self._next = 0.0
        self._told: set[str] = set()
        self._looked = False

    def run(self, publish: Publish) -> None:
        self._stopping.clear()
        seen = Seen.parse(shown(self.url), publish.checkpoint())
        if not (publish.lasts or self._looked):
            seen.places.clear()  # the channels are empty
        try:
            # However often it fails, it does not ask more often.
            while not self._stopping.wait(max(0.0, self._next - time.monotonic())):
                with closing(Web(AGENT, self._stopping)) as web:
                    self._look(web, seen, publish)
        except Stopped:
            pass

    def stop(self) -> None:
        self._stopping.set()

    # The document.

    def _look(self, web: Web, seen: Seen, publish: Publish) -> None:
        document = self._ask(web)
        self._compare(document, seen)
        failures = [failure for feed in self.feeds if (failure := self._follow(web, feed, seen, publish))]
        publish([], str(seen))
        self._looked = True
        if failures:
            more = f" ({len(failures) - 1} more can't be had either)" if len(failures) > 1 else ""
            raise SourceFailed(f"{failures[0]}{more}")

    def _ask(self, web: Web) -> Document:
        try:
            answer, now = web.get(self.url, DOCUMENT, self._mark), time.monotonic()
        except TooLarge as error:
            raise Alarm(str(error)) from error
        if answer.status == 304 and self._document is not None:
            self._document = self._document.later(now - self._asked)
        else:
            self._document, self._mark = self._read(answer), answer.mark
        self._asked, self._next = now, now + max(self.every or self._document.period, answer.max_age)
        return self._document

    def _read(self, answer: Answer) -> Document:
        status, where = answer.status, shown(self.url)
        if status == 200:
            try:
                return Document.parse(answer.body)
            except ValueError as error:
                raise Alarm(f"{where} is no SUP document: {error}.") from error
        if 400 <= status < 500 and status not in _LATER:
            raise Alarm(f"there is no SUP document at {where}: it answers {status}.")
        self._next = time.monotonic() + answer.retry_after
        raise SourceFailed(f"{where} answers {status}.")

    def _compare(self, document: Document, seen: Seen) -> None:
        """Find out which feeds are due."""
        until = document.until or time.time()
        since = document.since or until - document.period
        late = seen.until is not None and since > seen.until
        before, seen.places = seen.places, {}
        for feed in self.feeds:
            place = seen.places[feed.id] = before.get(feed.id) or Place()
            if late:
                place.due = max(place.due, 1)
            told = document.updates.get(feed.id, place.told)
            if told != place.told:
                place.told, place.due = told, 2
        seen.until = until

    # The feeds.

    def _follow(self, web: Web, feed: Feed, seen: Seen, publish: Publish) -> SourceFailed | None:
        """Fetch a feed if it is due, and publish it if it is new. Returns what has failed."""
        place = seen.places[feed.id]
        if not place.due:
            return None
        try:
            answer = web.get(feed.url, self.most, place.mark)
            self._take(answer, feed, place, seen, publish)
        except TooLarge as error:
            place.due = 0  # it will not be smaller before it changes
            return SourceFailed(str(error))
        except SourceFailed as error:
            return error
        finally:
            breathe()
        return None

    def _take(self, answer: Answer, feed: Feed, place: Place, seen: Seen, publish: Publish) -> None:
        self._check(answer, feed)
        first, new = place.due > 1, answer.status == 200 and answer.mark != place.mark
        # An ETag that is the update-id is another comet's. Without any, a page may look new each time.
        settled = new and (not answer.has_etag or answer.mark.strip('W/"') == place.told)
        after = Place(place.told, answer.mark if new else place.mark, int(first and not settled))
        seen.places[feed.id] = after
        if not new:
            return
        key = f"{feed.id}:{place.told}" if first else f"{feed.id}:{place.told}:{answer.mark}"
        data, media_type = _typed(answer)
        try:
            publish([Update(feed.channel, data, media_type, self.event, _key(key))], str(seen))
        except BaseException:
            seen.places[feed.id] = place
            raise

    def _check(self, answer: Answer, feed: Feed) -> None:
        """Raise SourceFailed where the feed can't be had; say once what somebody may want to know."""
        if answer.status in _GONE:
            self._tell(feed, f"{shown(feed.url)} has nothing now ({answer.status})")
        elif answer.status not in (200, 304):
            raise SourceFailed(f"{shown(feed.url)} answers {answer.status}.")
        named = answer.headers.get("X-SUP-ID", "").partition("#")[2]
        if named and named != feed.id:
            self._tell(feed, f"{shown(feed.url)} says that its SUP-ID is {named[:40]!r}, not {feed.id!r}")

    def _tell(self, feed: Feed, text: str) -> None:
        if feed.id not in self._told:
            self._told.add(feed.id)
            log.warning("comet: the trigger %s: %s", self.name, text)


def _typed(answer: Answer) -> tuple[bytes, str]:
    """The body and its media type. Text is utf-8 here, whatever it was there."""
    media_type = answer.headers.get("Content-Type") or BINARY
    try:
        check_type(media_type)
        found = re.search(r'(?i)^text/.*charset="?([\w.:-]+)', media_type)
        charset = codecs.lookup(found[1]).name if found else "utf-8"
        if not found or charset in ("utf-8", "ascii"):
            return answer.body, media_type
        if not re.match(_CHARSETS, charset):
            return answer.body, BINARY
        text = answer.body.decode(found[1], "replace")
        return text.encode(), media_type[: found.start(1)] + "utf-8" + media_type[found.end(1) :]
    except (BadRequest, LookupError, ValueError):
        return answer.body, BINARY


def _key(text: str) -> str:
    return text if re.fullmatch(r"[\x20-\x7e]{1,128}", text) else sha256(text.encode()).hexdigest()
