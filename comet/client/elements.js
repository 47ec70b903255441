/**
 * comet-elements.js: live elements on a page, without a line of script.
 *
 *     <script src="/comet.js"></script>
 *     <script src="/comet-elements.js"></script>
 *     <comet-view channel="orders"></comet-view>
 *     <ul data-comet="log" mode="append" max="100"></ul>
 *
 * What the script's own element says with data-url, data-token, data-transport, data-last and data-tabs="false" is for
 * all of them.
 */

import { soon, start, tags } from "./elements/views.js";

// A selector of no weight: whatever the page says wins.
const LOOK =
  ":where(comet-view){display:block}" +
  ":where([data-comet-state=stale],[data-comet-state=offline]){opacity:.5;outline:1px dashed}";

class View extends HTMLElement {
  connectedCallback() {
    tags.add(this);
    soon();
  }
  disconnectedCallback() {
    tags.delete(this);
    soon();
  }
}

function look() {
  if (!("adoptedStyleSheets" in document)) return;
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(LOOK);
  document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
}

const { comet } = /** @type {any} */ (window);
if (!comet) throw new Error("comet.js must come before it");
const { dataset } = document.currentScript || document.documentElement;
customElements.define("comet-view", View); // a second time it is refused, and that is the end of this script
look();
start(comet.subscribe, { ...dataset, tabs: dataset.tabs !== "false" });
