const OF_THE_DOCUMENT = ["visibilitychange", "freeze", "resume"];

/** The browser, as far as the client needs it. Functions of a window want to be called on it. */
export const browser = {
  EventSource: window.EventSource,
  ReadableStream: window.ReadableStream && window.TextDecoder && window.fetch,
  TextDecoder: window.TextDecoder,
  AbortController: window.AbortController,
  BroadcastChannel: window.BroadcastChannel,
  locks: navigator.locks,
  fetch: window.fetch && window.fetch.bind(window),
  setTimeout: window.setTimeout.bind(window),
  clearTimeout: window.clearTimeout.bind(window),
  now: () => Date.now(),
  random: () => Math.random(),
  storage: () => window.sessionStorage,
  hidden: () => document.visibilityState === "hidden",
  listen(name, told) {
    (OF_THE_DOCUMENT.indexOf(name) < 0 ? window : document).addEventListener(name, told);
  },
};
