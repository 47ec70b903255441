import { earlier } from "./cursors.js";

/** The server takes so many channels in one request. */
export const MOST = 16;

/** States, the worst first: that of several lines is the worst of those that are not closed. */
const STATES = ["offline", "stale", "connecting", "live", "closed"];

export const worst = (lines) => STATES[Math.min(...lines.map((each) => STATES.indexOf(each.state())))];

/**
 * As many lines, or members, as it takes for these channels.
 * @param {any} make `line` or `member`
 * @param {any} env
 * @param {any} options as of `line`, with any number of `names`
 * @param {any} sink as of `line`; `state` is told of all of them
 */
export function bundle(make, env, options, sink) {
  let state = "connecting";
  const lines = [];
  const look = (_now, info = {}) => {
    const now = worst(lines);
    if (now === state && !info.status) return;
    state = now;
    sink.state(now, info);
  };
  for (let first = 0; first < options.names.length; first += MOST) {
    lines.push(make(env, { ...options, names: options.names.slice(first, first + MOST) }, { ...sink, state: look }));
  }
  const all = (verb) => () => lines.forEach((each) => each[verb]());
  return {
    open: all("open"),
    stop: all("stop"),
    sleep: all("sleep"),
    wake: all("wake"),
    state: () => state,
    transport: () => lines[0].transport(),
    cursor: () => lines.map((each) => each.cursor()).reduce(earlier),
  };
}
