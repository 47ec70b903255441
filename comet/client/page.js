/**
 * What happens to the page: whoever is on the list is told to sleep when it goes out of sight for good, or into the
 * back-forward cache, which takes no page with open connections; and to wake when it is back, looked at, or online.
 * @param {any} env
 */
export function page(env) {
  const all = new Set();
  const tell = (verb) => () => all.forEach((each) => each[verb]());
  env.listen("pagehide", tell("sleep"));
  env.listen("pageshow", tell("wake"));
  env.listen("online", tell("wake"));
  env.listen("visibilitychange", () => env.hidden() || tell("wake")());
  return all;
}
