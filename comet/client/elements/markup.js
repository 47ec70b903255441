/**
 * HTML of a publisher, without what could run or reach out of it.
 *
 * Strategy: the browser's own parser reads it in a document that runs and loads nothing; of the tree that comes of it,
 * what is on the lists stays, and everything else goes. The nodes themselves are then moved into the page: nothing is
 * written out and read again, so there is no second reading that could see something else.
 */

const ELEMENTS = new Set(
  (
    "a abbr address article aside b blockquote br button caption cite code col colgroup data datalist dd del " +
    "details dfn div dl dt em fieldset figcaption figure footer form h1 h2 h3 h4 h5 h6 header hr i img input ins " +
    "kbd label legend li main mark menu meter nav ol optgroup option output p pre progress q rp rt ruby s section " +
    "select small span strong sub summary sup table tbody td textarea tfoot th thead time tr u ul var wbr circle " +
    "defs ellipse g line linearGradient path polygon polyline radialGradient rect stop svg text title tspan"
  ).split(" "),
);

/** Plain names, and families of names. What libraries read as a program (hx-on, x-data, data-action, @click) is neither. */
const ATTRIBUTES = /^((?!on|is$|slot$|form|autofocus)[a-z]+\d?|(aria|clip|fill|font|stop|stroke|text)(-[a-z]+)+)$/i;

const inert = document.implementation.createHTMLDocument("");

/**
 * The nodes of an HTML text, as they may stand in an element.
 *
 * @param {string} html
 * @param {Element} place where they will stand: in a <tbody> a <tr> means something else than in a <div>
 * @returns {Node[]}
 */
export function nodesOfHtml(html, place) {
  const root = inert.createElementNS(place.namespaceURI, place.localName);
  root.innerHTML = html;
  // Forms last: a field that is named like a part of its form takes that part's place, until it has lost the name.
  for (const which of [":not(form)", "form"]) {
    for (const element of root.querySelectorAll(which)) {
      if (ELEMENTS.has(element.localName)) clean(element);
      else element.remove();
    }
  }
  return [...root.childNodes];
}

/** @param {Element} element */
function clean(element) {
  for (const { name, value } of [...element.attributes]) {
    if (!ATTRIBUTES.test(name) || misleads(name, value) || runs(name, value)) element.removeAttribute(name);
  }
}

/**
 * Whether scripts would find the element in place of what they look for.
 *
 * @param {string} name
 * @param {string} value
 */
const misleads = (name, value) => /^(id|name)$/.test(name) && (value in document || value in HTMLFormElement.prototype);

/** It knows which blanks in an address do not count. */
const reader = document.createElement("a");

/**
 * Whether an attribute is a program: where a link or a form leads may be one. (What an <img> shows may not.)
 *
 * @param {string} name
 * @param {string} value
 */
function runs(name, value) {
  reader.href = value;
  return /^(href|action)$/.test(name) && /^(javascript|data):/.test(reader.href);
}
