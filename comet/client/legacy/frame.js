import { add, address, listen, parse, remove, unlisten } from "./browser.js";
import { jsonp } from "./jsonp.js";

/** So many milliseconds of silence, and a frame is begun anew: its heartbeats can't be seen from outside. */
var SILENCE = 20000;

/**
 * The forever frame: a page that never ends, and posts each update.
 *
 * Strategy: a short poll before each frame says whether the server is there, and where to begin. If it brings what the
 * frame before should have told, that one was deaf: something on the way holds back what does not end.
 *
 * @param {any} request
 * @param {any} on
 */
export function frame(request, on) {
  var memory = request.memory;
  request.query.timeout = 1;
  var close = jsonp(request, {
    told: function (answer) {
      on.told(answer);
      if (memory.silent && answer.updates.length) on.deaf();
      memory.silent = false;
    },
    over: function (status) {
      if (status !== 200) on.over(status);
      else if (on.watch()) close = open(request, on);
    },
  });
  return function () {
    close();
  };
}

/**
 * @param {any} request
 * @param {any} on
 */
function open(request, on) {
  var element = document.createElement("iframe");
  var timer;
  var silent = true;

  function wait() {
    clearTimeout(timer);
    timer = setTimeout(function () {
      request.memory.silent = silent;
      on.over(200, 1);
    }, SILENCE);
  }
  function heard(event) {
    if (event.source !== element.contentWindow) return;
    var told = parse(event.data);
    silent = false;
    wait();
    on.told({ updates: told.id ? [told] : [], gap: told.gap, closed: told.closed ? [told.closed] : [] });
  }

  listen(window, "message", heard);
  listen(element, "load", function () {
    on.over(200, 1);
  });
  element.style.display = "none";
  element.src = address(request, "iframe", {
    since: request.handle.cursor,
    token: request.query.token,
    origin: location.protocol + "//" + location.host,
  });
  wait();
  add(element);
  return function () {
    clearTimeout(timer);
    unlisten(window, "message", heard);
    remove(element);
  };
}
