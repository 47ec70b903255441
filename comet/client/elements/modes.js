/** How new content takes its place in an element. */

import { morph } from "./morph.js";

/** @typedef {(element: Element, nodes: Node[], max: number) => void} Mode */

/** @type {Record<string, Mode>} */
export const MODES = {
  morph,
  replace(element, nodes) {
    element.textContent = "";
    element.append(...nodes);
  },
  append(element, nodes, max) {
    element.append(...items(element, nodes));
    while (element.children.length > max) element.children[0].remove();
  },
  prepend(element, nodes, max) {
    element.prepend(...items(element, nodes));
    while (element.children.length > max) element.children[max].remove();
  },
};

/**
 * Elements for a list, so that they can be counted: what has bare text becomes one.
 *
 * @param {Element} element
 * @param {Node[]} nodes
 */
function items(element, nodes) {
  const full = nodes.filter((node) => node instanceof Element || /\S/.test(node.nodeValue || ""));
  if (full.every((node) => node instanceof Element)) return full;
  const item = document.createElement(/^[ou]l$/.test(element.localName) ? "li" : "div");
  item.append(...nodes);
  return [item];
}
