/** One connection for all tabs: who leads, who joins, and that nobody misses anything. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { subscriber } from "../../comet/client/subscribe.js";
import { Browser, Tab } from "./browser.mjs";

function open(browser, names, options = {}) {
  const tab = new Tab(browser);
  const it = { tab, got: [], states: [], gaps: 0, since: browser.log.length, names };
  it.sub = subscriber(tab.env, "http://x")(names, {
    since: browser.head(),
    onupdate: (update) => it.got.push(Number(update.data)),
    onstate: (state) => it.states.push(state),
    ongap: () => (it.gaps += 1),
    ...options,
  });
  return it;
}

/** What it should have got, after `since`. */
const wanted = (browser, it) =>
  browser.log
    .slice(it.since)
    .filter((each) => it.names.includes(each.channel))
    .map((each) => Number(each.data));

function hasAll(browser, ...all) {
  all.forEach((it) => assert.deepEqual(it.got, wanted(browser, it)));
}

async function eight(browser) {
  const all = [];
  for (let number = 0; number < 8; number += 1) {
    all.push(open(browser, [`c${number}`, "all"]));
    await browser.pass(100);
  }
  await browser.pass(5000);
  return all;
}

test("Eight tabs with different channels have one connection.", async () => {
  const browser = new Browser();
  const all = await eight(browser);
  assert.deepEqual(
    all.map((each) => each.sub.state),
    Array(8).fill("live"),
  );
  assert.equal(browser.streams.length, 1);
  assert.equal(browser.names(browser.streams[0].url).length, 9);
  for (let number = 0; number < 100; number += 1) {
    browser.publish(["all", `c${number % 8}`][number % 2]);
    await browser.pass(5);
  }
  await browser.pass(100);
  hasAll(browser, ...all);
  assert.deepEqual([...new Set(all.map((each) => each.sub.cursor))], [browser.head()]);
});

test("While tabs come and go, the others miss nothing.", async () => {
  const browser = new Browser();
  const all = [];
  for (let number = 0; number < 8; number += 1) {
    all.push(open(browser, [`c${number}`, "all"]));
    for (let step = 0; step < 100; step += 1) {
      browser.publish(["all", `c${step % 8}`][step % 2]);
      await browser.pass(20);
    }
  }
  await browser.pass(5000);
  hasAll(browser, ...all);
  all[3].sub.close();
  all[4].tab.close();
  browser.publish("all");
  await browser.pass(5000);
  browser.publish("all");
  await browser.pass(2000);
  hasAll(browser, ...all.filter((_, number) => number !== 3 && number !== 4));
  assert.equal(browser.streams.length, 1);
  assert.ok(!browser.names(browser.streams[0].url).includes("c3"));
  assert.ok(!browser.names(browser.streams[0].url).includes("c4"));
});

test("The tab that leads is closed: another one leads, and nothing is lost.", async () => {
  const browser = new Browser();
  const all = await eight(browser);
  const leader = all.find((each) => each.tab.connections.size);
  for (let step = 0; step < 50; step += 1) {
    if (step === 20) leader.tab.close();
    browser.publish("all");
    await browser.pass(10);
  }
  await browser.pass(5000);
  const rest = all.filter((each) => each !== leader);
  hasAll(browser, ...rest);
  assert.equal(browser.streams.length, 1);
  assert.ok(rest.every((each) => each.sub.state === "live"));
});

for (const [asleep, awake] of [["pagehide", "pageshow"], ["freeze", "resume"]]) {
  test(`The tab that leads is told of its ${asleep}: it gives up its place, and comes back as one of the others.`, async () => {
    const browser = new Browser();
    const all = await eight(browser);
    const leader = all.find((each) => each.tab.connections.size);
    leader.tab.heard[asleep]();
    assert.deepEqual([leader.tab.connections.size, leader.tab.channels.size, leader.sub.state], [0, 0, "offline"]);
    browser.publish("all");
    await browser.pass(5000);
    leader.tab.heard[awake]();
    browser.publish("all");
    await browser.pass(5000);
    hasAll(browser, ...all);
    assert.equal(browser.streams.length, 1);
    assert.equal(leader.sub.state, "live");
  });
}

test("The tab that leads is frozen without a word: its place is taken, and when it thaws it follows.", async () => {
  const browser = new Browser();
  const all = await eight(browser);
  const leader = all.find((each) => each.tab.connections.size);
  leader.tab.frozen = true;
  for (let step = 0; step < 60; step += 1) {
    browser.publish("all");
    await browser.pass(1000);
  }
  hasAll(browser, ...all.filter((each) => each !== leader));
  leader.tab.frozen = false;
  await browser.pass(10_000);
  browser.publish("all");
  await browser.pass(5000);
  hasAll(browser, ...all);
  assert.equal(browser.streams.length, 1);
});

test("The server goes and comes: all are told, and get what they missed.", async () => {
  const browser = new Browser();
  const all = await eight(browser);
  browser.down();
  await browser.pass(5000);
  assert.ok(all.every((each) => each.sub.state === "offline"));
  browser.publish("all");
  browser.up = true;
  await browser.pass(20_000);
  browser.publish("all");
  await browser.pass(1000);
  hasAll(browser, ...all);
  assert.ok(all.every((each) => each.sub.state === "live"));
  assert.equal(browser.streams.length, 1);
});

test("More than 16 channels take another connection; each set stays on one.", async () => {
  const browser = new Browser();
  const names = (from, count) => Array.from({ length: count }, (_, number) => `n${from + number}`);
  const all = [open(browser, names(0, 20)), open(browser, names(10, 12)), open(browser, names(40, 3))];
  await browser.pass(8000);
  for (let number = 0; number < 50; number += 1) {
    browser.publish(`n${number}`);
    await browser.pass(5);
  }
  await browser.pass(100);
  all.forEach((it) => assert.deepEqual([...it.got].sort((one, other) => one - other), wanted(browser, it)));
  assert.ok(browser.streams.length <= 3);
  assert.ok(browser.streams.every((each) => browser.names(each.url).length <= 16));
});

test("What was there comes first, for each as it has asked.", async () => {
  const browser = new Browser();
  for (let number = 0; number < 10; number += 1) browser.publish("a");
  const first = open(browser, ["a"], { since: null, last: 2 });
  await browser.pass(3000);
  const second = open(browser, ["a"], { since: null, last: 5 });
  const third = open(browser, ["a"], { since: "epoch-7" });
  await browser.pass(3000);
  browser.publish("a");
  await browser.pass(1000);
  assert.deepEqual([first.got, second.got, third.got], [[9, 10, 11], [6, 7, 8, 9, 10, 11], [8, 9, 10, 11]]);
  assert.equal(browser.streams.length, 1);
});

test("A tab that wants no company, has a token, or no locks, has a connection of its own.", async () => {
  for (const [options, without] of [
    [{ tabs: false }],
    [{ token: "t" }],
    [{ transport: "sse" }],
    [{}, "locks"],
    [{}, "BroadcastChannel"],
  ]) {
    const browser = new Browser();
    for (let number = 0; number < 2; number += 1) {
      const tab = new Tab(browser);
      delete tab.env[without];
      subscriber(tab.env, "http://x")("a", options);
    }
    await browser.pass(3000);
    assert.equal(browser.streams.length, 2);
  }
});

test("Subscriptions of one page share, too; the last one to go lets go of everything.", async () => {
  const browser = new Browser();
  const tab = new Tab(browser);
  const subscribe = subscriber(tab.env, "http://x");
  const subs = ["a", "b", "a"].map((name) => subscribe(name));
  await browser.pass(3000);
  assert.equal(browser.streams.length, 1);
  subs.forEach((each) => each.close());
  await browser.pass(3000);
  assert.deepEqual([tab.connections.size, tab.channels.size, subs[0].state], [0, 0, "closed"]);
  assert.ok([...browser.locks.values()].every((queue) => queue.length === 0));
  const again = subscribe("a");
  await browser.pass(3000);
  assert.equal(again.state, "live");
});

test("A server that begins anew tells each of the gap, and each goes on.", async () => {
  const browser = new Browser();
  const all = await eight(browser);
  for (let life = 0; life < 2; life += 1) {
    browser.publish("all");
    await browser.pass(1000);
    browser.restart();
    browser.publish("all");
    await browser.pass(10_000);
    const late = open(browser, ["late", "all"], { since: null, last: 1 });
    await browser.pass(10_000);
    assert.equal(late.sub.state, "live");
    late.sub.close();
    browser.publish("all");
    await browser.pass(3000);
    all.forEach((it) => {
      assert.ok(it.gaps > life);
      assert.deepEqual(it.got.slice(-2), [1, 2]);
      assert.equal(it.sub.state, "live");
    });
    assert.equal(browser.streams.length, 1);
  }
});

test("A server that begins anew, and then says nothing, is asked no more than any other.", async () => {
  const browser = new Browser();
  const all = await eight(browser);
  browser.restart();
  await browser.pass(20_000);
  const late = open(browser, ["late"], { since: null });
  await browser.pass(20_000);
  const { asked } = browser;
  await browser.pass(60_000);
  assert.ok(browser.asked - asked < 10, `${browser.asked - asked} requests in a minute`);
  browser.publish("late");
  browser.publish("all");
  await browser.pass(1000);
  assert.deepEqual([late.got, all[0].got], [[1], [2]]);
});

test("A deleted channel is closed in each tab that had it, and the others go on.", async () => {
  const browser = new Browser();
  const closed = [];
  const told = (number) => ({ onstate: (state, info) => state === "closed" && closed.push([number, info.channel]) });
  const all = [open(browser, ["a", "b"], told(0)), open(browser, ["a"], told(1)), open(browser, ["b"], told(2))];
  await browser.pass(5000);
  browser.close("a");
  await browser.pass(3000);
  assert.deepEqual(
    all.map((each) => each.sub.state),
    ["live", "closed", "live"],
  );
  assert.deepEqual(closed, [[0, "a"], [1, "a"], [1, undefined]]);
  browser.publish("b");
  browser.publish("a");
  await browser.pass(3000);
  assert.deepEqual(
    all.map((each) => each.got),
    [[2], [], [2]],
  );
  assert.deepEqual(browser.streams.map((each) => browser.names(each.url)), [["b"]]);
});

test("Whoever is refused harms nobody else.", async () => {
  const browser = new Browser();
  browser.denied = (names) => names.includes("secret");
  const all = [open(browser, ["a"]), open(browser, ["secret"]), open(browser, ["a", "b"])];
  await browser.pass(10_000);
  assert.deepEqual(
    all.map((each) => each.sub.state),
    ["live", "offline", "live"],
  );
  assert.equal(browser.streams.length, 1);
});

test("When what all want together is refused, each is for itself.", async () => {
  const browser = new Browser();
  const all = [open(browser, ["a"]), open(browser, ["b"])];
  await browser.pass(5000);
  browser.denied = (names) => names.includes("b");
  browser.down();
  browser.up = true;
  await browser.pass(30_000);
  browser.publish("a");
  await browser.pass(1000);
  assert.deepEqual(
    all.map((each) => each.sub.state),
    ["live", "offline"],
  );
  hasAll(browser, all[0]);
  browser.denied = () => false;
  browser.publish("b");
  await browser.pass(60_000);
  hasAll(browser, ...all);
});

test("A stream that does not tell where it begins is shared all the same.", async () => {
  const browser = new Browser();
  browser.forgets = true;
  const all = [open(browser, ["a"]), open(browser, ["a", "b"])];
  await browser.pass(10_000);
  browser.publish("a");
  await browser.pass(1000);
  hasAll(browser, ...all);
  assert.ok(all.every((each) => each.sub.state === "live"));
  assert.equal(browser.streams.length, 1);
});

test("Where locks are forbidden, each is for itself.", async () => {
  const browser = new Browser();
  const tab = new Tab(browser);
  tab.env.locks.request = () => Promise.reject(new Error("SecurityError"));
  const sub = subscriber(tab.env, "http://x")("a");
  await browser.pass(5000);
  assert.deepEqual([sub.state, sub.transport], ["live", "sse"]);
});

/** A generator of chances that can be repeated. */
function chances(seed) {
  let state = seed;
  return () => {
    state = (state * 1_103_515_245 + 12_345) % 2 ** 31;
    return state / 2 ** 31;
  };
}

for (let seed = 1; seed <= 20; seed += 1) {
  test(`Whatever happens, all there are get everything, once, in order: chance ${seed}.`, async () => {
    const chance = chances(seed);
    const pick = (all) => all[Math.floor(chance() * all.length)];
    const browser = new Browser(chance);
    const all = [];
    const steps = {
      publish: () => browser.publish(pick(["a", "b", "c", "d"])),
      open: () => all.length < 6 && all.push(open(browser, [pick(["a", "b"]), pick(["c", "d"])])),
      close: () => chance() < 0.3 && all.length && all.splice(all.indexOf(pick(all)), 1)[0].tab.close(),
      freeze: () => all.length && (pick(all).tab.frozen = chance() < 0.3),
      hide: () => all.length && pick(all).tab.heard.pagehide(),
      show: () => all.forEach((each) => each.tab.heard.pageshow()),
      down: () => chance() < 0.3 && browser.down(),
      up: () => (browser.up = true),
    };
    for (let step = 0; step < 500; step += 1) {
      steps[chance() < 0.7 ? "publish" : pick(Object.keys(steps))]();
      await browser.pass(chance() < 0.9 ? chance() * 40 : chance() * 10_000);
    }
    browser.up = true;
    all.forEach((each) => (each.tab.frozen = false));
    steps.show();
    for (let round = 0; round < 3; round += 1) {
      await browser.pass(60_000);
      browser.publish("a");
    }
    await browser.pass(5000);
    hasAll(browser, ...all);
    assert.ok(all.every((each) => each.sub.state === "live"));
    assert.equal(browser.streams.length, all.length ? 1 : 0);
  });
}
