"""Pages that subscribe by comet.js, in Firefox and in Chromium at once: each scene is played for both."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from tests.live.browsers import BROWSERS, Browser
from tests.timing import until


#: What a page notes; and what it shows of each update, one line each.
BEGIN = """
const [src, names, {tokens, ...options}] = arguments;
if (tokens) options.token = async () => tokens.shift();
Object.assign(window, {gaps: [], states: [], transports: [], sub: null, tokens});
const list = document.body.appendChild(document.createElement("pre"));
list.id = "list";
list.textContent = "";
const script = document.body.appendChild(document.createElement("script"));
script.src = src;
script.onload = () => {
  window.sub = comet.subscribe(names, {
    ...options,
    onupdate: (update) => list.append(update.data + "\\n"),
    ongap: (gap) => gaps.push(gap.reason),
    onstate: (state, info) => {
      states.push(state + (info.channel ? " " + info.channel : "") + (info.status ? " " + info.status : ""));
    },
  });
  const note = () => transports[transports.length - 1] === sub.transport || transports.push(sub.transport);
  note();
  setInterval(note, 50);
};
"""

LOOK = """
const list = document.getElementById("list");
return {
  lines: list ? list.textContent.split("\\n").slice(0, -1) : [],
  gaps: window.gaps, states: window.states, transports: window.transports, tokens: window.tokens?.length,
  state: window.sub?.state, transport: window.sub?.transport, cursor: window.sub?.cursor,
};
"""


class Page:
    """A page of comet's own origin, or of what stands before it, that has subscribed."""

    def __init__(self, browser: Browser, url: str, names: list[str], **options: Any) -> None:
        self.browser = browser
        browser.open(f"{url}/healthz")
        browser.run(BEGIN, f"{url}/comet.js", names, {"tabs": False, **options})

    def look(self) -> dict[str, Any]:
        return dict(self.browser.run(LOOK))

    def until(
        self, state: Callable[[dict[str, Any]], object], *, seconds: float = 30, what: str = ""
    ) -> dict[str, Any]:
        """Wait until what is seen on the page is so; return it."""
        seen: dict[str, Any] = {}

        def holds() -> object:
            seen.clear()
            seen.update(self.look())
            return state(seen)

        try:
            until(holds, seconds=seconds)
        except AssertionError as error:
            short = {**seen, "lines": f"{len(seen['lines'])}: {seen['lines'][-3:]}"}
            raise AssertionError(f"{self.browser.name}, {what}: {short}") from error
        return seen

    def close(self) -> None:
        self.browser.leave()


class Tab(Page):
    """A page in a tab of its own, which shares its connection with the others."""

    def __init__(self, browser: Browser, url: str, names: list[str], **options: Any) -> None:
        browser.driver.switch_to.new_window("tab")
        self.handle = browser.driver.current_window_handle
        super().__init__(browser, url, names, **{"tabs": True, **options})

    def look(self) -> dict[str, Any]:
        self.browser.driver.switch_to.window(self.handle)
        return super().look()

    def close(self) -> None:
        """The first window of the browser stays."""
        self.browser.driver.switch_to.window(self.handle)
        self.browser.driver.close()
        self.browser.driver.switch_to.window(self.browser.driver.window_handles[0])


@contextmanager
def both() -> Iterator[list[Browser]]:
    with ExitStack() as stack:
        yield [stack.enter_context(browser()) for browser in BROWSERS.values()]
