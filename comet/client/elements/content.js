/** What an update looks like in an element. */

import { nodesOfHtml } from "./markup.js";

/**
 * @typedef {object} Update
 * @property {string} id
 * @property {string} channel
 * @property {string | null} event
 * @property {string} type
 * @property {string} data
 * @property {number} time
 * @property {"base64"} [encoding]
 */

/**
 * What an element says of itself: <comet-view mode="append"> or <ul data-comet="log" data-comet-mode="append">.
 *
 * @param {Element} element
 * @param {string} name
 */
export const attribute = (element, name) => element.getAttribute(name) || element.getAttribute(`data-comet-${name}`);

/**
 * The nodes that show an update; null if there is nothing to show, and whoever listens for `comet:update` does it.
 *
 * Text stays text, whatever is in it. HTML is markup without what could run, unless the element says as="text". JSON
 * goes into the element's <template>.
 *
 * @param {Update} update
 * @param {Element} element
 * @param {HTMLTemplateElement | undefined} template
 * @returns {Node[] | null}
 */
export function nodesOf(update, element, template) {
  const type = update.type.toLowerCase().replace(/\s*;.*/, "");
  if (/^image\/[\w.+-]+$/.test(type)) return [picture(update, type)];
  if (update.encoding) return null;
  const asText = attribute(element, "as") === "text";
  if (type === "text/html" && !asText) return nodesOfHtml(update.data, element);
  if (/^text/.test(type) || asText) return [document.createTextNode(update.data)];
  return template && /[/+]json$/.test(type) ? filled(template, update.data) : null;
}

/**
 * @param {Update} update
 * @param {string} type
 */
function picture(update, type) {
  const image = document.createElement("img");
  image.alt = update.channel;
  image.src = `data:${type}${update.encoding ? ";base64," + update.data : "," + encodeURIComponent(update.data)}`;
  return image;
}

/**
 * A copy of the template, for an array one for each item: `data-field="a.b"` says whose text goes where.
 *
 * @param {HTMLTemplateElement} template
 * @param {string} json
 */
function filled(template, json) {
  let value;
  try {
    value = JSON.parse(json);
  } catch (_) {
    return null;
  }
  /** @type {Node[]} */
  const nodes = [];
  for (const item of [].concat(value)) {
    const copy = document.importNode(template.content, true);
    for (const field of copy.querySelectorAll("[data-field]")) {
      field.textContent = textAt(item, String(field.getAttribute("data-field")));
    }
    nodes.push(...copy.childNodes);
  }
  return nodes;
}

/**
 * @param {any} value
 * @param {string} path names with dots between; none is the value itself
 */
function textAt(value, path) {
  for (const name of path.split(".").filter(Boolean)) value = Object(value)[name];
  return Object(value) === value ? JSON.stringify(value) : String(value ?? "");
}
