"""Markup: may this HTML be put into a page that goes on after it?

A fragment that leaves something open (an element, a comment, a quote, ``<style>``) would swallow what follows.
Strategy: accept only what a small strict reader and every browser read alike, with each element closed where it was
opened. What is doubtful is refused, and its publisher sees it as text. This is not a sanitizer: scripts are kept
away by the response's Content-Security-Policy, not here.
"""

from __future__ import annotations

import re


_SPACE = r"[ \t\n\f\r]"
_ATTRIBUTE = rf"""{_SPACE}+[^ \t\n\f\r"'<>/=\0]+(?:{_SPACE}*={_SPACE}*(?:"[^"\0]*"|'[^'\0]*'|[^ \t\n\f\r"'<>=`\0]+))?"""
_START = re.compile(rf"<([A-Za-z][A-Za-z0-9-]*)(?:{_ATTRIBUTE})*{_SPACE}*(/?)>")
_END = re.compile(rf"</([A-Za-z][A-Za-z0-9-]*){_SPACE}*>")
_DOCTYPE = re.compile(rf"<!doctype{_SPACE}+[^<>\"']*>", re.IGNORECASE)
_COMMENT = re.compile(r"<!--(?!-?>)(.*?)-->", re.DOTALL)

_VOID = frozenset("area base br col embed hr img input link meta param source track wbr".split())
#: The content of these is not markup: it goes on to their own end tag.
_RAW = frozenset("iframe noembed noframes script style textarea title xmp".split())
#: No end, or an end that depends on the browser's settings.
_REFUSED = frozenset("plaintext noscript frameset frame template".split())
#: These end by themselves where their parent does.
_IMPLIED = frozenset("li p dt dd option optgroup tr td th thead tbody tfoot caption colgroup rp rt".split())
_FOREIGN = frozenset(("svg", "math"))


def is_closed(text: str) -> bool:
    """Whether the fragment leaves nothing open, in any browser's reading."""
    stack: list[str] = []
    place = 0
    while (place := text.find("<", place)) >= 0:
        if text.startswith("<!--", place):
            match = _COMMENT.match(text, place)
            # "--!>" ends a comment for some readers, "<!--" begins another for none: doubtful.
            if match is None or "--!" in match[1] or "<!--" in match[1]:
                return False
        elif match := _START.match(text, place):
            end = _open(text, match, stack)
            if end is None:
                return False
            place = end
            continue
        elif match := _END.match(text, place):
            if not _close(match[1].lower(), stack):
                return False
        elif not (match := _DOCTYPE.match(text, place)):
            if re.match(r"<[A-Za-z/!?]", text[place : place + 2]):
                return False
            place += 1  # a lone "<" is text
            continue
        place = match.end()
    return all(name in _IMPLIED for name in stack)


def _open(text: str, match: re.Match[str], stack: list[str]) -> int | None:
    """Open an element and return where its content begins (ends, if it is raw); None where it may not stand."""
    name, itself = match[1].lower(), match[2]
    foreign = not _FOREIGN.isdisjoint(stack)
    if name in _REFUSED:
        return None
    if name in _RAW and not (foreign and itself):
        return _skip_raw(text, name, match.end(), foreign)
    if name in _VOID or (itself and (foreign or name in _FOREIGN)):
        return match.end()
    stack.append(name)
    return match.end()


def _skip_raw(text: str, name: str, place: int, foreign: bool) -> int | None:
    match = re.compile(rf"</{name}{_SPACE}*>", re.IGNORECASE).search(text, place)
    if match is None:
        return None
    content = text[place : match.start()]
    # In SVG and MathML these are ordinary elements; a script with "<!--" has states of its own: doubtful.
    if "<" in content if foreign else "<!--" in content or f"</{name}" in content.lower():
        return None
    return match.end()


def _close(name: str, stack: list[str]) -> bool:
    while stack:
        top = stack.pop()
        if top == name:
            return True
        if top not in _IMPLIED:
            return False
    return False
