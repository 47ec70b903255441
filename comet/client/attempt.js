import { BY_ITSELF, OPENING, silence } from "./clock.js";

/**
 * One attempt: a transport, and a watchdog that ends it when it is silent for too long.
 *
 * `line.over` is called once, unless it was stopped before: with the number of `signs` of life, how long it `lasted`,
 * whether it was `silent`, and what the transport says (`status`, `after`, `answered`).
 * @param {any} env
 * @param {import("./line.js").Transport} open
 * @param {import("./line.js").Request} request
 * @param {any} line what is told: sign, live, waiting, begins, cursor, heartbeat, update, gap, closed, expiring, over
 */
export function attempt(env, open, request, line) {
  const begun = env.now();
  let on = true;
  let signs = 0;
  let fruitless = 0; // how often the browser has begun anew by itself since the last sign
  let patience = 0;
  let deadline, timer;
  let connection = null;

  const stop = () => {
    on = false;
    env.clearTimeout(timer);
    if (connection) connection.close();
  };
  const over = (how) => {
    stop();
    line.over({ ...how, signs, lasted: env.now() - begun });
  };
  const wait = (milliseconds) => {
    env.clearTimeout(timer);
    deadline = env.now() + milliseconds;
    timer = env.setTimeout(() => over({ silent: true }), milliseconds);
  };
  const heard = () => wait(patience || silence(line.heartbeat()));

  const told = {
    ...line,
    over,
    sign() {
      signs += 1;
      fruitless = 0;
      heard();
      line.sign(env.now() - begun);
    },
    open() {
      heard();
      line.live();
    },
    patience(milliseconds) {
      patience = milliseconds;
      heard();
    },
    heartbeat(seconds) {
      line.heartbeat(seconds);
      heard();
    },
    waiting() {
      fruitless += 1;
      if (fruitless > 1 && !signs) return over({});
      wait(BY_ITSELF);
      return line.waiting();
    },
  };
  // What comes after the end is not heard.
  Object.keys(told).forEach((name) => {
    const tell = told[name];
    told[name] = (...what) => (on ? tell(...what) : undefined);
  });

  wait(OPENING);
  connection = open(env, request, told);
  return {
    stop,
    /** Look whether it has ended, or been silent for too long: a timer may have slept. True if it goes on. */
    check: () =>
      fruitless === 0 && connection.readyState !== 2 && (env.now() < deadline || (over({ silent: true }), true)),
  };
}
