import { address, init, retryAfter } from "./address.js";

/**
 * A stream by fetch: a JSON object a line.
 * @type {import("./line.js").Transport}
 */
export function ndjson(env, request, on) {
  const { base, names, since, last } = request;
  const abort = new env.AbortController();
  const decoder = new env.TextDecoder();
  let rest = "";

  const line = (text) => {
    if (!text.trim()) return;
    const told = JSON.parse(text);
    if (told.id) on.update(told);
    else if (told.gap) on.gap(told.gap);
    else if (told.closed) on.closed([told.closed]);
    else on.expiring(told.expiring);
  };
  const read = (reader) =>
    reader.read().then(({ done, value }) => {
      if (done) return on.over({});
      const lines = (rest + decoder.decode(value, { stream: true })).split("\n");
      rest = lines.pop();
      on.sign();
      lines.forEach(line);
      return read(reader);
    });

  env
    .fetch(address(base, names, "ndjson", { since, last }), init(request, { signal: abort.signal }))
    .then((response) => {
      if (response.status !== 200) return on.over({ status: response.status, after: retryAfter(response) });
      on.begins(response.headers.get("Comet-Cursor"));
      on.open();
      return read(response.body.getReader());
    })
    .catch(() => on.over({}));
  return { close: () => abort.abort() };
}
