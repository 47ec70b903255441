import { attempt } from "./attempt.js";
import { BETTER, LASTING, LONGEST, HEARTBEAT, pause } from "./clock.js";
import { poll } from "./poll.js";
import { preference } from "./preference.js";

/**
 * @typedef {{base: string, names: string[], since?: string, last?: number, token?: string, credentials?: boolean,
 *   once?: boolean}} Request what is asked for; `once`: one answer is enough
 * @typedef {(env: any, request: Request, on: any) => {close(): void, readyState?: number}} Transport opens, and returns
 *   what can be closed; a `readyState` of 2 says that the browser has done so
 */

/** Refusals that no later attempt will change: the names are wrong, or too long. */
const HOPELESS = [400, 410, 414];

/** A transport that has failed so often, while the server was there, does not work on this way. */
const ENOUGH = 2;

/**
 * A connection for up to 16 channels that is never given up, whatever breaks.
 *
 * Strategy: one attempt at a time, each from the last cursor, so that nothing is lost and nothing comes twice. An
 * attempt that ends without any sign of life says little, so a short poll asks whether the server is there: if it
 * answers, the transport is at fault, and the next best takes its place; if not, its refusal says what to do.
 * @param {any} env the browser, or what a test puts in its place
 * @param {any} options of subscribe, with `base` and `names`
 * @param {any} sink what is told: state, update, gap, closed, and beat for each sign of life; if it has `answered`, a
 *   single poll is made, and this told
 */
export function line(env, options, sink) {
  const { base, credentials, last, transport } = options;
  const choice = preference(env, base, transport);
  const fetches = typeof options.token === "function";
  let { names, since: cursor, token } = options;
  let heartbeat = HEARTBEAT;
  let state = "connecting";
  let current, trial, timer, better;
  let renamed = null; // the names that are to be, from where it is found to stand
  let stale = fetches; // the token is to be fetched
  let fetched = 0;
  let tries = 0;
  let notBefore = 0; // the server has asked for so long a pause, whatever happens
  let strikes = 0;
  let suspicion = 0; // strikes that the transport has earned if the server turns out to be there

  const is = (now, info = {}) => {
    if (state === "closed" || (state === now && !info.status)) return;
    state = now;
    sink.state(now, info);
  };

  const halt = () => {
    env.clearTimeout(timer);
    env.clearTimeout(better);
    timer = null;
    if (current) current.stop();
    if (trial) trial.stop();
    current = trial = null;
  };

  const stop = (info) => {
    halt();
    is("closed", info);
  };

  const later = (asked, then) => {
    const milliseconds = pause(tries, asked || 0, env.random);
    current = null;
    tries += 1;
    timer = env.setTimeout(then, milliseconds);
  };

  const request = (once) => ({ base, names, since: cursor, last, token, credentials, once });

  const open = () => (sink.answered || renamed ? probe() : begin(() => choice.at(choice.place()), false));
  const probe = () => begin(() => poll, true);

  const begin = (transportOf, once) => {
    halt();
    if (!stale) {
      current = attempt(env, transportOf(), request(once), once ? probing : running);
      return;
    }
    // A token may be fetched, and that can fail like anything else.
    current = attempt(env, fetching, request(once), {
      ...running,
      over: (how) => (how.answered ? begin(transportOf, once) : refused(how)),
    });
  };

  /** @type {Transport} */
  const fetching = (_env, _request, on) => {
    on.patience(LONGEST);
    Promise.resolve()
      .then(options.token)
      .then(
        (found) => {
          stale = false;
          token = found;
          fetched = env.now();
          on.over({ answered: true });
        },
        () => on.over({}),
      );
    return { close() {} };
  };

  const running = {
    sign(lasted) {
      if (lasted > LASTING) tries = 0;
      strikes = 0;
      running.live();
      if (sink.beat) sink.beat();
    },
    live() {
      is("live");
      if (choice.place() && !transport && !better) better = env.setTimeout(() => compare(0), BETTER);
    },
    waiting: () => is("offline"),
    // Where a stream begins is of use only to who had no cursor: before an old one there may be a gap to be told.
    begins: (id) => (cursor = cursor || id),
    cursor: (id) => (cursor = id),
    heartbeat: (seconds) => (heartbeat = seconds || heartbeat),
    update(update) {
      cursor = update.id;
      tries = 0;
      sink.update(update);
    },
    gap: sink.gap,
    closed(gone) {
      names = names.filter((name) => gone.indexOf(name) < 0);
      gone.forEach(sink.closed);
      if (!names.length) stop();
      else if (state !== "closed") open();
    },
    expiring() {
      stale = fetches;
      // One that is about to end as soon as it is there is used until it has ended: else there would be no end of asking.
      if (stale && env.now() - fetched > LASTING) open();
    },
    over({ signs, silent, after }) {
      is(silent ? "stale" : "offline");
      suspicion = 0;
      if (!signs) {
        suspicion = silent ? ENOUGH : 1;
        return silent ? probe() : later(after, probe);
      }
      return silent ? open() : later(after, open);
    },
  };

  const probing = {
    ...running,
    sign: () => {},
    over(how) {
      if (!how.answered) return refused(how);
      if (sink.answered) {
        halt();
        return sink.answered();
      }
      if (renamed) {
        names = renamed;
        renamed = null;
        sink.renamed();
      }
      strikes += suspicion;
      if (strikes >= ENOUGH) {
        strikes = 0;
        choice.drop();
      }
      return open();
    },
  };

  const refused = ({ status, after }) => {
    suspicion = 0;
    notBefore = env.now() + (after || 0);
    if (HOPELESS.indexOf(status) >= 0) return stop({ status });
    const unwelcome = status === 401 || status === 403;
    if (unwelcome) stale = fetches;
    is("offline", { status });
    return later(unwelcome && !fetches ? LONGEST : after, probe);
  };

  /** Try a better transport beside the one that works; take it if it gives a sign of life. */
  const compare = (place) => {
    better = trial = null;
    if (place >= choice.place()) {
      better = env.setTimeout(() => compare(0), BETTER);
      return;
    }
    const nothing = () => {};
    trial = attempt(env, choice.at(place), request(false), {
      live: nothing,
      waiting: nothing,
      begins: nothing,
      cursor: nothing,
      update: nothing,
      gap: nothing,
      closed: nothing,
      expiring: nothing,
      heartbeat: running.heartbeat,
      sign() {
        choice.choose(place);
        open();
      },
      over: () => compare(place + 1),
    });
  };

  return {
    open,
    stop,
    /** Let go of the connection, until `wake`. */
    sleep() {
      if (state === "closed") return;
      halt();
      is("offline");
    },
    /** Something has changed: look at once, instead of when the time comes. */
    wake() {
      const wait = notBefore - env.now();
      if (state === "closed" || (current && current.check())) return;
      if (wait <= 0) open();
      else timer = timer || env.setTimeout(probe, wait);
    },
    cursor: () => cursor,
    state: () => state,
    names: () => names,
    /** Those that it will have. */
    wanted: () => renamed || names,
    /** Take other names: a poll finds out up to where there is nothing for the old ones, and the new ones begin there. */
    rename(wanted) {
      renamed = wanted;
      probe();
    },
    transport: () => choice.name(),
    heartbeat: () => heartbeat,
  };
}
