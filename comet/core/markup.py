"""Markup: may this HTML be put into a page that goes on after it?

A fragment that leaves something open (an element, a comment, a quote, ``<style>``) would swallow what follows.
Strategy: read it strictly, with a stack of open elements, and accept it only while that stack is sure to be the one
that every browser has: no tag that a browser would ignore, move, or take as the end of something else. What is
doubtful is refused, and its publisher sees it as text. This is not a sanitizer: scripts are kept away by the
response's Content-Security-Policy, not here.
"""

from __future__ import annotations

import re


_SPACE = r"[ \t\n\f\r]"
_ATTRIBUTE = rf"""{_SPACE}+[^ \t\n\f\r"'<>/=\0]+(?:{_SPACE}*={_SPACE}*(?:"[^"\0]*"|'[^'\0]*'|[^ \t\n\f\r"'<>=`\0]+))?"""
#: Any other "<" is text.
_TAG = re.compile(r"<[A-Za-z/!?]")
_START = re.compile(rf"<([A-Za-z][A-Za-z0-9-]*)(?:{_ATTRIBUTE})*{_SPACE}*(/?)>")
_END = re.compile(rf"</([A-Za-z][A-Za-z0-9-]*){_SPACE}*>")
_DOCTYPE = re.compile(rf"<!doctype{_SPACE}+[^<>\"']*>", re.IGNORECASE)
_COMMENT = re.compile(r"<!--(?!-?>)(.*?)-->", re.DOTALL)

#: Browsers cut trees at about 500.
_DEEPEST = 100


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_VOID = _names("area base br col embed hr img input link meta param source track wbr")
#: The content of these is not markup: it goes on to their own end tag.
_RAW = _names("iframe noembed noframes script style textarea title xmp")
#: No end, an end that depends on the browser's settings, or a name that means something only inside an <svg>.
_REFUSED = _names("plaintext noscript frameset frame template foreignobject")
#: A browser is inside of them already, and drops their tags.
_DOCUMENT = _names("html head body")

_HEADINGS = _names("h1 h2 h3 h4 h5 h6")
#: A <p> that is open ends where one of these begins,
_BLOCKS = _HEADINGS | _names(
    "address article aside blockquote center dd details dialog dir div dl dt fieldset figcaption figure footer form "
    "header hgroup hr li listing main menu nav ol p pre section summary table ul xmp"
)
#: seen from inside these it is not open,
_ISLANDS = _names("applet button caption foreignobject marquee object td th")
#: and it ends with the end of these. In anything else it keeps their end tag from being seen.
_AROUND_P = (_BLOCKS | _ISLANDS | _names("tbody tfoot thead tr")) - {"foreignobject"}

_ROWS = _names("tbody thead tfoot")
_IN_ROWS = _names("p td th tr caption colgroup")
#: Their end tag may be left out: (what ends where they begin, what they must then be in; "" is the fragment itself).
_IMPLIED: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    "li": (_names("p li"), _names("ul ol menu") | {""}),
    "dt": (_names("p dt dd"), _names("dl")),
    "dd": (_names("p dt dd"), _names("dl")),
    "option": (_names("option"), _names("select optgroup datalist")),
    "optgroup": (_names("option optgroup"), _names("select")),
    "rt": (_names("rt rp"), _names("ruby")),
    "rp": (_names("rt rp"), _names("ruby")),
    "caption": (_names("colgroup"), _names("table")),
    "colgroup": (_names("p caption colgroup"), _names("table")),
    **dict.fromkeys(_ROWS, (_IN_ROWS | _ROWS, _names("table"))),
    "tr": (_IN_ROWS, _ROWS | {"table"}),
    "td": (_names("p td th"), _ROWS | {"table", "tr"}),
    "th": (_names("p td th"), _ROWS | {"table", "tr"}),
}
#: These take nothing but their own parts: browsers move or drop the rest.
_STRICT = _ROWS | _names("table tr colgroup select optgroup option")
_PARTS = {("table", "col"), ("colgroup", "col")} | {(outer, "style") for outer in (*_ROWS, "table", "tr")}
#: One in another ends it, or is ignored.
_NEVER_NESTED = _names("a button form nobr select")

#: In an <svg> or <math> these end it.
_BREAK_OUT = _HEADINGS | _names(
    "b big blockquote body br center code dd div dl dt em embed font head hr i img li listing menu meta nobr ol p pre "
    "ruby s small span strike strong sub sup table tt u ul var"
)
#: One in the other has other rules than its name says.
_ALIEN = {"svg": _names("math"), "math": _names("svg math foreignobject annotation-xml")}
#: What is in these may be HTML again: text alone is the same in both.
_TEXT_ONLY = _RAW | _names("desc mi mn mo ms mtext")


def is_closed(text: str) -> bool:
    """Whether the fragment leaves nothing open, in any browser's reading."""
    stack: list[str] = []
    place = 0
    while begin := _TAG.search(text, place):
        end = _read(text, begin.start(), stack)
        if end is None or len(stack) > _DEEPEST:
            return False
        place = end
    return _may_end(stack)


def _read(text: str, place: int, stack: list[str]) -> int | None:
    """Read a tag, a comment or a doctype, and return where it ends; None where that is doubtful."""
    if text.startswith("<!--", place):
        match = _COMMENT.match(text, place)
        # "--!>" ends a comment for some readers, "<!--" begins another for none: doubtful.
        return None if match is None or "--!" in match[1] or "<!--" in match[1] else match.end()
    if match := _START.match(text, place):
        return _open(text, match, stack)
    if match := _END.match(text, place):
        return match.end() if _close(match[1].lower(), stack) else None
    match = _DOCTYPE.match(text, place)
    return match.end() if match else None


def _around(stack: list[str]) -> str:
    """Whose rules hold here: ``svg``, ``math``, or ``html``."""
    for name in reversed(stack):
        if name in _ALIEN:
            return name
        if name == "foreignobject":
            break
    return "html"


def _open(text: str, match: re.Match[str], stack: list[str]) -> int | None:
    """Open an element and return where its content begins (ends, if it is raw); None where it may not stand."""
    name, itself, around = match[1].lower(), bool(match[2]), _around(stack)
    if around != "html":
        if name in _BREAK_OUT or name in _ALIEN[around]:
            return None
        if name in _TEXT_ONLY and not itself:
            return _skip_raw(text, name, match.end(), markup=True)
        return _push(name, match.end(), stack, empty=itself)
    if name in _DOCUMENT:
        return None if stack else match.end()
    if name in _REFUSED or not _may_stand(name, stack):
        return None
    if name in _RAW:
        return _skip_raw(text, name, match.end(), markup=False)
    return _push(name, match.end(), stack, empty=name in _VOID or (itself and name in _ALIEN))


def _push(name: str, place: int, stack: list[str], *, empty: bool) -> int:
    if not empty:
        stack.append(name)
    return place


def _may_stand(name: str, stack: list[str]) -> bool:
    """End what ends where this element begins; then whether it may stand there."""
    if name in _IMPLIED:
        ends, parents = _IMPLIED[name]
        while stack and stack[-1] in ends:
            stack.pop()
        if (stack[-1] if stack else "") not in parents:
            return False
    else:
        if name in _BLOCKS and stack and stack[-1] == "p":
            stack.pop()
        if stack and stack[-1] in _STRICT and (stack[-1], name) not in _PARTS:
            return False
        if stack and name in _HEADINGS and stack[-1] in _HEADINGS:
            return False
    return not (name in _BLOCKS and _in_p(stack)) and not (name in _NEVER_NESTED and name in stack)


def _in_p(stack: list[str]) -> bool:
    for name in reversed(stack):
        if name == "p":
            return True
        if name in _ISLANDS:
            break
    return False


def _skip_raw(text: str, name: str, place: int, *, markup: bool) -> int | None:
    # ASCII: to Python alone a "ſ" is an "s" too.
    match = re.compile(rf"</{name}{_SPACE}*>", re.IGNORECASE | re.ASCII).search(text, place)
    if match is None:
        return None
    content = text[place : match.start()]
    # Where it is markup after all, it must have none. A script with "<!--" has states of its own: doubtful.
    if "<" in content if markup else "<!--" in content or f"</{name}" in content.lower():
        return None
    return match.end()


def _close(name: str, stack: list[str]) -> bool:
    """Close an element, and what may be left open in it; False where a browser would do something else."""
    if name in _DOCUMENT:
        return _may_end(stack)
    if name == "p" and not _in_p(stack) and _around(stack) == "html":
        # One too many, after a block has ended the <p>: it makes an empty one.
        return not stack or stack[-1] not in _STRICT
    for place in reversed(range(len(stack))):
        if stack[place] == name:
            del stack[place:]
            return True
        if not (name in _AROUND_P if stack[place] == "p" else stack[place] in _IMPLIED):
            break
    return False


def _may_end(stack: list[str]) -> bool:
    return all(name == "p" or name in _IMPLIED for name in stack)
