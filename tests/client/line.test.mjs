/** A line: which transport when, from which cursor, and what the page is told. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { line } from "../../comet/client/line.js";
import { subscriber } from "../../comet/client/subscribe.js";
import { World, id, settled, update } from "./world.mjs";

function begin(options = {}, world = new World()) {
  const told = { updates: [], gaps: [], states: [], closed: [] };
  const here = line(
    world.env,
    { base: "http://x", names: ["a", "b"], ...options },
    {
      update: (each) => told.updates.push(each.data),
      gap: (gap) => told.gaps.push(gap.reason),
      closed: (name) => told.closed.push(name),
      state: (state, info) => told.states.push(info.status ? `${state} ${info.status}` : state),
    },
  );
  here.open();
  return { world, told, here };
}

const query = (url) => Object.fromEntries(new URL(url).searchParams);
const path = (url) => new URL(url).pathname;

/** Silent from the first byte on, and the server answers a poll: EventSource does not work here. */
async function silent(world) {
  await world.pass(6000);
  await world.request.answer([], id(1));
}

test("It begins with EventSource, and is live at its first sign, with a cursor.", async () => {
  const { world, told, here } = begin({ last: 3 });
  assert.equal(path(world.source.url), "/channels/a,b/sse");
  assert.deepEqual(query(world.source.url), { envelope: "1", last: "3" });
  assert.deepEqual([here.state(), here.cursor()], ["connecting", undefined]);
  world.source.beat(7);
  assert.deepEqual([told.states, here.cursor(), here.transport()], [["live"], id(7), "sse"]);
  world.source.update(8);
  world.source.update(9, "b");
  assert.deepEqual([told.updates, here.cursor()], [["8", "9"], id(9)]);
});

test("Where a stream begins does not hide the gap before it.", () => {
  const { world, told, here } = begin({ since: "old-5" });
  world.source.beat(0);
  assert.equal(here.cursor(), "old-5");
  world.source.emit("comet.gap", { reason: "epoch" });
  assert.deepEqual([told.gaps, here.cursor()], [["epoch"], "old-5"]);
  world.source.update(1);
  assert.equal(here.cursor(), id(1));
});

test("An EventSource that comes back by itself is left alone.", async () => {
  const { world, told } = begin();
  world.source.beat(7);
  world.source.lose();
  await world.pass(10_000);
  world.source.lose();
  await world.pass(10_000);
  world.source.beat();
  assert.deepEqual(told.states, ["live", "offline", "live"]);
  assert.deepEqual([world.sources.length, world.requests.length], [1, 0]);
});

test("One that takes too long to come back is replaced, from the last cursor.", async () => {
  const { world } = begin();
  world.source.beat(7);
  world.source.update(8);
  world.source.lose();
  await world.pass(15_000);
  await world.pass(1000);
  assert.equal(world.sources.length, 2);
  assert.equal(query(world.source.url).since, id(8));
  assert.equal(world.open, 1);
});

test("One that gave up is replaced after a pause, from the last cursor.", async () => {
  const { world, told } = begin();
  world.source.beat(7);
  world.source.update(8);
  world.source.giveUp();
  await world.pass(999);
  assert.equal(world.sources.length, 1);
  await world.pass(1);
  assert.equal(query(world.source.url).since, id(8));
  world.source.beat(8);
  assert.deepEqual(told.states, ["live", "offline", "live"]);
});

test("While the server is away it is asked after longer and longer pauses, and no transport loses its place.", async () => {
  const { world, told, here } = begin();
  world.source.giveUp();
  const pauses = [];
  for (let round = 0; round < 8; round += 1) {
    const asked = world.requests.length;
    const begun = world.time;
    while (world.requests.length === asked) await world.pass(250);
    pauses.push(world.time - begun);
    assert.equal(query(world.request.url).timeout, "1");
    await world.request.refuse();
  }
  assert.deepEqual(pauses, [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]);
  await world.pass(30_000);
  await world.request.answer([update(3)], id(3));
  assert.deepEqual(told.updates, ["3"]);
  assert.deepEqual([here.transport(), query(world.source.url).since], ["sse", id(3)]);
  world.source.beat(3);
  assert.deepEqual(told.states, ["offline", "live"]);
});

test("Pauses are spread at random, over their second half.", async () => {
  const world = new World();
  world.env.random = () => 0;
  begin({}, world);
  world.source.giveUp();
  await world.pass(499);
  assert.equal(world.requests.length, 0);
  await world.pass(1);
  assert.equal(world.requests.length, 1);
});

test("A transport that fails twice without a sign, while the server is there, gives way to the next.", async () => {
  const { world, told, here } = begin({ since: id(5) });
  world.source.giveUp();
  await world.pass(1000);
  await world.request.answer([update(6)], id(6));
  assert.equal(world.sources.length, 2);
  world.source.giveUp();
  await world.pass(2000);
  assert.equal(query(world.request.url).since, id(6));
  await world.request.answer([], id(7));
  assert.deepEqual([world.sources.length, here.transport()], [2, "ndjson"]);
  assert.equal(path(world.request.url), "/channels/a,b/ndjson");
  assert.deepEqual(query(world.request.url), { since: id(7) });
  assert.deepEqual(told.updates, ["6"]);
});

test("Two failures with a success between them are none.", async () => {
  const { world, here } = begin();
  for (let round = 0; round < 3; round += 1) {
    world.source.giveUp();
    await world.pass(4000);
    await world.request.answer();
    world.source.beat(1);
    world.source.giveUp();
    await world.pass(4000);
  }
  assert.equal(here.transport(), "sse");
});

test("A browser that tries again by itself, twice without a sign, is asked no more.", async () => {
  const { world } = begin();
  world.source.lose();
  assert.equal(world.source.readyState, 0);
  world.source.lose();
  assert.equal(world.source.readyState, 2);
  await world.pass(1000);
  assert.equal(path(world.request.url), "/channels/a,b/poll");
});

test("What buffers on the way costs each stream its place, and is remembered for the tab.", async () => {
  const { world, told, here } = begin();
  await silent(world);
  assert.equal(here.transport(), "ndjson");
  await silent(world);
  assert.equal(here.transport(), "poll");
  await world.request.answer([update(2)], id(2));
  assert.deepEqual([told.updates, told.states], [["2"], ["stale", "live"]]);
  const { here: next } = begin({}, Object.assign(new World(), { stored: world.stored }));
  assert.equal(next.transport(), "poll");
  const later = Object.assign(new World(), { stored: world.stored });
  later.time += 700_000;
  assert.equal(begin({}, later).here.transport(), "sse");
});

test("A head that comes through is no sign of what follows it.", async () => {
  const { world, told, here } = begin();
  await silent(world);
  await world.request.stream(id(1));
  assert.deepEqual(told.states, ["stale", "live"]);
  await world.pass(24_500);
  await world.request.answer([], id(1));
  assert.deepEqual([here.transport(), told.states.at(-1)], ["poll", "stale"]);
});

test("If the server is not there either, silence is nobody's fault.", async () => {
  const { world, here } = begin();
  await world.pass(6000);
  await world.pass(7000);
  await world.pass(1000);
  await world.request.answer([], id(1));
  assert.deepEqual([here.transport(), world.sources.length, world.open], ["sse", 2, 1]);
});

test("A stream that falls silent is replaced at once, by the same transport.", async () => {
  const { world, told } = begin();
  world.source.beat(7);
  await world.pass(24_499);
  assert.equal(world.sources.length, 1);
  await world.pass(1);
  assert.equal(query(world.source.url).since, id(7));
  assert.deepEqual([world.sources.length, world.open, told.states], [2, 1, ["live", "stale"]]);
});

test("How long silence may last is told by the server.", async () => {
  const { world } = begin();
  world.source.beat(7, 60);
  await world.pass(91_999);
  assert.equal(world.sources.length, 1);
  await world.pass(1);
  assert.equal(world.sources.length, 2);
});

test("A beat is enough to be live for ever.", async () => {
  const { world, told } = begin();
  for (let minute = 0; minute < 240; minute += 1) {
    world.source.beat(7);
    await world.pass(15_000);
  }
  assert.deepEqual([world.sources.length, told.states], [1, ["live"]]);
});

test("Retry-After is minded.", async () => {
  const { world, told } = begin();
  world.source.giveUp();
  await world.pass(1000);
  await world.request.status(503, { "Retry-After": "90" });
  await world.pass(89_999);
  assert.equal(world.requests.length, 1);
  await world.pass(90_000 / 4 + 1);
  assert.equal(world.requests.length, 2);
  assert.deepEqual(told.states, ["offline", "offline 503"]);
});

test("Retry-After is minded whoever looks at the page, and while it was put away.", async () => {
  const { world, here } = begin();
  world.source.giveUp();
  await world.pass(1000);
  await world.request.status(503, { "Retry-After": "90" });
  here.wake();
  here.sleep();
  here.wake();
  here.wake();
  await world.pass(89_000);
  assert.deepEqual([world.requests.length, world.sources.length], [1, 1]);
  await world.pass(1000);
  assert.deepEqual([world.requests.length, world.open], [2, 1]);
});

test("Names that are wrong close it.", async () => {
  const { world, told } = begin();
  world.source.giveUp();
  await world.pass(1000);
  await world.request.status(400);
  await world.pass(1_000_000);
  assert.deepEqual([told.states, world.requests.length, world.open], [["offline", "closed 400"], 1, 0]);
});

test("Whoever is not welcome, and has no other token, asks twice a minute, and when the page is looked at.", async () => {
  const { world, told, here } = begin({ token: "t" });
  assert.equal(query(world.source.url).token, "t");
  world.source.giveUp();
  await world.pass(1000);
  assert.equal(world.request.init.headers.Authorization, "Bearer t");
  await world.request.status(403);
  await world.pass(29_999);
  assert.equal(world.requests.length, 1);
  here.wake();
  assert.equal(world.sources.length, 2);
  assert.deepEqual(told.states, ["offline", "offline 403"]);
});

test("A token is fetched, and anew when it is refused or about to end.", async () => {
  const tokens = ["one", "two", "three"];
  const { world } = begin({ token: () => tokens.shift() });
  await settled();
  assert.equal(query(world.source.url).token, "one");
  world.source.giveUp();
  await world.pass(1000);
  await world.request.status(401);
  await world.pass(2000);
  assert.equal(world.request.init.headers.Authorization, "Bearer two");
  await world.request.answer([], id(3));
  world.source.beat(3);
  await world.pass(10_000);
  world.source.emit("comet.expiring", { expiring: 30 });
  await settled();
  assert.deepEqual(query(world.source.url), { envelope: "1", since: id(3), token: "three" });
  assert.equal(world.open, 1);
});

test("A token that is about to end as soon as it is there is used until it has ended.", async () => {
  let asked = 0;
  const { world } = begin({ token: () => `${(asked += 1)}` });
  await settled();
  for (let round = 1; round < 4; round += 1) {
    assert.equal(query(world.source.url).token, `${round}`);
    world.source.beat(3);
    world.source.emit("comet.expiring", { expiring: 2 });
    await world.pass(2000);
    world.source.emit("comet.expiring", { expiring: 0 });
    world.source.giveUp();
    await world.pass(4000);
    assert.equal(asked, round + 1);
  }
});

test("A token that can't be fetched now is asked for later.", async () => {
  let asked = 0;
  const { world } = begin({
    token: async () => {
      asked += 1;
      if (asked < 3) throw new Error("offline");
      return "late";
    },
  });
  await world.pass(1000);
  await world.pass(2000);
  assert.equal(asked, 3);
  assert.equal(world.request.init.headers.Authorization, "Bearer late");
});

test("A fixed token that ends is not asked for.", () => {
  const { world } = begin({ token: "t" });
  world.source.beat(1);
  world.source.emit("comet.expiring", { expiring: 30 });
  assert.equal(world.sources.length, 1);
});

test("A deleted channel is left, and the others go on from there.", () => {
  const { world, told, here } = begin();
  world.source.beat(7);
  world.source.emit("comet.closed", { closed: "a" }, id(8));
  assert.deepEqual([told.closed, told.states], [["a"], ["live"]]);
  assert.deepEqual([path(world.source.url), query(world.source.url).since], ["/channels/b/sse", id(8)]);
  world.source.emit("comet.closed", { closed: "b" }, id(9));
  assert.deepEqual([told.closed, told.states, world.open], [["a", "b"], ["live", "closed"], 0]);
  here.wake();
  assert.equal(world.open, 0);
});

test("After the end nothing is heard.", async () => {
  const { world, told, here } = begin();
  const source = world.source;
  source.beat(7);
  here.stop();
  source.update(8);
  source.giveUp();
  here.sleep();
  here.wake();
  await world.pass(1_000_000);
  assert.deepEqual([told.updates, told.states, world.timers.size], [[], ["live", "closed"], 0]);
});

test("While the page is put away there is no connection; then it goes on.", async () => {
  const { world, told, here } = begin();
  world.source.beat(7);
  here.sleep();
  assert.equal(world.open, 0);
  await world.pass(1_000_000);
  assert.equal(world.sources.length, 1);
  here.wake();
  assert.equal(query(world.source.url).since, id(7));
  world.source.beat(7);
  assert.deepEqual(told.states, ["live", "offline", "live"]);
});

test("A page that begins to be left, and stays: what the browser has ended without a word goes on, anything else is left alone.", async () => {
  const world = new World();
  const told = [];
  subscriber(world.env, "http://x")("a", { onupdate: (each) => told.push(each.data) });
  world.source.beat(7);
  world.heard.beforeunload();
  await world.pass(2000);
  assert.equal(world.sources.length, 1);
  world.heard.beforeunload();
  world.source.close();
  await world.pass(1000);
  assert.deepEqual([world.sources.length, world.open, query(world.source.url).since], [2, 1, id(7)]);
  world.source.update(8);
  assert.deepEqual(told, ["8"]);
});

test("Who is woken looks at once, instead of waiting for the browser, a pause, or a timer that has slept.", async () => {
  const { world, here } = begin();
  world.source.beat(7);
  here.wake();
  assert.equal(world.sources.length, 1, "nothing is wrong");
  world.source.lose();
  here.wake();
  assert.equal(world.sources.length, 2, "the browser waits");
  world.source.beat(7);
  world.source.giveUp();
  here.wake();
  assert.equal(world.sources.length, 3, "a pause");
  world.source.beat(7);
  world.time += 3_600_000;
  here.wake();
  assert.equal(world.sources.length, 4, "an hour has gone by unseen");
  assert.equal(world.open, 1);
});

test("A line of the stream by fetch may come in pieces.", async () => {
  const { world, told, here } = begin({ transport: "ndjson", since: id(1) });
  await world.request.stream(id(1));
  const text = new TextEncoder().encode(
    `${JSON.stringify({ ...update(2), data: "zwölf" })}\n ${JSON.stringify({ gap: { reason: "trimmed" } })}\n`,
  );
  for (const byte of text) await world.request.bytes(new Uint8Array([byte]));
  assert.deepEqual([told.updates, told.gaps, here.cursor()], [["zwölf"], ["trimmed"], id(2)]);
  await world.request.bytes(" ");
  await world.request.bytes('{"closed":"a"}\n{"closed":"b"}\n');
  assert.equal(path(world.request.url), "/channels/b/ndjson");
  await world.request.stream(id(2));
  await world.request.end();
  assert.deepEqual([told.closed, told.states], [["a"], ["live", "offline"]]);
});

test("A stream by fetch has a cursor from its head on.", async () => {
  const { world, here } = begin({ transport: "ndjson" });
  await world.request.stream(id(4));
  assert.equal(here.cursor(), id(4));
});

test("Polls follow one another, each from the cursor of the one before.", async () => {
  const { world, told, here } = begin({ transport: "poll", last: 2 });
  assert.deepEqual(query(world.request.url), { last: "2", timeout: "1", limit: "1000" });
  await world.request.answer([update(1), update(2)], id(2));
  assert.deepEqual(query(world.request.url), { since: id(2), timeout: "25", limit: "1000" });
  await world.request.answer([], id(9), { gap: { reason: "trimmed" } });
  assert.deepEqual([told.updates, told.gaps, here.cursor()], [["1", "2"], ["trimmed"], id(9)]);
  await world.request.answer([update(12, "b")], id(12), { closed: ["a"] });
  assert.deepEqual([told.closed, path(world.request.url)], [["a"], "/channels/b/poll"]);
  assert.equal(world.open, 1);
  await world.request.answer([], id(13), { closed: ["b"] });
  assert.deepEqual([told.closed, told.states, world.open], [["a", "b"], ["live", "closed"], 0]);
});

test("A poll that hangs is given up some seconds after its time.", async () => {
  const { world, told } = begin({ transport: "poll" });
  await world.request.answer([], id(2));
  await world.pass(30_999);
  assert.equal(world.requests.length, 2);
  await world.pass(1);
  assert.equal(query(world.request.url).since, id(2));
  assert.deepEqual(told.states, ["live", "stale"]);
});

test("Where something on the way gives up after five seconds, polls take four.", async () => {
  const { world, told } = begin({ transport: "poll" });
  await world.request.answer([], id(2));
  await world.pass(5000);
  await world.request.status(504);
  assert.equal(query(world.request.url).timeout, "4");
  await world.request.answer([], id(2));
  assert.equal(query(world.request.url).timeout, "4");
  assert.deepEqual(told.states, ["live"]);
});

test("A better transport is tried after ten minutes, beside the one that works, and taken at its first sign.", async () => {
  const { world, told, here } = begin();
  await silent(world);
  await silent(world);
  for (let round = 0; round < 24; round += 1) {
    await world.request.answer([], id(2));
    await world.pass(25_000);
  }
  assert.equal(world.sources.length, 2);
  assert.equal(here.transport(), "poll");
  world.source.beat(2);
  assert.deepEqual([here.transport(), world.sources.length, world.open], ["sse", 3, 1]);
  assert.equal(query(world.source.url).since, id(2));
  world.source.beat(2);
  world.source.update(3);
  assert.deepEqual(told.updates, ["3"]);
});

test("A better transport that still does not work is left for another ten minutes, and the page sees nothing of it.", async () => {
  const { world, told, here } = begin();
  await silent(world);
  await silent(world);
  await world.request.answer([], id(2));
  const states = told.states.length;
  const begun = world.sources.length;
  for (let round = 0; round < 55; round += 1) {
    const polls = world.requests.filter((each) => each.isOpen && each.url.includes("/poll"));
    assert.equal(polls.length, 1);
    await world.pass(20_000);
    await polls[0].answer([], id(2));
  }
  assert.equal(world.sources.length - begun, 1);
  assert.deepEqual([here.transport(), told.states.length], ["poll", states]);
});

test("A browser that lacks something begins with what it has.", () => {
  const world = new World();
  delete world.env.EventSource;
  delete world.env.ReadableStream;
  assert.equal(begin({}, world).here.transport(), "poll");
});

test("A browser that remembers nothing is served all the same.", async () => {
  const world = new World();
  world.env.storage = () => {
    throw new Error("SecurityError");
  };
  const { here } = begin({}, world);
  await silent(world);
  assert.equal(here.transport(), "ndjson");
});

test("The one transport that is asked for is kept, whatever happens.", async () => {
  const { world, here } = begin({ transport: "sse" });
  await silent(world);
  await silent(world);
  assert.deepEqual([here.transport(), world.stored.size, world.sources.length], ["sse", 0, 3]);
});
