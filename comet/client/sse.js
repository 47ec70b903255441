import { address } from "./address.js";

/**
 * EventSource: the best where it works. The browser comes back by itself and minds `retry:`, until it gives up.
 * @type {import("./line.js").Transport}
 */
export function sse(env, request, on) {
  const { base, names, since, last, token, credentials } = request;
  const url = address(base, names, "sse", { envelope: 1, since, last, token });
  const source = new env.EventSource(url, { withCredentials: !!credentials });
  const listen = (name, told) =>
    source.addEventListener(name, (event) => {
      on.begins(event.lastEventId);
      on.sign();
      told(JSON.parse(event.data), event.lastEventId);
    });
  listen("message", on.update);
  listen("comet.gap", on.gap);
  listen("comet.closed", (told, id) => {
    on.cursor(id);
    on.closed([told.closed]);
  });
  listen("comet.expiring", (told) => on.expiring(told.expiring));
  listen("comet.beat", (told) => on.heartbeat(told.heartbeat));
  source.onerror = () => {
    // 2: it has given up, for whatever reason: there was an answer other than 200, or, in Firefox, none at all.
    if (source.readyState === 2) on.over({});
    else on.waiting();
  };
  return source;
}
