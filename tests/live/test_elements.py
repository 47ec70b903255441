"""Live elements, in Firefox and in Chromium: what a page shows that has two scripts and none of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.live.browsers import Browser, rows_of
from tests.live.modules import source
from tests.live.server import Server
from tests.live.sites import Site
from tests.timing import until


pytestmark = pytest.mark.browser

HTML = "text/html; charset=utf-8"
JSON = "application/json"
MODES = ("morph", "replace", "append", "prepend")


@pytest.fixture(scope="module")
def server(site: Site) -> Iterator[Server]:
    with Server(allowed_origins=site.origin, history=20_000, history_bytes=8_000_000, heartbeat=1) as running:
        yield running


def live(browser: Browser, site: Site, server: Server, body: str, *, head: str = "", settings: str = "") -> None:
    """Open a page, on a site of its own, with the two scripts before its body; return when all of it is live."""
    scripts = "".join(
        f'<script src="{server.url}/{name}.js" {settings}></script>' for name in ("comet", "comet-elements")
    )
    browser.open(site.page(f"{head}{scripts}{body}"))
    until(lambda: browser.run(ALL_LIVE), what="all is live")


ALL_LIVE = """
const all = [...document.querySelectorAll("comet-view, [data-comet]")];
return document.readyState === "complete" && all.every((each) => each.dataset.cometState === "live");
"""


def value(browser: Browser, expression: str) -> Any:
    return browser.run(f"return {expression}")


def shown(browser: Browser, id: str) -> Any:
    return browser.run("return document.getElementById(arguments[0]).innerHTML", id)


def test_text_html_and_pictures_are_shown_as_they_come(
    server: Server, browser: Browser, site: Site, channel: str
) -> None:
    """An element shows the newest at once, and each that follows, as what it is; two elements share a subscription."""
    server.publish(channel, "<b>not bold</b>")
    live(
        browser,
        site,
        server,
        f'<comet-view id=one channel="{channel}">nothing yet</comet-view><p id=two data-comet="{channel}">nothing yet',
    )
    until(lambda: shown(browser, "one") == shown(browser, "two") == "&lt;b&gt;not bold&lt;/b&gt;")
    server.publish(channel, "<b>bold</b>", HTML)
    until(lambda: shown(browser, "one") == shown(browser, "two") == "<b>bold</b>")
    sides = 'width="400" height="400"'
    server.publish(
        channel,
        f'<svg xmlns="http://www.w3.org/2000/svg" {sides}><rect {sides} fill="#10a030"/></svg>',
        "image/svg+xml",
    )
    until(lambda: rows_of(browser.picture("one"), "#10a030"))
    server.publish(channel, b"\0\xff", "application/octet-stream")
    server.publish(channel, "last")
    until(lambda: shown(browser, "two") == "last")
    assert server.get(f"/channels/{channel}/info").json()["subscribers"] == 1
    assert value(browser, "one.getAttribute('aria-live')") == "polite"


TYPING = """
const [id, words, caret] = arguments;
const field = document.getElementById(id);
field.focus();
field.setSelectionRange(caret, caret);
"""


@pytest.mark.parametrize("library", ["", "idiomorph"])
def test_what_is_typed_survives_a_hundred_morphs(
    server: Server, browser: Browser, site: Site, channel: str, library: str
) -> None:
    """Letters in two fields, the caret, the focus and how far it is scrolled stay while everything around changes."""
    head = f"<script>{source('idiomorph/dist/idiomorph.min.js')}</script>" if library else ""

    def html(number: int) -> str:
        rows = "".join(f"<li>{row}</li>" for row in range(number, number + 50))
        return (
            f"<h2 class=n{number}>{number}</h2><form><input id=first value=''><input id=second value='v{number}'>"
            f"<textarea id=third>{number}</textarea><input type=checkbox id=fourth></form>"
            f"<div id=inner style='height:60px;overflow:auto'><ul>{rows}</ul></div><p style='height:2000px'>"
        )

    server.publish(channel, html(0), HTML)
    live(
        browser,
        site,
        server,
        f'<div id=box data-comet="{channel}" style="height:300px;overflow:auto"></div>',
        head=head,
    )
    browser.find("second").send_keys(" typed")
    browser.find("third").send_keys("typed ")
    browser.find("fourth").click()
    browser.find("first").send_keys("abcdef")
    browser.run("first.setSelectionRange(2, 4); box.scrollTop = 20; inner.scrollTop = 333")
    server.publish_all(channel, [html(number) for number in range(1, 101)], HTML)
    until(lambda: value(browser, "document.querySelector('.n100')"))
    assert value(browser, "[first.value, third.value, fourth.checked]") == ["abcdef", "0typed ", True]
    assert value(browser, "second.value").startswith("v0") and value(browser, "second.value").endswith("typed")
    assert value(browser, "[document.activeElement.id, first.selectionStart, first.selectionEnd]") == ["first", 2, 4]
    assert value(browser, "[box.scrollTop, inner.scrollTop]") == [20, 333]
    assert value(browser, "inner.textContent").startswith("100101")
    browser.find("first").send_keys("X")
    assert value(browser, "first.value") == "abXef"


@pytest.mark.parametrize(("mode", "kept"), [("append", ["9998", "9999"]), ("prepend", ["9999", "9998"])])
def test_a_list_does_not_grow_beyond_its_cap(
    server: Server, browser: Browser, site: Site, channel: str, mode: str, kept: list[str]
) -> None:
    """Of ten thousand updates, of which each came, the page holds as many as it wants."""
    count = "<script>window.count = 0; addEventListener('comet:update', () => count++)</script>"
    live(
        browser,
        site,
        server,
        f'<ul id=list data-comet="{channel}" data-comet-mode={mode} data-comet-max=100></ul>',
        head=count,
    )
    for first in range(0, 10_000, 1000):
        server.publish_all(channel, [str(number) for number in range(first, first + 1000)])
    until(lambda: value(browser, "count") == 10_000, seconds=30, what="all have come")
    numbers = value(browser, "[...list.children].map((each) => each.outerHTML)")
    assert len(numbers) == 100
    ends = numbers[-2:] if mode == "append" else numbers[:2]
    assert ends == [f"<li>{number}</li>" for number in kept]
    assert value(browser, "document.querySelectorAll('*').length") < 150


def test_json_goes_into_a_template(server: Server, browser: Browser, site: Site, channel: str) -> None:
    """An object fills it, a list fills it once for each item; a field that is not there is empty; all of it is text."""
    rows = (
        f'<table><tbody id=rows data-comet="{channel}"><template><tr><td data-field="name"></td>'
        '<td data-field="at.city"></td><td data-field=""></td></tr></template></tbody></table>'
        f'<p id=events data-comet="{channel}">as it was</p>'
    )
    heard = "addEventListener('comet:update', (event) => window.heard = [event.target.id, event.detail.data])"
    live(browser, site, server, rows, head=f"<script>{heard}</script>")
    people = [{"name": "<b>A</b>", "at": {"city": "X"}}, {"name": 0, "at": None}]
    server.publish(channel, json.dumps(people), JSON)
    until(lambda: value(browser, "rows.rows.length") == 2)
    cells = value(browser, "[...rows.rows].map((row) => [...row.cells].map((cell) => cell.textContent))")
    assert [row[:2] for row in cells] == [["<b>A</b>", "X"], ["0", ""]]
    assert [json.loads(row[2]) for row in cells] == people
    server.publish(channel, '{"name": "alone"}', JSON)
    until(lambda: value(browser, "rows.rows.length") == 1 and value(browser, "rows.textContent").startswith("alone"))
    server.publish(channel, "{not json", JSON)
    server.publish(channel, '["after"]', "application/vnd.example+json")
    until(lambda: value(browser, "rows.textContent") == '"after"' or value(browser, "rows.textContent") == "after")
    assert shown(browser, "events") == "as it was"
    assert value(browser, "heard") == ["events", '["after"]']


#: What must not run, whatever becomes of it. It says so by window.pwned.
HOSTILE = (
    "<script>pwned=1</script>",
    "</script><script>pwned=1</script>",
    "<img src=x onerror=pwned=1>",
    "<svg onload=pwned=1><script>pwned=1</script><animate onbegin=pwned=1 attributeName=x dur=1s /></svg>",
    "<svg><a xlink:href='javascript:pwned=1'><text y=20 class=click>a</text></a></svg>",
    "<svg><a href='javascript:pwned=1'><text y=20 class=click>a</text></a></svg>",
    "<svg><a><animate attributeName=href values='javascript:pwned=1' /><text y=20 class=click>a</text></a></svg>",
    '<svg><use href=\'data:image/svg+xml,<svg xmlns="http://www.w3.org/2000/svg" id="x" onload="pwned=1"/>#x\'></svg>',
    "<svg><foreignObject><iframe srcdoc='<script>parent.pwned=1</script>'></iframe></foreignObject></svg>",
    "<math><mi xlink:href='javascript:pwned=1' class=click>a</mi></math>",
    '<math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img src=x onerror=pwned=1&gt;">',
    "<form><math><mtext></form><form><mglyph><style></math><img src onerror=pwned=1>",
    "<noscript><p title='</noscript><img src=x onerror=pwned=1>'>",
    "<template><img src=x onerror=pwned=1></template>",
    "<div><template shadowrootmode=open><img src=x onerror=pwned=1></template></div>",
    "<iframe src='javascript:parent.pwned=1'></iframe><iframe srcdoc='<script>parent.pwned=1</script>'></iframe>",
    "<object data='javascript:pwned=1'></object><embed src='javascript:pwned=1'>",
    "<a class=click href='javascript:pwned=1'>a</a>",
    "<a class=click href=' \x01java\nscript\t:pwned=1'>a</a>",
    "<a class=click href='JaVaScRiPt&colon;pwned=1'>a</a>",
    "<a class=click target=_self href='data:text/html,<script>opener.pwned=1</script>'>a</a>",
    "<form action='javascript:pwned=1'><button class=click>a</button></form>",
    "<form><button class=click formaction='javascript:pwned=1'>a</button></form>",
    "<form id=f><input name=attributes><input name=localName><input name=remove></form>"
    "<form onclick=pwned=1><input name=attributes><input class=click name=getAttribute></form>",
    "<form action='javascript:pwned=1'><input name=action><input name=querySelectorAll>"
    "<button class=click>a</button></form>",
    "<form id=outer></form><button form=outer class=click formaction='javascript:pwned=1'>a</button>",
    "<details open ontoggle=pwned=1>a</details><input autofocus onfocus=pwned=1>",
    "<body onload=pwned=1><video onerror=pwned=1><source src=x></video><audio src=x onerror=pwned=1>",
    "<p style='animation:x' onanimationstart=pwned=1>a</p><style>@keyframes x{}</style>",
    "<base href='javascript:/'><meta http-equiv=refresh content='0;url=javascript:pwned=1'>",
    "<link rel=stylesheet href=x onerror=pwned=1>",
    "<button is=x-evil class=click data-action=evil hx-on:click=pwned=1 @click=pwned=1 x-on:click=pwned=1>a</button>",
    "<x-evil></x-evil><comet-view channel=evil></comet-view><p data-comet=evil>",
    "<marquee onstart=pwned=1>a</marquee><xmp><img src=x onerror=pwned=1></xmp>",
    "<select><style></select><img src=x onerror=pwned=1></style>",
    "<table><td background='javascript:pwned=1'><caption><style><img title='</style><img src=x onerror=pwned=1>'>",
    "<img name=body><img name=cookie><img name=comet id=currentScript>",
)

#: Elements of the page's own, which what is published must not get hold of; and somebody who clicks at whatever comes,
#: and notes what should not be there, and all texts that were shown.
WATCHED = r"""<script>
addEventListener("submit", (event) => event.preventDefault());
customElements.define("x-evil", class extends HTMLElement { connectedCallback() { window.pwned = 2; } });
customElements.define("x-button", class extends HTMLButtonElement {}, {extends: "button"});
var found = [], texts = {};
const refused = "script iframe object embed style link meta base template comet-view x-evil foreignObject animate use";
const isBad = (each) => refused.split(" ").includes(each.localName) ||
  Element.prototype.getAttributeNames.call(each).some((name) =>
    /^on|^data-(?!field)|:|@|^is$|formaction/.test(name) ||
    /^(href|action)$/.test(name) && /script|^data/i.test(Element.prototype.getAttribute.call(each, name)));
function watch(box) {
  new MutationObserver(() => {
    texts[box.id] = (texts[box.id] || "") + box.textContent;
    for (const each of box.querySelectorAll("*")) {
      if (isBad(each)) found.push(each.outerHTML);
      if (each.matches(".click")) each.dispatchEvent(new MouseEvent("click", {bubbles: true, cancelable: true}));
    }
  }).observe(box, {characterData: true, childList: true, subtree: true});
}
addEventListener("DOMContentLoaded", () => document.querySelectorAll(".watched").forEach(watch));
</script>"""


def test_hostile_html_runs_nothing(server: Server, browser: Browser, site: Site, channel: str) -> None:
    """Whatever HTML is published, in each mode: no script, no handler, no address that is one, no element of others."""
    boxes = "".join(f'<div id={mode} class=watched data-comet="{channel}" mode={mode}></div>' for mode in MODES)
    live(browser, site, server, boxes, head=WATCHED)
    server.publish_all(channel, [*HOSTILE, "<p id=end>and it goes on</p>"], HTML)
    until(lambda: all(value(browser, f"(texts.{mode} || '').includes('goes on')") for mode in MODES))
    until(lambda: value(browser, "[...document.images].every((image) => image.complete)"))
    assert value(browser, "found") == []
    assert value(browser, "window.pwned") is None
    page = "[document.body.localName, typeof document.cookie, typeof comet.subscribe, document.currentScript]"
    assert value(browser, page) == ["body", "string", "function", None]
    assert server.get("/channels/evil/info").status_code == 404
    assert all(">and it goes on</p>" in shown(browser, mode) for mode in MODES)


def test_hostile_text_stays_text(server: Server, browser: Browser, site: Site, channel: str) -> None:
    """What is published as text, what an element wants as text, and the fields of JSON: not one element comes of it."""
    kinds = {
        "text": ("", "", HOSTILE, "text/plain; charset=utf-8"),
        "html": ("as=text", "", HOSTILE, HTML),
        "json": ("", "<template><p data-field=a></p></template>", [json.dumps({"a": html}) for html in HOSTILE], JSON),
    }
    live(
        browser,
        site,
        server,
        "".join(
            f'<div id={kind}-{mode} class=watched data-comet="{channel}.{kind}" mode={mode} {how}>{inside}</div>'
            for kind, (how, inside, _, _) in kinds.items()
            for mode in MODES
        ),
        head=WATCHED,
    )
    for kind, (_, _, datas, type) in kinds.items():
        server.publish_all(f"{channel}.{kind}", list(datas), type)
    for kind in kinds:
        for mode in MODES:
            text = f"texts['{kind}-{mode}'] || ''"
            until(lambda: HOSTILE[-1] in value(browser, text), what=f"{kind} {mode}")  # noqa: B023
            all_of_it = value(browser, text)
            assert [html for html in HOSTILE if html not in all_of_it] == [], f"{kind} {mode}"
    assert value(browser, "found") == []
    assert value(browser, "window.pwned") is None
    names = "[...document.querySelectorAll('.watched *')].map((each) => each.localName)"
    assert set(value(browser, names)) == {"div", "p"}


def test_elements_that_come_and_go(server: Server, browser: Browser, site: Site, channel: str) -> None:
    """One that comes is live at once, in a shadow tree too; with the last of a channel its subscription goes."""
    other = f"{channel}.other"

    def subscribers(name: str) -> Any:
        return server.get(f"/channels/{name}/info").json().get("subscribers")

    server.publish(channel, "first")
    server.publish(other, "<b>other</b>", HTML)
    live(browser, site, server, f'<p id=old data-comet="{channel}"></p>')
    until(lambda: shown(browser, "old") == "first")
    browser.run(
        """
        const [channel, other] = arguments;
        old.insertAdjacentHTML("afterend", `<div id=host></div><p id=new data-comet="${channel}"></p>`);
        host.attachShadow({mode: "open"}).innerHTML = `<comet-view channel="${other}"></comet-view>`;
        """,
        channel,
        other,
    )
    until(lambda: shown(browser, "new") == "first")
    until(lambda: value(browser, "host.shadowRoot.firstChild.innerHTML") == "<b>other</b>")
    server.publish(other, "<i>more</i>", HTML)
    server.publish(channel, "second")
    until(lambda: value(browser, "host.shadowRoot.firstChild.innerHTML") == "<i>more</i>")
    until(lambda: shown(browser, "new") == shown(browser, "old") == "second")
    until(lambda: (subscribers(channel), subscribers(other)) == (1, 1))
    browser.run("host.remove(); old.remove()")
    until(lambda: (subscribers(channel), subscribers(other)) == (1, 0))
    server.publish(channel, "third")
    until(lambda: shown(browser, "new") == "third")
    browser.run("document.querySelector('[data-comet]').setAttribute('data-comet', arguments[0])", other)
    until(lambda: shown(browser, "new") == "<i>more</i>")
    until(lambda: (subscribers(channel), subscribers(other)) == (0, 1))
    browser.run("document.querySelector('[data-comet]').remove()")
    until(lambda: (subscribers(channel), subscribers(other)) == (0, 0))


ADD = """
const list = Object.assign(document.createElement("ul"), {id: arguments[0]});
for (const [name, value] of [["", arguments[1]], ["-mode", "append"], ["-max", "5000"]])
  list.setAttribute("data-comet" + name, value);
document.body.append(list);
"""


def test_nothing_is_lost_while_elements_come(server: Server, browser: Browser, site: Site, channel: str) -> None:
    """Lists that come one by one have all there was and all that is published meanwhile, once and in order."""
    names = [f"{channel}.{number}" for number in range(4)]
    live(browser, site, server, "<p>Lists:", settings="data-last=5000")
    for turn in range(40):
        if turn % 10 == 0:
            browser.run(ADD, f"list{turn // 10}", names[turn // 10])
        for name in names:
            server.publish_all(name, [str(number) for number in range(turn * 25, turn * 25 + 25)])
    all_of_them = (
        "return [...document.querySelectorAll('ul')].map((list) => [...list.children].map((it) => +it.textContent))"
    )
    until(lambda: all(len(numbers) >= 1000 for numbers in browser.run(all_of_them)))
    assert browser.run(all_of_them) == [list(range(1000))] * 4
    # A moment later they share one subscription, and go on.
    until(lambda: [server.get(f"/channels/{name}/info").json()["subscribers"] for name in names] == [1] * 4)
    for name in names:
        server.publish_all(name, ["1000"])
    until(lambda: all(len(numbers) >= 1001 for numbers in browser.run(all_of_them)))
    assert browser.run(all_of_them) == [list(range(1001))] * 4


def test_a_lost_connection_is_seen(browser: Browser, site: Site) -> None:
    """While the server is away what it has told is shown pale, unless the page says how; then it goes on."""
    with Server(allowed_origins=site.origin, heartbeat=1) as server:
        server.publish("news", "<div style='background:#10a030;height:300px'>old</div>", HTML)
        live(browser, site, server, '<comet-view id=box channel="news" role=status></comet-view>')
        until(lambda: rows_of(browser.picture(), "#10a030"))
        assert value(browser, "box.getAttribute('aria-live')") is None
        server.kill()
        until(lambda: value(browser, "box.dataset.cometState") in ("offline", "stale"), seconds=20)
        until(lambda: rows_of(browser.picture(), "#10a030") is None)
        assert value(browser, "getComputedStyle(box).opacity") == "0.5"
        browser.run(
            "const style = document.createElement('style'); style.textContent = 'comet-view {opacity: 1}';"
            "document.head.append(style)"
        )
        assert value(browser, "getComputedStyle(box).opacity") == "1"
        server.spawn()
        until(server.is_up, seconds=20)
        server.publish("news", "<div style='background:#1020e0;height:300px'>new</div>", HTML)
        until(lambda: rows_of(browser.picture(), "#1020e0"), seconds=20)
        assert value(browser, "box.dataset.cometState") == "live"
        browser.leave()
