import { HEARTBEAT, REPLY, silence } from "./clock.js";
import { lead } from "./leader.js";

/** Of what tabs say to each other: those of another version are strangers. */
const VERSION = 1;

/**
 * All tabs of a browser that have subscribed at one server: one of them leads, and tells the others.
 *
 * The leader is whoever holds a lock, for which all others wait: it goes over when the tab is closed, falls asleep, or
 * does not answer any more. Each tab holds a lock of its own, too, by which the leader sees that it is gone.
 * @param {any} env
 * @param {any} options base and credentials
 */
export function tabs(env, options) {
  const key = `comet ${VERSION} ${options.base}${options.credentials ? " with cookies" : ""}`;
  const me = `${env.now()}-${env.random()}`;
  const members = new Set();
  const joined = new Set();
  let awake = false;
  let present = false; // the lock of this tab is held
  let channel, queue, leave, resign, timer, feed, leader, office;

  const set = (milliseconds, then) => {
    env.clearTimeout(timer);
    timer = env.setTimeout(then, milliseconds);
  };

  const post = (message) => channel.postMessage({ ...message, tab: me });

  /** Say what is wanted; the leader answers. If it does not, take its place. */
  const ask = (kind = "want") => {
    if (!awake || !present) return;
    const sets = [...joined].map((each) => each.names());
    if (office) {
      office.want(me, sets);
    } else {
      post({ kind, sets });
      set(REPLY, steal);
    }
  };

  const run = () => {
    if (!awake || office) return undefined;
    env.clearTimeout(timer);
    office = lead(env, options, (message) => {
      if (!awake) return;
      const signed = { ...message, leader: me };
      channel.postMessage(signed);
      hear(signed);
    });
    office.announce();
    ask();
    return new Promise((resolve) => (resign = resolve));
  };

  const stepDown = () => {
    if (!office) return;
    office.stop();
    office = resign = null;
    if (awake) {
      stand();
      ask();
    }
  };

  /** Stand in the line of those who would lead. */
  const stand = () => {
    queue = new env.AbortController();
    env.locks.request(key, { signal: queue.signal }, run).catch(stepDown);
  };

  const steal = () => {
    queue.abort();
    env.locks.request(key, { steal: true }, run).catch(stepDown);
  };

  const hear = (message) => {
    const { kind, tab, sets, line, from, to } = message;
    if (kind === "want" || kind === "wake") {
      if (!office) return;
      if (!office.knows(tab)) env.locks.request(`${key} ${tab}`, () => office && office.forget(tab));
      if (kind === "wake") office.wake();
      office.want(tab, sets);
      return;
    }
    if (message.leader === me ? !office : office) return; // of one who has been deposed, and does not know yet
    if (message.leader !== me) set(silence((feed && feed.heartbeat) || HEARTBEAT), ask);
    if (kind === "feed") {
      const before = feed;
      feed = message;
      if (message.leader !== leader) {
        leader = message.leader;
        if (!office) ask();
      } else if (before) {
        before.lines.forEach(([at, , told]) => {
          if (feed.lines.some((each) => each[0] === at && each[2] !== told)) torn(at);
        });
      }
      [...members].forEach((each) => each.look());
    } else if (message.leader !== leader) {
      ask();
    } else if (kind === "news") {
      const told = feed.lines.find(([at]) => at === line);
      if (!told) return;
      const whole = told[2] === from;
      told[2] = to;
      if (whole) [...members].forEach((each) => each.hear(`${leader} ${line}`, message));
      else torn(line);
    }
  };

  /** Something of what a line told has not come through. */
  const torn = (at) => [...members].forEach((each) => each.torn(`${leader} ${at}`));

  const sleep = () => {
    if (!awake) return;
    awake = present = false;
    env.clearTimeout(timer);
    queue.abort();
    if (office) office.stop();
    office = feed = leader = null;
    channel.close();
    if (resign) resign();
    if (leave) leave();
    resign = leave = null;
  };

  const wake = () => {
    if (awake) {
      if (office) office.wake();
      else ask("wake");
      return;
    }
    awake = true;
    channel = new env.BroadcastChannel(key);
    channel.onmessage = ({ data }) => awake && hear(data);
    const opened = channel;
    env.locks
      .request(`${key} ${me}`, () => {
        if (!awake || opened !== channel) return undefined;
        present = true;
        stand();
        ask();
        return new Promise((resolve) => (leave = resolve));
      })
      .catch(() => {
        // No locks for this page, in a sandbox, say: each is for itself.
        if (!present) feed = { lines: [], refusal: true };
        [...members].forEach((each) => each.look());
      });
  };

  return {
    sleep,
    wake,
    enter(member) {
      members.add(member);
      wake();
    },
    /** It has got all there was, and wants to listen from now on. */
    join(member) {
      joined.add(member);
      ask();
    },
    leave(member) {
      members.delete(member);
      joined.delete(member);
      ask();
      if (!members.size) sleep();
    },
    changed: () => ask(),
    find(names) {
      const found = feed && feed.lines.find((each) => names.every((name) => each[1].indexOf(name) >= 0));
      return found && { place: `${leader} ${found[0]}`, cursor: found[2] };
    },
    refusal: () => feed && feed.refusal,
    state: () => (feed ? feed.state : "connecting"),
    transport: () => feed && feed.transport,
  };
}
