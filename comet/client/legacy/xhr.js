import { address, parse } from "./browser.js";

/**
 * Whether XMLHttpRequest may ask this server: that of another site it may only in newer browsers.
 *
 * @param {string} base
 */
export function asks(base) {
  var own = !/^([a-z]+:)?\/\//i.test(base) || (base + "/").indexOf(location.protocol + "//" + location.host + "/") === 0;
  return own || (window.XMLHttpRequest && "withCredentials" in new XMLHttpRequest());
}

/**
 * Long-poll by XMLHttpRequest.
 *
 * @param {any} request
 * @param {any} on told and over
 */
export function xhr(request, on) {
  var ask = window.XMLHttpRequest ? new XMLHttpRequest() : new window.ActiveXObject("Microsoft.XMLHTTP");
  ask.open("GET", address(request, "poll", request.query), true);
  if (request.credentials) ask.withCredentials = true;
  ask.onreadystatechange = function () {
    if (ask.readyState !== 4) return;
    var status = ask.status;
    var answer;
    try {
      answer = status === 200 && parse(ask.responseText);
    } catch (_) {
      // not comet's answer
    }
    if (answer) {
      on.told(answer);
      on.over(200);
    } else on.over(status === 200 ? 0 : status, status && ask.getResponseHeader("Retry-After"));
  };
  try {
    ask.send(null);
  } catch (_) {
    setTimeout(function () {
      on.over(0);
    }, 0);
  }
  return function () {
    ask.onreadystatechange = function () {};
    ask.abort();
  };
}
