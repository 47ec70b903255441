/** So long after it has begun to be left a page is looked after, if it is still there. Milliseconds. */
const STAYING = 1000;

/**
 * What happens to the page: whoever is on the list is told to sleep when it goes out of sight for good, is frozen, or
 * goes into the back-forward cache, which takes no page with open connections; and to wake when it is back, looked at,
 * or online. Also when it has begun to be left and was not, for a download, say: Firefox ends its streams without a word.
 * @param {any} env
 */
export function page(env) {
  const all = new Set();
  const tell = (verb) => () => all.forEach((each) => each[verb]());
  ["pagehide", "freeze"].forEach((name) => env.listen(name, tell("sleep")));
  ["pageshow", "resume", "online"].forEach((name) => env.listen(name, tell("wake")));
  env.listen("beforeunload", () => env.setTimeout(tell("wake"), STAYING));
  env.listen("visibilitychange", () => env.hidden() || tell("wake")());
  return all;
}
