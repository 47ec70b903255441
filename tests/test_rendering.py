"""Rendering: what a template and a function make of updates, and a sentence for what goes wrong in them."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import gevent
import pytest

from comet.core.errors import SettingsError, SourceFailed
from comet.core.update import Update
from comet.rendering import Called, Templated, context


ROW = {"id": 7, "name": "<b>"}

#: What an update carries, and what a template knows of it.
CONTEXTS = [
    (ROW, {"data": ROW, "row": ROW, "before": None, "rows": []}),
    ([ROW], {"data": [ROW], "row": None, "before": None, "rows": [ROW]}),
    ({"row": ROW, "before": None}, {"data": {"row": ROW, "before": None}, "row": ROW, "before": None, "rows": []}),
    ({"row": None, "before": ROW}, {"data": {"row": None, "before": ROW}, "row": None, "before": ROW, "rows": []}),
    ({"row": 1, "other": 2}, {"data": {"row": 1, "other": 2}, "row": {"row": 1, "other": 2}, "before": None}),
    (5, {"data": 5, "row": None, "before": None, "rows": []}),
    ("text", {"data": "text", "row": None}),
    ("[1]", {"data": "[1]", "rows": []}),
    (b"\xff", {"data": b"\xff"}),
]


def templated(folder: Path, source: str, value: object = "x", **options: str) -> Update:
    (folder / "t.html").write_text(source)
    return Templated("t.html", [folder])(Update.of("a", value, **options))


def test_others_run_while_a_large_template_is_filled(tmp_path: Path) -> None:
    """A snapshot may have thousands of rows."""
    turns: list[int] = []

    def beside() -> None:
        while True:
            turns.append(1)
            gevent.sleep(0.0001)

    running = gevent.spawn(beside)
    update = templated(tmp_path, "{% for row in rows %}{{ row.id }}{{ row.name }} {% endfor %}", [ROW] * 10_000)
    running.kill()
    assert update.text == "7&lt;b&gt; " * 10_000
    assert len(turns) > 3


@pytest.mark.parametrize(("value", "known"), CONTEXTS)
def test_what_a_template_knows(value: object, known: dict[str, object]) -> None:
    """JSON as what it says, text as text, and rows under names of their own."""
    found = context(Update.of("a", value, event="added"))
    assert {name: found[name] for name in known} == known
    assert (found["channel"], found["event"]) == ("a", "added")
    assert abs((found["time"] - datetime.now().astimezone()).total_seconds()) < 60


@pytest.mark.parametrize(
    ("media_type", "data"),
    [
        ("application/json; charset=utf-8", [1]),
        ("application/ld+json", [1]),
        ("Application/JSON", [1]),
        ("text/plain", "[1]"),
    ],
)
def test_what_is_json(media_type: str, data: object) -> None:
    """What the media type says; the rest is text."""
    assert context(Update.of("a", "[1]", type=media_type))["data"] == data


def test_json_that_is_none(tmp_path: Path) -> None:
    """It is shown as the text that it is."""
    assert templated(tmp_path, "{{ data }}", "{", type="application/json").data == b"{"


def test_a_template_makes_html(tmp_path: Path) -> None:
    """What was published before goes in escaped; event and key stay."""
    update = templated(tmp_path, "<li>{{ row.name }}</li>", ROW, event="added", key="7:1")
    assert update.data == b"<li>&lt;b&gt;</li>"
    assert (update.channel, update.type, update.event, update.key) == ("a", "text/html; charset=utf-8", "added", "7:1")


def test_whatever_the_template_is_called_it_is_escaped(tmp_path: Path) -> None:
    """Also where its name does not end in .html."""
    (tmp_path / "t.txt").write_text("{{ data }}")
    assert Templated("t.txt", [tmp_path])(Update.of("a", "<b>")).data == b"&lt;b&gt;"


def test_a_template_that_is_changed(tmp_path: Path) -> None:
    """The next update is rendered by the new one."""
    file = tmp_path / "t.html"
    file.write_text("old")
    render = Templated("t.html", [tmp_path])
    assert render(Update.of("a", "")).data == b"old"
    file.write_text("{{ broken")
    with pytest.raises(SourceFailed, match=r"^the template t.html, line 1: TemplateSyntaxError: "):
        render(Update.of("a", ""))
    file.write_text("and new")
    assert render(Update.of("a", "")).data == b"and new"


def test_folders_in_their_order(tmp_path: Path) -> None:
    """The first that has the template, and templates include others from all of them."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "t.html").write_text(f"{name} {{% include 'part.html' %}}")
    (tmp_path / "two" / "part.html").write_text("part")
    assert Templated("t.html", [tmp_path / "one", tmp_path / "two"])(Update.of("a", "")).data == b"one part"


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("\n\n{{ row.name.first }}", "the template t.html, line 3: UndefinedError: "),
        ("{{ 1 / 0 }}", "the template t.html, line 1: ZeroDivisionError: division by zero."),
        ("\n{% include 'other.html' %}", "the template t.html, line 2: TemplateNotFound: 'other.html'"),
        ("{{ data.decode }}\n{{ data + 5 }}", "the template t.html, line 2: TypeError: "),
    ],
)
def test_an_error_in_a_template(tmp_path: Path, source: str, told: str) -> None:
    """One sentence with its place."""
    with pytest.raises(SourceFailed) as caught:
        templated(tmp_path, source)
    assert str(caught.value).startswith(told)
    assert "\n" not in str(caught.value)


def test_an_error_in_a_template_that_is_included(tmp_path: Path) -> None:
    """The line is that of the innermost."""
    (tmp_path / "part.html").write_text("\n\n\n\n{{ 1 / 0 }}")
    with pytest.raises(SourceFailed, match=r"part\.html, line 5: ZeroDivisionError: division by zero\.$"):
        templated(tmp_path, "{% include 'part.html' %}")


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (None, r"the template 't\.html' is in none of these folders: /.*one, /.*two\.$"),
        ("\n{% for %}", r"^the template t\.html, line 2: TemplateSyntaxError: .*[^.]\.$"),
        ("{% nothing %}", r"^the template t\.html, line 1: TemplateSyntaxError: .*'nothing'"),
        (b"\xff", r"^the template t\.html: UnicodeDecodeError: "),
    ],
)
def test_a_template_that_is_none(tmp_path: Path, source: str | bytes | None, told: str) -> None:
    """It is told at the start."""
    (tmp_path / "one").mkdir()
    if source is not None:
        (tmp_path / "one" / "t.html").write_bytes(source if isinstance(source, bytes) else source.encode())
    with pytest.raises(SettingsError, match=told) as caught:
        Templated("t.html", [tmp_path / "one", tmp_path / "two"])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("é", Update("a", "é".encode(), event="added", key="k")),
        (b"\xff", Update("a", b"\xff", "application/octet-stream", "added", "k")),
        ([1], Update("a", b"[1]", "application/json", "added", "k")),
        (Update("b", b"x", "text/html", "other"), Update("b", b"x", "text/html", "other", "k")),
        (Update("b", b"x", key="mine"), Update("b", b"x", key="mine")),
    ],
)
def test_what_a_function_makes(value: object, expected: Update) -> None:
    """It is given the update; what it returns is published, with the key, so that nothing is published twice."""
    given: list[Update] = []
    update = Update.of("a", {"x": 1}, event="added", key="k")
    assert Called(lambda it: (given.append(it), value)[1], "m:f")(update) == expected
    assert given == [update]


@pytest.mark.parametrize(
    ("value", "told"), [(None, "m:f has returned None; it must return"), ({1}, "m:f: a set can't be published")]
)
def test_what_a_function_can_not_make(value: object, told: str) -> None:
    """One sentence with its name."""
    with pytest.raises(SourceFailed, match=told):
        Called(lambda update: value, "m:f")(Update.of("a", ""))
