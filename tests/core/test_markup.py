"""Markup: what may stand in a page that goes on after it."""

from __future__ import annotations

import time

import pytest
from hypothesis import given

from comet.core.markup import is_closed
from tests.core.exploring import explore, uncounted
from tests.core.nasty import fragments
from tests.core.pages import after


ACCEPTED = [
    "",
    "plain text, 1 < 2 & 3 <4 <",
    "<p>one<p>two",
    "<p>one</p><ul><li>a<li>b</ul><ol><li>c</li></ol>",
    "<p>a list in a paragraph<ul><li><p>x</ul></p>",
    "<li>bare<li>items",
    "<b>2:1</b> <i class=goal>goal</i><br><br/>",
    "<DIV ID='x' data-a=\"<>\" hidden><P>x</DIV>",
    '<img src=a.png alt=""><input disabled><hr>',
    "<table><caption>c<colgroup><col><thead><tr><th>a<tbody><tr><td>1<td>2<tr><td><p>3</table>",
    "<table><tr><td><table><tr><td>x</td></tr></table></td></tr></table>",
    "<table><td>1<td>2<tr><td>3</table>",
    "<table><tr><style>td{color:red}</style><td>1</table>",
    "<dl><dt>a<dd><p>b<dt>c<dd>d</dl>",
    "<select><optgroup label=x><option>1<option>2<optgroup label=y><option>3</select>",
    "<datalist><option value=1><option value=2></datalist>",
    "<ruby>漢<rp>(<rt>kan<rp>)</ruby>",
    "<style>p{color:red}</style><script>if (a < b) c()</script><textarea><b></textarea><title>a<b></title>",
    "<STYLE></style >",
    '<svg viewBox="0 0 9 9"><title>clock</title><desc>x</desc><g><path d="M0 0"/><circle r=1></circle></g>'
    "<a><text>1</text></a><svg/><style>g{}</style></svg>",
    "<svg><foreignObject><p>x</p><ul><li>y</ul></foreignObject></svg>",
    "<p>x<svg/><math/><math><mi>x</mi><mo>=</mo><mn>1</mn></math>",
    "<button><p>x</button><p><object><div>x</div></object></p>",
    "<a href=x><b>1</b></a><a href=y>2</a>",
    "<form><fieldset><legend>x</legend><label><input></label></fieldset></form><form></form>",
    "<!-- a comment - with -- dashes ---->x<!---->",
    "<!doctype html><html lang=en><head><title>x</title></head><body><p>x</body></html>",
    "<my-element><x-y>1</x-y></my-element>",
    "<h1>a</h1><h2>b</h2>",
    "<div>" * 99 + "</div>" * 99,
]

REFUSED = {
    "an open element": ["<div>", "<b>x", "<p><b>x", "<svg>", "<select>", "<table>", "<a href=x>", "<x-y>", "<div/>"],
    "an end tag too many": ["</div>", "x</b>", "</table>", "</br>", "<br></br>", "<table></p></table>", "</svg>"],
    "an end in the wrong place": ["<b><i></b></i>", "<div><b></div>", "<p><b></p></b>", "<form><div></form></div>"],
    "half a tag": ["<b", "<b x='", '<b x="></b>', "</b", "<b></b", "<a/b>", "<a x='1'y>", "<a b\0></a>", "<a =b></a>"],
    "half a comment": ["<!--", "<!-->", "<!--->", "<!", "<?x?>"],
    "a comment in two minds": ["<!-- --!> -->", "<!-- <!-- -->"],
    "a section of XML": ["<![CDATA[x]]>", "<svg><![CDATA[x]]></svg>"],
    "a doctype with quotes": ['<!doctype html public "x">'],
    "an end that is none": ["<style>", "<style></ſtyle>", "<title></title x>", "<textarea></textarea/></textarea>"],
    "a script in two minds": ["<script><!-- <script> </script>", "<style><!--</style>"],
    "no end at all": ["<plaintext>", "<frameset></frameset>", "<template></template>", "<noscript></noscript>"],
    "a cell without a table": ["<td>x</td>", "<tr></tr>", "<b><caption></b>"],
    "an element around half a table": ["<table><b><td></b></table>", "<table><tr><tbody></tr>"],
    "something between the cells": [
        "<table><div></div></table>",
        "<table><tr><a>x</a></tr></table>",
        "<table><hr></table>",
    ],
    "an item without a list": [
        "<dt>x</dt>",
        "<ul><li><div><li></div></ul>",
        "<option>x",
        "<rt>x</rt>",
        "<select><rt></select>",
    ],
    "something in a select": [
        "<select><b></b></select>",
        "<select><option><p>x</select>",
        "<select><style></style></select>",
    ],
    "the end of a paragraph further out": ["<p><b><div></div></b></p>", "<p><span><p></span></p>", "<span><p></span>"],
    "one in another of its kind": [
        "<a><b><a></a></b></a>",
        "<form><form></form></form>",
        "<button><i><button></button></i></button>",
        "<h1><h2></h2></h1>",
        "<nobr><nobr></nobr></nobr>",
    ],
    "HTML that ends an svg": [
        "<svg><p></p><style/></svg>",
        "<svg><b></b></svg>",
        "<math><g><head></head><title/></g></math>",
        "<svg><h1></h1></svg>",
        "<svg></p></svg>",
    ],
    "HTML again, in an svg": [
        "<svg><foreignObject><style/></foreignObject></svg>",
        "<svg><foreignObject><p></foreignObject></svg>",
        "<svg><desc><dd></desc></svg>",
        "<math><mi><style/></mi></math>",
        "<math><annotation-xml encoding='text/html'><style/></annotation-xml></math>",
        "<math><svg><foreignObject><style><b></style></foreignObject></svg></math>",
        "<svg><math></math></svg>",
        "<foreignObject></foreignObject>",
        "<svg><style><b></style></svg>",
    ],
    "a document inside of something": ["<div><body></body></div>", "<table><tr><td></body></table>"],
    "a tree that browsers cut": ["<div>" * 101 + "</div>" * 101],
}

#: What comes after a fragment on the wire: elements that an open one would swallow, move, change or hide.
NEXT = (
    '<style>#a{display:none}</style>\n<div id="next">x<b>y</b><form id="f"><select><option>1</select></form>'
    '<a href="x">z</a><p>q</div>\n<table><tr><td>1</table><nobr>n</nobr><h1>h</h1><i id="last">t</i>\n'
)
BEFORE = '<!doctype html><html lang="en"><head><title>t</title></head><body>\n<div id="x">'
UNTOUCHED = after(f"{BEFORE}</div>{NEXT}", "x")


def swallows(fragment: str) -> bool:
    return after(f"{BEFORE}{fragment}</div>{NEXT}", "x") != UNTOUCHED


@pytest.mark.parametrize("fragment", ACCEPTED)
def test_what_authors_write_is_shown_as_html(fragment: str) -> None:
    """Closed markup is accepted, with the end tags left out that HTML lets authors leave out."""
    assert is_closed(fragment)
    assert not swallows(fragment)


@pytest.mark.parametrize(
    "fragment", [text for texts in REFUSED.values() for text in texts], ids=lambda text: ascii(text[:60])
)
def test_what_is_doubtful_is_refused(fragment: str) -> None:
    """What a browser would have to repair is refused."""
    assert not is_closed(fragment)


@uncounted
@given(fragments())
@explore(5000)
def test_nothing_that_is_accepted_touches_what_follows(fragment: str) -> None:
    """Whatever is accepted, two parsers find what follows it as if it were not there: nothing swallowed or changed."""
    assert not is_closed(fragment) or not swallows(fragment)


@pytest.mark.parametrize(
    "token",
    ["<b>", "<b></b>", "<", "</", "<a ", " ", " x=", " x='", "<a x=y ", "<!--", "-->", "<p>", "<style>", "<ul><li>"],
)
def test_a_hostile_fragment_of_the_largest_size_is_read(token: str) -> None:
    """Reading takes a time that grows with the length alone, whatever is repeated: no fragment holds a worker up."""
    begun = time.process_time()
    for fragment in (token * (262_144 // len(token)), "<a " + token * (262_144 // len(token))):
        is_closed(fragment)
    assert time.process_time() - begun < 5  # it takes a tenth of a second; one that grows with the square, minutes
