import { browser } from "./browser.js";
import { subscriber } from "./subscribe.js";

/** comet.mjs: the server is where the module has come from. */
export const subscribe = subscriber(browser, new URL(".", import.meta.url).href.slice(0, -1));
