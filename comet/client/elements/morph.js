/**
 * Changes what an element contains into something else, and keeps what can be kept: the focus, the caret, how far it is
 * scrolled, and what was typed live in the elements themselves, so these stay.
 *
 * With idiomorph on the page (window.Idiomorph) that does it. Without it: children are kept in their order, an element
 * is matched with the next one of its kind and its id. Give ids to what must survive where lists change in the middle.
 */

/**
 * @typedef {Element & {value?: string, defaultValue?: string, checked?: boolean, defaultChecked?: boolean}} Field
 */

/**
 * @param {Element} element
 * @param {Node[]} nodes what it shall contain
 */
export function morph(element, nodes) {
  const idiomorph = /** @type {any} */ (window).Idiomorph;
  if (!idiomorph) return children(element, nodes);
  const callbacks = {
    // Of a field that somebody has typed into, idiomorph would set the value.
    beforeAttributeUpdated: (/** @type {"value" | "checked"} */ name, /** @type {Field} */ field) =>
      !{ value: field.value !== field.defaultValue, checked: field.checked !== field.defaultChecked }[name],
  };
  idiomorph.morph(element, nodes, { morphStyle: "innerHTML", ignoreActiveValue: true, callbacks });
}

/**
 * @param {Element} element
 * @param {Node[]} nodes
 */
function children(element, nodes) {
  /** @type {ChildNode | null} */
  let next = element.firstChild;
  for (const node of nodes) {
    const kept = find(next, node);
    while (kept && next !== kept) next = drop(/** @type {ChildNode} */ (next));
    if (!kept) element.insertBefore(node, next);
    else {
      next = kept.nextSibling;
      become(kept, node);
    }
  }
  while (next) next = drop(next);
}

/** @param {ChildNode} node */
function drop(node) {
  const next = node.nextSibling;
  node.remove();
  return next;
}

/**
 * The node that goes on as another: the next one if it is like it, else one behind it that has the same id.
 *
 * @param {ChildNode | null} next
 * @param {Node} node
 */
function find(next, node) {
  for (let at = next; at; at = idOf(node) ? at.nextSibling : null) if (alike(at, node)) return at;
  return null;
}

/** @param {Node} node */
const idOf = (node) => (node instanceof Element ? node.id : "");

/**
 * @param {Node} one
 * @param {Node} other
 */
const alike = (one, other) =>
  one.nodeName === other.nodeName &&
  idOf(one) === idOf(other) &&
  /** @type {any} */ (one).type === /** @type {any} */ (other).type;

/**
 * @param {Node} old
 * @param {Node} fresh
 */
function become(old, fresh) {
  if (!(old instanceof Element && fresh instanceof Element)) {
    if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
    return;
  }
  for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  children(old, [...fresh.childNodes]);
}
