/** One published thing. */
export interface Update {
  id: string;
  channel: string;
  event: string | null;
  type: string;
  /** Text; base64 if `encoding` says so. */
  data: string;
  encoding?: "base64";
  /** Seconds since 1970. */
  time: number;
}

/** Updates after `since` that can no longer be supplied: what the page shows may be out of date. */
export interface Gap {
  since: string;
  first: string | null;
  reason: "trimmed" | "epoch" | "future" | "unknown";
}

export type State = "connecting" | "live" | "stale" | "offline" | "closed";
export type Transport = "sse" | "ndjson" | "poll";

/** What is told beside a state: which channel was deleted, or with which status the server refuses. */
export interface Info {
  channel?: string;
  status?: number;
}

export interface Options {
  onupdate?(update: Update): void;
  ongap?(gap: Gap): void;
  onstate?(state: State, info: Info): void;
  /** Everything after this cursor. */
  since?: string | null;
  /** Without a cursor: so many of the newest updates of each channel first. */
  last?: number;
  /** A signed token, or what fetches one: it is asked again before the token ends. */
  token?: string | (() => string | Promise<string>);
  /** This transport only, whatever happens. */
  transport?: Transport;
  /** Where comet's routes are; else where the script has come from. */
  url?: string;
  /** Send cookies to a server of another site. */
  credentials?: boolean;
  /** false: a connection of this tab's own. */
  tabs?: boolean;
}

export interface Subscription {
  close(): void;
  /** Everything up to here has been told; null before that is known. */
  readonly cursor: string | null;
  readonly state: State;
  readonly transport: Transport | undefined;
}

export function subscribe(channels: string | string[], options?: Options): Subscription;

declare global {
  interface Window {
    comet: { subscribe: typeof subscribe };
  }
  /** Where comet.js, the classic script, is on the page. */
  const comet: { subscribe: typeof subscribe };
}
