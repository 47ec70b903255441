import { address, init, retryAfter } from "./address.js";
import { OPENING } from "./clock.js";

/** Seconds that a poll waits; the first one hardly, so that it is soon known whether the server is there. */
const WAIT = 25;
const FIRST = 1;

/**
 * Long-poll: what works wherever anything does. Its answers also say why a stream was refused.
 * @type {import("./line.js").Transport}
 */
export function poll(env, request, on) {
  const { base, names, last, once } = request;
  const abort = new env.AbortController();
  let { since } = request;
  let wait = FIRST;
  let longest = WAIT;

  const ask = () => {
    if (abort.signal.aborted) return;
    const begun = env.now();
    on.patience(wait * 1000 + OPENING);
    env
      .fetch(
        address(base, names, "poll", { since, last: since ? null : last, timeout: wait, limit: 1000 }),
        init(request, { signal: abort.signal }),
      )
      .then((response) => {
        if (response.status !== 200) return refused(response, env.now() - begun);
        return response.json().then((answer) => {
          told(answer);
          on.sign();
          if (once) return on.over({ answered: true });
          wait = longest;
          return ask();
        });
      })
      .catch(() => on.over({}));
  };
  const told = (answer) => {
    if (answer.gap) on.gap(answer.gap);
    answer.updates.forEach(on.update);
    since = answer.cursor;
    on.cursor(since);
    if (answer.closed.length) on.closed(answer.closed);
  };
  const refused = (response, waited) => {
    // Something on the way does not wait as long as the server: ask for less.
    if (response.status === 504 && waited > 2000) {
      wait = longest = Math.max(FIRST, Math.floor(waited / 1250));
      return ask();
    }
    return on.over({ status: response.status, after: retryAfter(response) });
  };

  ask();
  return { close: () => abort.abort() };
}
