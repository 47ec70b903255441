/** Seconds that a poll waits; the first one hardly, so that it is soon known whether the server is there. */
var FIRST = 1;
var WAIT = 25;
/** Milliseconds after that: nothing will come. */
var LATE = 10000;
var LONGEST = 30000;
/** A transport that has failed so often makes room for the next one; after the last one comes the first. */
var ENOUGH = 3;

/**
 * A subscription that is never given up, whatever breaks: one attempt at a time, each from the last cursor.
 *
 * @param {any} options of subscribe, with `base` and `names`
 * @param {any[]} transports best first: name and function
 * @param {(name: string, one: any, other?: any) => void} call what the page wants to be told
 */
export function line(options, transports, call) {
  var names = options.names;
  var handle = { cursor: options.since || null, state: "connecting", transport: transports[0][0], close: stop };
  var memory = {}; // a transport's own
  var at = 0;
  var tries = 0;
  var strikes = 0;
  var longest = WAIT;
  var wait = FIRST;
  var number = 0; // of the attempt: what an earlier one tells is not heard
  var close;
  var timer;

  function is(state, info) {
    if (handle.state === state && !info) return;
    handle.state = state;
    call("onstate", state, info || {});
  }

  function halt() {
    number++;
    clearTimeout(timer);
    if (close) close();
    close = null;
  }

  function stop(info) {
    if (handle.state === "closed") return;
    halt();
    is("closed", info);
  }

  function later(milliseconds) {
    halt();
    timer = setTimeout(run, milliseconds);
  }

  /** Longer each time, and spread, so that not all come back at once. */
  function pause(seconds) {
    var spread = 0.5 + Math.random() / 2;
    return Math.max(Math.min(1000 * Math.pow(2, tries++), LONGEST) * spread, (seconds || 0) * (500 + spread * 1000));
  }

  function next() {
    at = (at + 1) % transports.length;
    strikes = 0;
    handle.transport = transports[at][0];
    run();
  }

  function failed(state, status, seconds) {
    if (status === 400 || status === 410 || status === 414) return stop({ status: status });
    is(state, status && { status: status });
    if (status) return later(status === 401 || status === 403 ? LONGEST : pause(seconds));
    strikes++;
    if (strikes < ENOUGH) return later(pause());
    halt();
    timer = setTimeout(next, pause());
  }

  function forget(name) {
    var left = [];
    for (var i = 0; i < names.length; i++) if (names[i] !== name) left.push(names[i]);
    names = left;
    call("onstate", "closed", { channel: name });
    if (!left.length) stop();
  }

  function run() {
    halt();
    var mine = number;
    var begun = new Date().getTime();
    var news = false;

    function on() {
      return mine === number;
    }
    function waited() {
      return new Date().getTime() - begun;
    }

    timer = setTimeout(function () {
      failed("stale");
    }, wait * 1000 + LATE);

    close = transports[at][1](
      {
        base: options.base,
        names: names,
        handle: handle,
        memory: memory,
        credentials: options.credentials,
        query: {
          since: handle.cursor,
          last: handle.cursor || options.last == null ? "" : String(options.last),
          token: options.token,
          timeout: wait,
          limit: 1000,
        },
      },
      {
        told: function (answer) {
          if (!on()) return;
          tries = strikes = 0;
          wait = longest;
          is("live");
          if (answer.gap) call("ongap", answer.gap);
          for (var i = 0; i < answer.updates.length && on(); i++) {
            news = true;
            handle.cursor = answer.updates[i].id;
            call("onupdate", answer.updates[i]);
          }
          if (!on()) return;
          handle.cursor = answer.cursor || handle.cursor;
          for (i = 0; i < answer.closed.length; i++) forget(answer.closed[i]);
        },
        over: function (status, seconds) {
          if (!on()) return;
          if (status !== 200) {
            // Something on the way does not wait so long: ask for less.
            if (status === 504 && waited() > 2000) wait = longest = Math.max(FIRST, Math.floor(waited() / 1250));
            failed("offline", status, seconds);
          } else if (seconds || (!news && waited() < 500)) later(pause());
          else run();
        },
        /** It watches over itself from now on. */
        watch: function () {
          if (on()) clearTimeout(timer);
          return on();
        },
        deaf: function () {
          if (on()) next();
        },
      },
    );
  }

  run();
  return handle;
}
