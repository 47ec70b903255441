/**
 * The address of a request.
 * @param {string} base where comet's routes are
 * @param {string[]} names
 * @param {string} wire
 * @param {Record<string, any>} parameters what is undefined or null is left out
 */
export function address(base, names, wire, parameters) {
  const query = Object.keys(parameters)
    .filter((name) => parameters[name] != null)
    .map((name) => name + "=" + encodeURIComponent(parameters[name]))
    .join("&");
  return `${base}/channels/${names.map(encodeURIComponent).join(",")}/${wire}${query && "?" + query}`;
}

/**
 * What goes into the head of a request by fetch.
 * @param {import("./line.js").Request} request
 */
export function init(request, extra) {
  const { token, credentials } = request;
  return {
    cache: "no-store",
    credentials: credentials ? "include" : "same-origin",
    headers: token ? { Authorization: "Bearer " + token } : {},
    ...extra,
  };
}

/** Milliseconds that an answer asks for by Retry-After. */
export function retryAfter(response) {
  return (parseInt(response.headers.get("Retry-After"), 10) || 0) * 1000;
}
