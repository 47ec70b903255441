/** The browser of the tests: a clock that goes when it is told to, and servers that say what a test wants. */

export class World {
  constructor() {
    this.time = 1_000_000;
    this.timers = new Map();
    this.sources = [];
    this.requests = [];
    this.stored = new Map();
    this.heard = {};
    this.errors = [];
    this.hiding = false;
    const world = this;
    this.env = {
      EventSource: class extends Source {
        constructor(url, init) {
          super(url, init);
          world.sources.push(this);
        }
      },
      ReadableStream,
      TextDecoder,
      AbortController,
      fetch: (url, init) =>
        new Promise((resolve, reject) => world.requests.push(new Request(url, init, resolve, reject))),
      setTimeout: (then, milliseconds) => {
        const timer = {};
        this.timers.set(timer, { then, due: this.time + milliseconds });
        return timer;
      },
      clearTimeout: (timer) => this.timers.delete(timer),
      now: () => this.time,
      random: () => 1,
      storage: () => ({
        getItem: (key) => this.stored.get(key) ?? null,
        setItem: (key, value) => this.stored.set(key, value),
      }),
      hidden: () => this.hiding,
      listen: (name, told) => (this.heard[name] = told),
    };
  }

  /** Let so many milliseconds go by. */
  async pass(milliseconds) {
    const end = this.time + milliseconds;
    await settled();
    for (;;) {
      const [first] = [...this.timers].sort(([, one], [, other]) => one.due - other.due);
      if (!first || first[1].due > end) break;
      this.timers.delete(first[0]);
      this.time = Math.max(this.time, first[1].due);
      try {
        first[1].then();
      } catch (error) {
        this.errors.push(error.message);
      }
      await settled();
    }
    this.time = end;
  }

  get source() {
    return this.sources.at(-1);
  }

  get request() {
    return this.requests.at(-1);
  }

  /** How many connections are open. */
  get open() {
    return [...this.sources, ...this.requests].filter((each) => each.isOpen).length;
  }
}

export const settled = async () => {
  for (let turn = 0; turn < 5; turn += 1) await new Promise((resolve) => setImmediate(resolve));
};

/** The id of an update. */
export const id = (seq) => `epoch-${seq}`;

export const update = (seq, channel = "a") => ({ id: id(seq), channel, data: `${seq}` });

class Source {
  constructor(url, { withCredentials }) {
    Object.assign(this, { url, withCredentials, readyState: 0, listeners: {}, lastEventId: "" });
  }

  get isOpen() {
    return this.readyState !== 2;
  }

  addEventListener(name, told) {
    this.listeners[name] = told;
  }

  close() {
    this.readyState = 2;
  }

  emit(name, data, eventId) {
    this.lastEventId = eventId ?? this.lastEventId;
    this.readyState = 1;
    this.listeners[name]({ data: JSON.stringify(data), lastEventId: this.lastEventId });
  }

  beat(seq, heartbeat = 15) {
    this.emit("comet.beat", { heartbeat }, seq === undefined ? undefined : id(seq));
  }

  update(seq, channel) {
    this.emit("message", update(seq, channel), id(seq));
  }

  /** The connection is gone, and the browser comes back by itself. */
  lose() {
    this.readyState = 0;
    this.onerror();
  }

  giveUp() {
    this.readyState = 2;
    this.onerror();
  }
}

class Request {
  constructor(url, init, resolve, reject) {
    Object.assign(this, { url, init, resolve, isOpen: true });
    this.reject = (error) => {
      this.isOpen = false;
      reject(error);
    };
    init.signal.addEventListener("abort", () => {
      this.reject(new Error("aborted"));
      if (this.body) this.body.error(new Error("aborted"));
    });
  }

  async refuse() {
    this.reject(new TypeError("refused"));
    await settled();
  }

  /** Answer a poll. */
  async answer(updates = [], cursor = id(0), more = {}) {
    this.isOpen = false;
    this.resolve(new Response(JSON.stringify({ updates, cursor, gap: null, closed: [], ...more })));
    await settled();
  }

  async status(status, headers = {}) {
    this.isOpen = false;
    this.resolve(new Response("", { status, headers }));
    await settled();
  }

  /** Begin a stream. */
  async stream(cursor) {
    const body = new ReadableStream({ start: (controller) => (this.body = controller) });
    this.resolve(new Response(body, { headers: { "Comet-Cursor": cursor } }));
    await settled();
  }

  async bytes(bytes) {
    this.body.enqueue(typeof bytes === "string" ? new TextEncoder().encode(bytes) : bytes);
    await settled();
  }

  async end() {
    this.isOpen = false;
    this.body.close();
    await settled();
  }
}
