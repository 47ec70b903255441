/** A whole browser, with tabs, and a server: everything takes its time, by a clock of the test's own. */

import { settled } from "./world.mjs";

/** Locks, messages between tabs, time, and the server's log. */
export class Browser {
  constructor(chance = Math.random) {
    Object.assign(this, { chance, time: 1_000_000, events: [], tabs: [], log: [], up: true, asked: 0, count: 0, life: 0 });
    this.denied = () => false;
    this.locks = new Map();
  }

  /** Let something happen in a tab, after so many milliseconds. What a frozen tab misses it gets when it thaws. */
  at(milliseconds, tab, then) {
    this.count += 1;
    const event = { due: this.time + milliseconds, order: this.count, tab, then };
    this.events.push(event);
    return event;
  }

  async pass(milliseconds) {
    const end = this.time + milliseconds;
    await settled();
    for (;;) {
      const next = this.events
        .filter((each) => each.due <= end && !each.tab?.frozen)
        .sort((one, other) => one.due - other.due || one.order - other.order)[0];
      if (!next) break;
      this.events.splice(this.events.indexOf(next), 1);
      this.time = Math.max(this.time, next.due);
      if (!next.tab?.closed) {
        next.then();
        await settled();
      }
    }
    this.time = end;
  }

  // The server.

  get epoch() {
    return this.life ? `epoch${this.life}` : "epoch";
  }

  /** It begins anew, and has forgotten everything. */
  restart() {
    this.down();
    this.up = true;
    this.life += 1;
    this.log = [];
  }

  /** A channel is deleted. */
  close(channel) {
    this.log.push({ id: `${this.epoch}-${this.log.length + 1}`, channel, closed: channel });
    this.tabs.forEach((tab) => tab.connections.forEach((each) => each.look()));
  }

  head() {
    return `${this.epoch}-${this.log.length}`;
  }

  publish(channel) {
    const update = { id: `${this.epoch}-${this.log.length + 1}`, channel, data: `${this.log.length + 1}` };
    this.log.push(update);
    this.tabs.forEach((tab) => tab.connections.forEach((each) => each.look()));
    return update;
  }

  /** What a request is told: the updates, and up to where. */
  read(url, from) {
    const names = this.names(url);
    return this.log.slice(from).filter((each) => names.includes(each.channel));
  }

  names(url) {
    return decodeURIComponent(new URL(url).pathname.split("/")[2]).split(",");
  }

  hasGap(url) {
    const since = new URL(url).searchParams.get("since");
    return !!since && !since.startsWith(`${this.epoch}-`);
  }

  /** Where a request begins in the log. */
  begin(url) {
    const { since, last } = Object.fromEntries(new URL(url).searchParams);
    if (since) return since.startsWith(`${this.epoch}-`) ? Number(since.split("-")[1]) : 0;
    const wanted = this.names(url).flatMap((name) =>
      Number(last ?? 1) ? this.log.filter((each) => each.channel === name).slice(-Number(last ?? 1)) : [],
    );
    return wanted.length ? Math.min(...wanted.map((each) => Number(each.data))) - 1 : this.log.length;
  }

  down() {
    this.up = false;
    this.tabs.forEach((tab) => [...tab.connections].forEach((each) => each.cut()));
  }

  /** Streams that the server has. */
  get streams() {
    return this.tabs.flatMap((tab) => [...tab.connections]).filter((each) => each.isStream);
  }

  // Locks.

  request(tab, name, options, then) {
    return new Promise((resolve, reject) => {
      const lock = { tab, then, resolve, reject };
      const queue = this.locks.get(name) ?? [];
      this.locks.set(name, queue);
      if (options.steal) {
        const held = queue[0];
        if (held?.held) {
          queue.shift();
          this.at(1, held.tab, () => held.reject(new Error("AbortError")));
        }
        queue.unshift(lock);
      } else {
        queue.push(lock);
      }
      options.signal?.addEventListener("abort", () => {
        if (lock.held) return;
        queue.splice(queue.indexOf(lock), 1);
        reject(new Error("AbortError"));
      });
      this.grant(name);
    });
  }

  grant(name) {
    const queue = this.locks.get(name);
    while (queue[0]?.tab.closed) queue.shift();
    const lock = queue[0];
    if (!lock || lock.held) return;
    lock.held = true;
    this.at(1, lock.tab, () => {
      Promise.resolve(lock.then()).then((value) => {
        if (queue[0] === lock) queue.shift();
        lock.resolve(value);
        this.grant(name);
      });
    });
  }
}

export class Tab {
  constructor(browser) {
    Object.assign(this, { browser, connections: new Set(), channels: new Set(), heard: {}, closed: false, frozen: false });
    browser.tabs.push(this);
    const tab = this;
    const timers = new Set();
    this.env = {
      EventSource: class extends Source {
        constructor(url) {
          super(tab, url);
        }
      },
      ReadableStream,
      TextDecoder,
      AbortController,
      BroadcastChannel: class {
        constructor(name) {
          this.name = name;
          tab.channels.add(this);
        }

        postMessage(data) {
          const text = JSON.stringify(data);
          browser.tabs.forEach((other) =>
            other.channels.forEach((channel) => {
              if (channel === this || channel.name !== this.name) return;
              // What a frozen tab is told may be forgotten, if it is much.
              if (other.frozen && browser.chance() < 0.3) return;
              browser.at(1, other, () => other.channels.has(channel) && channel.onmessage({ data: JSON.parse(text) }));
            }),
          );
        }

        close() {
          tab.channels.delete(this);
        }
      },
      locks: {
        request: (name, ...rest) => browser.request(tab, name, rest.length > 1 ? rest[0] : {}, rest.at(-1)),
      },
      fetch: (url, init) => new Promise((resolve, reject) => new Poll(tab, url, init, resolve, reject)),
      setTimeout: (then, milliseconds) => {
        const timer = browser.at(milliseconds, tab, () => timers.has(timer) && then());
        timers.add(timer);
        return timer;
      },
      clearTimeout: (timer) => timers.delete(timer),
      now: () => browser.time,
      random: browser.chance,
      storage: () => ({ getItem: () => null, setItem() {} }),
      hidden: () => false,
      listen: (name, told) => (this.heard[name] = told),
    };
  }

  /** The tab is closed, without a word. */
  close() {
    this.closed = true;
    this.connections.clear();
    this.channels.clear();
    [...this.browser.locks.entries()].forEach(([name, queue]) => {
      if (queue[0]?.tab === this) queue.shift();
      this.browser.grant(name);
    });
  }
}

class Source {
  isStream = true;
  readyState = 0;
  listeners = {};

  constructor(tab, url) {
    Object.assign(this, { tab, url });
    tab.connections.add(this);
    const { browser } = tab;
    browser.asked += 1;
    browser.at(10, tab, () => {
      if (!browser.up) return this.cut();
      if (this.readyState === 2) return undefined;
      if (browser.denied(browser.names(url))) return this.cut();
      this.place = browser.begin(url);
      this.emit("comet.beat", { heartbeat: 15 }, browser.forgets ? "" : `${browser.epoch}-${this.place}`);
      if (browser.hasGap(url)) this.emit("comet.gap", { reason: "epoch" }, this.lastEventId);
      this.readyState = 1;
      this.look();
      return this.beat();
    });
  }

  beat() {
    this.tab.browser.at(14_000, this.tab, () => {
      if (this.readyState === 2) return;
      this.emit("comet.beat", { heartbeat: 15 }, this.lastEventId);
      this.beat();
    });
  }

  addEventListener(name, told) {
    this.listeners[name] = told;
  }

  emit(name, data, id) {
    if (this.readyState === 2) return;
    this.lastEventId = id;
    this.listeners[name]({ data: JSON.stringify(data), lastEventId: id });
  }

  look() {
    if (this.readyState !== 1) return;
    const { browser } = this.tab;
    browser.read(this.url, this.place).forEach((each) => {
      const [name, data] = each.closed ? ["comet.closed", { closed: each.closed }] : ["message", each];
      browser.at(2, this.tab, () => this.emit(name, data, each.id));
    });
    this.place = browser.log.length;
  }

  cut() {
    if (this.readyState === 2) return;
    this.close();
    this.tab.browser.at(2, this.tab, () => this.onerror());
  }

  close() {
    this.readyState = 2;
    this.tab.connections.delete(this);
  }
}

class Poll {
  constructor(tab, url, init, resolve, reject) {
    Object.assign(this, { tab, url, resolve, reject });
    const { browser } = tab;
    browser.asked += 1;
    tab.connections.add(this);
    init.signal.addEventListener("abort", () => this.cut());
    browser.at(10, tab, () => {
      if (!browser.up) return this.cut();
      if (!tab.connections.has(this)) return undefined;
      if (browser.denied(browser.names(url))) {
        tab.connections.delete(this);
        return this.resolve(new Response("", { status: 403 }));
      }
      this.place = browser.begin(url);
      this.look();
      return browser.at(1000 * new URL(url).searchParams.get("timeout"), tab, () => this.answer());
    });
  }

  look() {
    if (this.place === undefined) return;
    if (this.tab.browser.hasGap(this.url) || this.tab.browser.read(this.url, this.place).length) this.answer();
  }

  answer() {
    if (!this.tab.connections.delete(this)) return;
    const { browser } = this.tab;
    const all = browser.read(this.url, this.place);
    const text = JSON.stringify({
      updates: all.filter((each) => !each.closed),
      cursor: browser.head(),
      gap: browser.hasGap(this.url) ? { reason: "epoch" } : null,
      closed: all.filter((each) => each.closed).map((each) => each.closed),
    });
    browser.at(2 + browser.chance() * 80, this.tab, () => this.resolve(new Response(text)));
  }

  cut() {
    if (!this.tab.connections.delete(this)) return;
    this.tab.browser.at(2, this.tab, () => this.reject(new TypeError("refused")));
  }
}
