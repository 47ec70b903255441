import { bundle } from "./bundle.js";
import { line } from "./line.js";
import { member } from "./member.js";
import { page } from "./page.js";
import { tabs } from "./tabs.js";

/**
 * The function `subscribe` of a page.
 * @param {any} env the browser, or what a test puts in its place
 * @param {string} home where comet's routes are, unless the options have a `url`
 */
export function subscriber(env, home) {
  const awake = page(env);
  const groups = {};

  // What a token grants is this tab's alone. Without locks (plain http is no secure context) each tab is for itself.
  const share = (base, { tabs: wanted, token, transport, credentials }) => {
    if (wanted === false || token || transport || !env.locks || !env.BroadcastChannel) return null;
    const key = base + !!credentials;
    groups[key] = groups[key] || tabs(env, { base, credentials });
    return groups[key];
  };

  return function subscribe(channels, options = {}) {
    const names = [...new Set([].concat(channels))];
    if (!names.length) throw new TypeError("comet.subscribe: it takes at least one channel.");
    const base = options.url == null ? home : String(options.url).replace(/\/+$/, "");
    const call = (name, ...what) => {
      try {
        if (options[name]) options[name](...what);
      } catch (error) {
        // Told where errors are told; the subscription goes on.
        env.setTimeout(() => {
          throw error;
        }, 0);
      }
    };
    const group = share(base, options);
    const source = bundle(
      group ? member : line,
      env,
      { ...options, names, base, group },
      {
        update: (update) => call("onupdate", update),
        gap: (gap) => call("ongap", gap),
        closed: (channel) => call("onstate", "closed", { channel }),
        state(state, info) {
          if (state === "closed") awake.delete(source);
          call("onstate", state, info);
        },
      },
    );
    awake.add(source);
    source.open();
    return {
      close: source.stop,
      get cursor() {
        return source.cursor() || null;
      },
      get state() {
        return source.state();
      },
      get transport() {
        return source.transport();
      },
    };
  };
}
