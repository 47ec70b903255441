import { MOST, worst } from "./bundle.js";
import { line } from "./line.js";

/** What the leader says at most so often only to show that it is there. Milliseconds. */
const OFTEN = 1000;

/**
 * The tab that has the connections, for all.
 *
 * Its lines have what the tabs want, each set of channels on one line. What is said of a line forms a chain: each news
 * says up to which cursor the line had told before, and up to which it has now, so that a tab sees if it missed some.
 * @param {any} env
 * @param {any} options base and credentials
 * @param {(message: any) => void} tell to all tabs, this one too
 */
export function lead(env, options, tell) {
  const wants = new Map();
  const lines = new Map();
  let number = 0;
  let said = 0;
  let arranging = false;
  let over = false;
  let refusal;

  const say = (message) => {
    if (over) return;
    said = env.now();
    tell(message);
  };

  const announce = () => {
    const known = [...lines].filter(([, each]) => each.line.cursor());
    known.forEach(([, each]) => each.told !== each.line.cursor() && each.tell({}));
    const all = [...lines.values()].map((each) => each.line);
    say({
      kind: "feed",
      lines: known.map(([at, each]) => [at, each.line.names(), each.told]),
      state: all.length ? worst(all) : "connecting",
      transport: all.length ? all[0].transport() : undefined,
      heartbeat: all.length ? all[0].heartbeat() : undefined,
      refusal,
    });
  };

  const add = (names) => {
    number += 1;
    const at = number;
    const each = {
      told: null,
      tell(news) {
        const to = each.line.cursor();
        // Before all know of the line there is nobody to tell.
        if (each.told) say({ kind: "news", line: at, from: each.told, to, ...news });
        each.told = to;
      },
    };
    each.line = line(
      env,
      { ...options, names, last: 0 },
      {
        update: (update) => each.tell({ update }),
        gap: (gap) => each.tell({ gap }),
        closed: (closed) => each.tell({ closed }),
        renamed: announce,
        beat: () => env.now() - said > OFTEN && announce(),
        state(state, { status } = {}) {
          refusal = status === 401 || status === 403 || status === 400 ? status : undefined;
          announce();
          // Something on the way has taken away where the stream begins: a poll tells.
          if (state === "live" && !each.line.cursor()) each.line.rename(names);
        },
      },
    );
    lines.set(at, each);
    each.line.open();
  };

  /** Give each set of channels a line: one that has them, else one that has room, else a new one. */
  const arrange = () => {
    arranging = false;
    const sets = [].concat(...wants.values());
    const plans = [...lines].map(([at, each]) => ({ at, line: each.line, has: each.line.wanted(), plan: new Set() }));
    const has = (all, set) => set.every((name) => all.indexOf(name) >= 0);
    const homeless = sets.filter((set) => {
      const home = plans.find((each) => has(each.has, set));
      if (home) set.forEach((name) => home.plan.add(name));
      return !home;
    });
    homeless.forEach((set) => {
      let home = plans.find((each) => new Set([...each.plan, ...set]).size <= MOST);
      if (!home) {
        home = { at: 0, line: null, has: [], plan: new Set() };
        plans.push(home);
      }
      set.forEach((name) => home.plan.add(name));
    });
    plans.forEach(({ at, line: old, has: before, plan }) => {
      const names = [...plan];
      if (!old) return add(names);
      if (!names.length) {
        lines.delete(at);
        old.stop();
        refusal = undefined;
        return announce();
      }
      return names.length === before.length && has(before, names) ? undefined : old.rename(names);
    });
  };

  const later = () => {
    if (arranging) return;
    arranging = true;
    Promise.resolve().then(() => arranging && arrange());
  };

  return {
    announce,
    /** A tab wants these sets of channels, and no longer what it wanted before. */
    want(tab, sets) {
      wants.set(tab, sets);
      later();
      announce();
    },
    forget(tab) {
      wants.delete(tab);
      later();
    },
    knows: (tab) => wants.has(tab),
    wake: () => lines.forEach((each) => each.line.wake()),
    stop() {
      arranging = false;
      const all = [...lines.values()];
      over = true;
      all.forEach((each) => each.line.stop());
    },
  };
}
