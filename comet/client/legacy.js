/**
 * comet-legacy.js: `comet.subscribe` for browsers that are too old for comet.js. Beside comet.js on a page it does
 * nothing where that has worked.
 */

import { frame } from "./legacy/frame.js";
import { jsonp } from "./legacy/jsonp.js";
import { line } from "./legacy/line.js";
import { asks, xhr } from "./legacy/xhr.js";

var scripts = document.getElementsByTagName("script");
/** Where comet's routes are: where this script, the last one until now, has come from. */
var home = scripts[scripts.length - 1].src.replace(/\/[^\/]*$/, "");

/**
 * @param {string | string[]} channels
 * @param {any} [options] as those of comet.js: onupdate, ongap, onstate, since, last, token (a text), credentials, url,
 *   transport: "xhr", "frame" or "jsonp"
 */
function subscribe(channels, options) {
  var given = options || {};
  var base = given.url == null ? home : given.url.replace(/\/+$/, "");
  var all = [];
  if (asks(base)) all.push(["xhr", xhr]);
  if (window.postMessage) all.push(["frame", frame]);
  all.push(["jsonp", jsonp]);
  for (var i = 0; i < all.length; i++) if (all[i][0] === given.transport) all = [all[i]];

  function call(name, one, other) {
    try {
      if (given[name]) given[name](one, other);
    } catch (error) {
      setTimeout(function () {
        throw error;
      }, 0);
    }
  }
  return line(
    {
      base: base,
      names: [].concat(channels),
      since: given.since,
      last: given.last,
      token: given.token,
      credentials: given.credentials,
    },
    all,
    call,
  );
}

if (!window.comet) window.comet = { subscribe: subscribe };
