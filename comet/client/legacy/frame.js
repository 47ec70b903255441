import { add, address, listen, parse, remove, unlisten } from "./browser.js";
import { jsonp } from "./jsonp.js";

/** So many milliseconds of silence, and a frame is begun anew: its heartbeats can't be seen from outside. */
var SILENCE = 20000;
/** So much doubt, and it is deaf. */
var DEAF = 2;

/**
 * The forever frame: a page that never ends, and posts each update.
 *
 * Strategy: a short poll before each frame says whether the server is there, and where to begin. If it brings what
 * frames before should have told, these were deaf: something on the way forbids them, or holds back what does not end.
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
      if (memory.doubt >= DEAF && answer.updates.length) {
        memory.doubt = 0;
        on.deaf();
      }
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
  var memory = request.memory;
  var timer;
  var silent = true;

  function end(doubt) {
    if (silent) memory.doubt = (memory.doubt || 0) + doubt;
    on.over(200, 1);
  }
  function wait() {
    clearTimeout(timer);
    timer = setTimeout(function () {
      end(DEAF);
    }, SILENCE);
  }
  function heard(event) {
    if (event.source !== element.contentWindow) return;
    var told = parse(event.data);
    silent = false;
    memory.doubt = 0;
    wait();
    on.told({ updates: told.id ? [told] : [], gap: told.gap, closed: told.closed ? [told.closed] : [] });
  }

  listen(window, "message", heard);
  listen(element, "load", function () {
    end(1);
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
