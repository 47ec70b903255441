import { isAfter, isSameLife } from "./cursors.js";
import { line } from "./line.js";

/** How often it is asked once more what came before the shared line, where no order between the two is to be seen. */
const ROUNDS = 3;

/**
 * Up to 16 channels of this tab that are listened to on a line which all tabs share.
 *
 * Strategy: by a short poll it gets all there is up to some cursor. Where the shared line has all of its channels from
 * that cursor on, or from an earlier one, it goes on there; from a later one, it polls once more, and keeps until then
 * what the line tells. So it joins, and so it comes back after whatever tore it away.
 * @param {any} env
 * @param {any} options as of `line`, with the `group` of tabs
 * @param {any} sink as of `line`
 */
export function member(env, options, sink) {
  const { group } = options;
  let { names, since: cursor } = options;
  let state = "connecting";
  let polling = null;
  let alone = null; // a line of its own, where what all tabs want is refused
  let place = null; // the number of the shared line, with its leader
  let begin; // where that line began to tell
  let kept = null; // what it has told since then, until it can be used
  let rounds = 0;

  const is = (now, info = {}) => {
    if (state === "closed" || (state === now && !info.status)) return;
    state = now;
    sink.state(now, info);
  };

  const letGo = () => {
    const last = polling;
    polling = kept = place = null;
    if (last) last.stop();
  };

  const stop = (info) => {
    letGo();
    if (alone) alone.stop();
    group.leave(self);
    is("closed", info);
  };

  const update = (each) => {
    cursor = each.id;
    sink.update(each);
  };

  const closed = (name) => {
    if (names.indexOf(name) < 0) return;
    names = names.filter((other) => other !== name);
    sink.closed(name);
    if (!names.length) stop();
    else group.changed();
  };

  const poll = () => {
    const mine = line(
      env,
      { ...options, names, since: cursor },
      {
        update,
        closed,
        gap: sink.gap,
        state: (now, info) => polling === mine && (now === "closed" ? stop(info) : is(now, info)),
        answered() {
          polling = null;
          cursor = mine.cursor();
          group.join(self);
          if (place) settle();
          else look();
        },
      },
    );
    polling = mine;
    mine.open();
  };

  /** Go on with the shared line, if nothing is missing between. */
  const settle = () => {
    if (isAfter(begin, cursor) && (isSameLife(begin, cursor) || rounds < ROUNDS)) {
      rounds += 1;
      return poll();
    }
    rounds = 0;
    const told = kept;
    kept = null;
    told.forEach(take);
    return is(group.state());
  };

  /** The shared line has another shape, or state. */
  const look = () => {
    if (alone || state === "closed") return;
    const refusal = group.refusal();
    const found = group.find(names);
    if (refusal && !polling) {
      letGo();
      alone = line(env, { ...options, names, since: cursor }, sink);
      alone.open();
      group.leave(self);
      return;
    }
    if (!found) {
      place = kept = null;
      if (!polling && group.state() !== "live") is(group.state());
    } else if (found.place !== place) {
      ({ place, cursor: begin } = found);
      kept = [];
      if (!polling) settle();
    } else if (!kept) {
      is(group.state());
    }
  };

  const take = ({ to, update: each, gap, closed: name }) => {
    const isNew = isAfter(to, cursor);
    if (isNew) cursor = to;
    if (each && isNew && names.indexOf(each.channel) >= 0) sink.update(each);
    if (gap) sink.gap(gap);
    if (name) closed(name);
  };

  const self = {
    open() {
      group.enter(self);
      poll();
    },
    stop,
    sleep() {
      if (state === "closed") return;
      if (alone) return void alone.sleep();
      letGo();
      group.sleep();
      is("offline");
    },
    wake() {
      if (state === "closed") return;
      if (alone) return void alone.wake();
      group.wake();
      if (polling) polling.wake();
      else if (!place) poll();
    },
    cursor: () => (alone ? alone.cursor() : cursor),
    state: () => (alone ? alone.state() : state),
    transport: () => (alone || group).transport(),
    names: () => names,
    look,
    hear(from, news) {
      if (from !== place) return;
      if (kept) kept.push(news);
      else take(news);
    },
    /** Something of what the line told has not come through. */
    torn(from) {
      if (from !== place) return;
      place = null;
      look();
    },
  };
  return self;
}
