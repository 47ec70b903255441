"""Two HTML parsers that know nothing of comet: lexbor reads as browsers do today, tinyhtml5 as they did before 2025
(another ``<select>``, no ``<template>``)."""

from __future__ import annotations

from typing import Any

import tinyhtml5
from selectolax.lexbor import LexborHTMLParser


_XHTML = "{http://www.w3.org/1999/xhtml}"


def after(page: str, id: str) -> tuple[Any, Any]:
    """What each parser finds in the body after the element with this id, as a tree; None if it is not in the body."""
    return _after(_lexbor(page), id), _after(_tinyhtml5(page), id)


def elements(page: str, name: str) -> list[Any]:
    """The elements of this name, as lexbor sees them."""
    return list(LexborHTMLParser(page).css(name))


def _after(nodes: list[Any], id: str) -> list[Any] | None:
    for place, node in enumerate(nodes):
        if not isinstance(node, str) and ("id", id) in node[1]:
            return nodes[place + 1 :]
    return None


def _lexbor(page: str) -> list[Any]:
    body = LexborHTMLParser(page).body
    assert body is not None
    return _children(body)


def _children(node: Any) -> list[Any]:
    found, child = [], node.child
    while child is not None:
        if child.tag.startswith("-"):
            found.append(str(child.html))
        else:
            found.append((child.tag, frozenset(child.attributes.items()), _children(child)))
        child = child.next
    return found


def _tinyhtml5(page: str) -> list[Any]:
    return _nodes(tinyhtml5.parse(page).find(f"{_XHTML}body"))


def _nodes(element: Any) -> list[Any]:
    found = [element.text or ""]
    for child in element:
        found += [(child.tag, frozenset(child.attrib.items()), _nodes(child)), child.tail or ""]
    return found
