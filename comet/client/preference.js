import { BETTER } from "./clock.js";
import { ndjson } from "./ndjson.js";
import { poll } from "./poll.js";
import { sse } from "./sse.js";

/** The transports, best first, and what each needs. */
const ALL = { sse, ndjson, poll };
const NEEDS = { sse: "EventSource", ndjson: "ReadableStream", poll: "fetch" };

/**
 * Which transport works on the way to a server: remembered for the pages of this tab, and forgotten after a while.
 */
export function preference(env, base, only) {
  const key = "comet " + base;
  const names = Object.keys(ALL).filter((name) => (only ? name === only : env[NEEDS[name]]));
  let at = 0;
  try {
    const [name, since] = JSON.parse(env.storage().getItem(key));
    if (env.now() - since < BETTER) at = Math.max(0, names.indexOf(name));
  } catch {
    // nothing is remembered, or the browser forbids to
  }
  const choose = (place) => {
    at = place;
    try {
      env.storage().setItem(key, JSON.stringify([names[at], env.now()]));
    } catch {
      // it holds for this page, then
    }
  };
  return {
    at: (place) => ALL[names[place]],
    name: () => names[at],
    place: () => at,
    choose,
    /** It does not work on this way: the next one, if there is any. */
    drop: () => at < names.length - 1 && choose(at + 1),
  };
}
