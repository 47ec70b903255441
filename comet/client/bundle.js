import { line } from "./line.js";

/** The server takes so many channels in one request. */
export const MOST = 16;

/** States, the worst first: that of several lines is the worst of those that are not closed. */
const STATES = ["offline", "stale", "connecting", "live", "closed"];

/**
 * As many lines as it takes for these channels.
 * @param {any} env
 * @param {any} options as of `line`, with any number of `names`
 * @param {any} sink as of `line`; `state` is told of all of them
 */
export function bundle(env, options, sink) {
  let state = "connecting";
  const lines = [];
  const look = (_now, info = {}) => {
    const now = STATES[Math.min(...lines.map((each) => STATES.indexOf(each.state())))];
    if (now === state && !info.status) return;
    state = now;
    sink.state(now, info);
  };
  for (let first = 0; first < options.names.length; first += MOST) {
    lines.push(line(env, { ...options, names: options.names.slice(first, first + MOST) }, { ...sink, state: look }));
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

/**
 * Whether an id comes after another. They say so only within one life of the log; else it may.
 * @param {string} id
 * @param {string} other
 */
export function isAfter(id, other) {
  const [epoch, place] = parts(id);
  const [epochOfOther, placeOfOther] = parts(other);
  return epoch !== epochOfOther || place > placeOfOther;
}

const parts = (id) => {
  const at = id.lastIndexOf("-");
  // A SEQ has at most 18 digits, more than a number holds: of the same length they compare as texts.
  return [id.slice(0, at), id.slice(at + 1).padStart(18, "0")];
};

/** The cursor that is valid for both: the earlier one. None if one of them has none. */
export const earlier = (one, other) => one && other && (isAfter(one, other) ? other : one);
