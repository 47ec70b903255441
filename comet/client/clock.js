/** How long to wait: for a sign of life, and before the next attempt. Milliseconds, but for heartbeats. */

/** So long a stream may take until its first sign, and a poll longer than it was to wait. */
export const OPENING = 6000;

/** What the server's heartbeat is until it has told. Seconds. */
export const HEARTBEAT = 15;

/** A connection that has lasted so long has not failed: the next attempt is a first one again. */
export const LASTING = 5000;

/** So long a browser may go on trying by itself. */
export const BY_ITSELF = 15000;

/** So long a tab that leads may take to answer another one. */
export const REPLY = 3000;

/** After so long a better transport is tried once more. */
export const BETTER = 600000;

const FIRST = 1000;
/** The longest pause, unless the server asks for more. */
export const LONGEST = 30000;

/**
 * The pause before an attempt: it doubles, and is spread so that not all come back at once.
 * @param {number} tries attempts that have failed since the last success
 * @param {number} asked milliseconds that the server has asked for
 * @param {() => number} random
 */
export function pause(tries, asked, random) {
  return Math.max(Math.min(FIRST * 2 ** tries, LONGEST) * (0.5 + random() / 2), asked * (1 + random() / 4));
}

/**
 * Silence after which a stream is given up.
 * @param {number} heartbeat seconds
 */
export function silence(heartbeat) {
  return heartbeat * 1500 + 2000;
}
