import { browser } from "./browser.js";
import { subscriber } from "./subscribe.js";

// comet.js: the server is where the script has come from.
const script = /** @type {HTMLScriptElement | null} */ (document.currentScript);
const home = new URL(".", script ? script.src : location.href).href.slice(0, -1);

/** @type {any} */ (window).comet = { subscribe: subscriber(browser, home) };
