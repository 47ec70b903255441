/**
 * The live elements of a page: `<comet-view channel="orders">` and anything with `data-comet="orders"`.
 *
 * Strategy: whatever comes or goes, a moment later the whole page is looked at. So all elements that are there when it
 * has been read share one subscription. Channels that come later begin with one of their own, for they want what is
 * kept of them; when it is live, all go on together from the older of the two cursors, and what comes twice is dropped.
 */

import { earlier, isAfter } from "../cursors.js";
import { attribute, nodesOf } from "./content.js";
import { MODES } from "./modes.js";

/**
 * @typedef {import("./content.js").Update} Update
 * @typedef {{close(): void, readonly cursor: string | null, readonly state: string}} Handle
 * @typedef {(names: string[], options: Record<string, any>) => Handle} Subscribe
 * @typedef {{names: string[], handle: Handle}} Subscription
 */

/** How long channels that came later go on by themselves: others may come yet. */
const JOIN = 1000;

/** All <comet-view>, those too that are in a shadow tree. @type {Set<Element>} */
export const tags = new Set();

/** Which channel an element shows. @type {Map<Element, string>} */
let views = new Map();
/** @type {Subscription[]} */
let subscriptions = [];
/** The newest update of each channel. @type {Map<string, Update>} */
const newest = new Map();
/** @type {WeakMap<Element, HTMLTemplateElement>} */
const templates = new WeakMap();

/** @type {Subscribe} */
let subscribe;
/** @type {Record<string, any>} */
let options;
let due = false;

/**
 * Make what is on the page live, and what comes onto it.
 *
 * @param {Subscribe} how
 * @param {Record<string, any>} settings for all subscriptions
 */
export function start(how, settings) {
  subscribe = how;
  options = settings;
  new MutationObserver(soon).observe(document, {
    attributeFilter: ["channel", "data-comet"],
    childList: true,
    subtree: true,
  });
  document.addEventListener("DOMContentLoaded", soon);
  soon();
}

/** Look at the page once what is happening to it has happened. */
export function soon() {
  if (due || document.readyState === "loading") return;
  due = true;
  setTimeout(settle);
}

function settle() {
  due = false;
  const found = new Map([...document.querySelectorAll("[data-comet]"), ...tags].map((each) => [each, channelOf(each)]));
  found.forEach((name, element) => name || found.delete(element));
  const wanted = new Set(found.values());
  const before = views;
  views = found;
  leave(wanted);
  const known = namesOf(subscriptions);
  for (const [element, name] of views) if (before.get(element) !== name) begin(element, name);
  const fresh = [...wanted].filter((name) => !known.includes(name));
  if (fresh.length) listen(fresh);
}

/** @param {Element} element */
const channelOf = (element) => element.getAttribute(tags.has(element) ? "channel" : "data-comet") || "";

/**
 * Give back what nobody wants any more.
 *
 * @param {Set<string>} wanted
 */
function leave(wanted) {
  for (const name of newest.keys()) if (!wanted.has(name)) newest.delete(name);
  for (const old of subscriptions) {
    const names = old.names.filter((name) => wanted.has(name));
    if (names.length < old.names.length) again([old], names);
  }
}

/**
 * Go on with other names in place of some subscriptions, from where the furthest behind of them was.
 *
 * @param {Subscription[]} old
 * @param {string[]} names
 */
function again(old, names) {
  const since = old.map(({ handle }) => handle.cursor).reduce(earlier);
  if (names.length && !since) return; // one of them does not know yet where it is
  for (const { handle } of old) handle.close();
  subscriptions = subscriptions.filter((each) => !old.includes(each));
  if (names.length) listen(names, since);
}

/**
 * @param {string[]} names
 * @param {string | null} [since]
 */
function listen(names, since) {
  const handle = subscribe(names, {
    ...options,
    since: since || undefined,
    onupdate: show,
    ongap: (/** @type {object} */ gap) => each(names, (element) => tell(element, "gap", gap)),
    onstate: (/** @type {string} */ state, /** @type {{channel?: string}} */ { channel }) => {
      each(channel ? [channel] : names, (element) => mark(element, state));
      if (state === "live") setTimeout(join, JOIN);
    },
  });
  subscriptions.push({ names, handle });
}

/** @param {Subscription[]} which */
const namesOf = (which) => which.reduce((all, { names }) => all.concat(names), /** @type {string[]} */ ([]));

function join() {
  if (subscriptions.length < 2) return;
  again(subscriptions, namesOf(subscriptions));
}

/**
 * @param {string[]} names
 * @param {(element: Element) => void} act
 */
function each(names, act) {
  for (const [element, name] of views) if (names.includes(name)) act(element);
}

/**
 * @param {Element} element
 * @param {string} name
 */
function begin(element, name) {
  // Whoever has given it a role (log, status, timer) has said how it speaks.
  if (!element.matches("[aria-live],[role]")) element.setAttribute("aria-live", "polite");
  const source = subscriptions.find(({ names }) => names.includes(name));
  mark(element, source ? source.handle.state : "connecting");
  const update = newest.get(name);
  if (update) put(element, update);
}

/**
 * @param {Element} element
 * @param {string} state
 */
const mark = (element, state) => element.setAttribute("data-comet-state", state);

/** @param {Update} update */
function show(update) {
  const last = newest.get(update.channel);
  if (last && !isAfter(update.id, last.id)) return;
  newest.set(update.channel, update);
  each([update.channel], (element) => put(element, update));
}

/**
 * @param {Element} element
 * @param {Update} update
 */
function put(element, update) {
  if (!tell(element, "update", update)) return;
  const nodes = nodesOf(update, element, templateOf(element));
  const mode = MODES[attribute(element, "mode") || ""] || MODES.morph;
  if (nodes) mode(element, nodes, Number(attribute(element, "max") || 500));
}

/**
 * An element's own <template>, taken out of it: what is shown takes its place.
 *
 * @param {Element} element
 */
function templateOf(element) {
  /** @type {HTMLTemplateElement | null} */
  const found = element.querySelector(":scope>template");
  if (found) {
    templates.set(element, found);
    found.remove();
  }
  return templates.get(element);
}

/**
 * Tell the page; whether what would happen now shall happen.
 *
 * @param {Element} element
 * @param {string} what
 * @param {object} detail
 */
function tell(element, what, detail) {
  return element.dispatchEvent(new CustomEvent(`comet:${what}`, { bubbles: true, cancelable: true, detail }));
}
