// A queue as a whole: inspection, and operations on messages that nobody holds.

import { number, oneOf, tenant } from "./check.js";
import { NONE, settled, type RawQueue } from "./core.js";
import { unpack } from "./envelope.js";
import {
  limitedOf,
  paged,
  pageOf,
  pausedOf,
  pauseOf,
  rateOf,
  upTo,
  type Changed,
  type Page,
  type PageConfig,
  type PauseConfig,
  type Paused,
  type RateLimitInfo,
  type SetRateLimitConfig,
  type ShownPause,
  type ShownRate,
} from "./page.js";

/** Statistics of a queue at one instant: `ready + delayed + leased + dead = accepted - settled`. */
export type QueueStats = {
  /** Due, and not held. */
  ready: number;
  /** Part of `ready`: waiting for an unfinished message with the same ordering key. */
  blocked: number;
  /** Not due yet. */
  delayed: number;
  /** Held by receivers. */
  leased: number;
  /** Dead letters. */
  dead: number;
  /** Sends so far, not counting duplicates. */
  accepted: number;
  /** Acked, removed, purged, and dead letters that ended. */
  settled: number;
  /** How long the oldest deliverable message has been ready; `null` if there is none. */
  oldestReadyAgeMs: number | null;
  /** When the next delayed message is due, in epoch ms; `null` if there is none. */
  nextDue: number | null;
  /** The current pause. */
  paused: Paused | null;
  /** The current limit of the rate; `null` if there is none. */
  rateLimit: RateLimitInfo | null;
  /** More was overdue than one call processes: the numbers are those after its last step. */
  settling: boolean;
};

/** The current state of an unfinished message. Instants are in epoch ms. */
export type QueueMessageInfo<T> = {
  data: T;
  messageId: string;
  state: QueueState;
  /** Ready, but waiting for an unfinished message with the same ordering key. */
  blocked: boolean;
  /** Deliveries so far. */
  attempts: number;
  /** When it was sent. */
  enqueuedAt: number;
  /** When it is due; if ready or leased, the time that determines its order. */
  due: number;
  /** When it becomes a dead letter unless it is finished. */
  expiresAt: number | null;
  /** The `reason` of the last nack that had one. */
  note: string | null;
  /** The `error` of the last nack that had one. */
  lastError: string | null;
  /** Its lease, if it is leased: the fencing token of the delivery, when it ends unless touched, and the holder. */
  lease: { fence: number; end: number; consumer: string } | null;
  orderingKey?: string;
  meta?: Record<string, unknown>;
};

/** The state of an unfinished message: due, not due yet, or held by a receiver. */
export type QueueState = "ready" | "delayed" | "leased";

/** Why a message is a dead letter: too old, its last delivery failed, or rejected by its receiver. */
export type QueueDeadReason = "expired" | "max_deliveries_exceeded" | "rejected" | "undecodable";

/** A message that ended without an ack. Instants are in epoch ms. */
export type QueueDeadLetter<T> = {
  data: T;
  /** The message's id, which it keeps when it is requeued. */
  messageId: string;
  reason: QueueDeadReason;
  /** The last `reason` that a receiver gave. */
  note: string | null;
  /** The last `error` that a receiver gave. */
  lastError: string | null;
  /** How often it was delivered. */
  attempts: number;
  /** When it was sent. */
  enqueuedAt: number;
  /** When it became a dead letter. */
  movedAt: number;
  /** How long it is kept. */
  keptUntil: number | null;
  orderingKey?: string;
  meta?: Record<string, unknown>;
};

/** A filter of dead letters; all given conditions must hold. */
export type QueueDeadFilter = {
  reason?: QueueDeadReason;
  /** Moved before this instant, in epoch ms. */
  movedBefore?: number;
  /** Moved at this instant or later, in epoch ms. */
  movedAfter?: number;
};

/** The dead letters of a queue. Calls on several affect those that exist when the call begins, oldest first. */
export type QueueDeadLetters<T> = {
  /** Newest first, page by page. */
  list(cfg?: QueueDeadFilter & PageConfig): Promise<Page<QueueDeadLetter<T>>>;
  /** `null` if there is no such dead letter. */
  get(messageId: string): Promise<QueueDeadLetter<T> | null>;
  /**
   * Turns it back into a message with the same id and attributes, attempts from 0, due after `delayMs` (default 0).
   * False if it did not exist.
   */
  requeue(messageId: string, cfg?: { delayMs?: number }): Promise<boolean>;
  /** The same for several, at most `limit` (default all). Resolves to their number. */
  requeueAll(cfg?: QueueDeadFilter & { limit?: number; delayMs?: number }): Promise<number>;
  /** False if it did not exist. */
  remove(messageId: string): Promise<boolean>;
  /** Removes several, at most `limit` (default all). Resolves to their number. */
  purge(cfg?: QueueDeadFilter & { limit?: number }): Promise<number>;
};

type TenantConfig = { tenantId?: string };

/** Inspection and administration of a queue. */
export type QueueAdmin<T> = {
  stats(cfg?: TenantConfig): Promise<QueueStats>;
  /** The next messages that would be received, at most `max` (whole, 1 to 1,000), without blocked ones. */
  peek(max: number, cfg?: TenantConfig): Promise<QueueMessageInfo<T>[]>;
  /**
   * The messages in one state: ready ones in order and blocked ones after them, delayed by due time, leased by lease
   * end.
   */
  list(state: QueueState, cfg?: PageConfig & TenantConfig): Promise<Page<QueueMessageInfo<T>>>;
  /** `null` if it is finished, a dead letter, or never existed. */
  get(messageId: string, cfg?: TenantConfig): Promise<QueueMessageInfo<T> | null>;
  /** Removes a message that is not held. `held`: it is held; nothing changed. */
  remove(messageId: string, cfg?: TenantConfig): Promise<"removed" | "held" | "absent">;
  /** Removes all ready and delayed messages. Resolves to their number. */
  purge(cfg?: TenantConfig): Promise<number>;
  /**
   * Deletes the queue and everything in it: messages, leases, dead letters, keys, pause, limit. False if there was
   * nothing.
   */
  delete(cfg?: TenantConfig): Promise<boolean>;
  /**
   * Pauses delivery until `resume` or for `forAtMostMs`; everything else continues, and receivers wait. A second pause
   * replaces end and reason of the first. `reason` is shown by `stats`.
   */
  pause(cfg?: PauseConfig & TenantConfig): Promise<Changed>;
  /** Ends a pause. */
  resume(cfg?: TenantConfig): Promise<Changed>;
  /**
   * Limits the rate of deliveries, to all receivers of the queue and tenant together: at most `limit` in each window of
   * `perMs`. Every delivery counts, also a repeated one, and one that is given back later. While a window is used up,
   * receivers wait as in an empty queue. The limit lasts until it is replaced or removed, or the queue is deleted; what
   * was delivered in the window under way counts towards the new one.
   */
  setRateLimit(cfg: SetRateLimitConfig & TenantConfig): Promise<Changed>;
  /** Removes the limit of the rate. */
  removeRateLimit(cfg?: TenantConfig): Promise<Changed>;
  /** The messages that ended without an ack. Throws synchronously. */
  deadLetters(cfg?: TenantConfig): QueueDeadLetters<T>;
};

const STATES: readonly QueueState[] = ["ready", "delayed", "leased"];
const REASONS: readonly QueueDeadReason[] = ["expired", "max_deliveries_exceeded", "rejected", "undecodable"];

/** What the core returns. */
type ShownStats = [
  ...counts: Counts,
  oldest: number | null,
  next: number | null,
  paused: ShownPause,
  rate: ShownRate,
  settling: boolean,
];
type Counts = [number, number, number, number, number, number, number];
type ShownMessage = [
  value: string,
  messageId: string,
  state: QueueState,
  blocked: boolean,
  attempts: number,
  enqueuedAt: number,
  due: number,
  expiresAt: number | null,
  note: string | null,
  lastError: string | null,
  lease: [fence: number, end: number, consumer: string] | null,
];
type ShownLetter = [
  value: string,
  messageId: string,
  reason: QueueDeadReason,
  note: string | null,
  lastError: string | null,
  attempts: number,
  enqueuedAt: number,
  movedAt: number,
  keptUntil: number | null,
];

/** The inspection and administration methods of a queue. @internal */
export function admin<T>(raw: RawQueue, configured: string): QueueAdmin<T> {
  const whose = ({ tenantId }: TenantConfig) => tenant(tenantId, configured);
  return {
    async stats(cfg = {}) {
      const shown = await settled<ShownStats>(raw.stats(whose(cfg)));
      const [ready, blocked, delayed, leased, dead, accepted, done, oldest, nextDue, pause, rate, settling] = shown;
      const counts = { ready, blocked, delayed, leased, dead, accepted, settled: done };
      const held = { paused: pausedOf(pause), rateLimit: limitedOf(rate) };
      return { ...counts, oldestReadyAgeMs: oldest, nextDue, ...held, settling };
    },
    async peek(max, cfg = {}) {
      const shown = await settled<ShownMessage[]>(raw.peek(whose(cfg), upTo(max)));
      return shown.map((one) => message<T>(one));
    },
    async list(state, cfg = {}) {
      const of = whose(cfg);
      oneOf(STATES, "state", state);
      const shown = await settled<[ShownMessage[], string | null]>(raw.list(of, state, ...pageOf(cfg)));
      return paged(shown, (one) => message<T>(one));
    },
    async get(messageId, cfg = {}) {
      const shown = await settled<ShownMessage | null>(raw.get(whose(cfg), String(messageId)));
      return shown && message<T>(shown);
    },
    remove: async (messageId, cfg = {}) => settled(raw.remove(whose(cfg), String(messageId))),
    purge: async (cfg = {}) => settled(raw.purge(whose(cfg))),
    delete: async (cfg = {}) => settled(raw.delete(whose(cfg))),
    async pause(cfg = {}) {
      return settled(raw.pause(whose(cfg), ...pauseOf(cfg)));
    },
    resume: async (cfg = {}) => settled(raw.resume(whose(cfg))),
    setRateLimit: async (cfg) => settled(raw.set_rate_limit(whose(cfg), ...rateOf(cfg))),
    removeRateLimit: async (cfg = {}) => settled(raw.remove_rate_limit(whose(cfg))),
    deadLetters: (cfg = {}) => deadLetters(raw, whose(cfg)),
  };
}

function deadLetters<T>(queue: RawQueue, whose: string): QueueDeadLetters<T> {
  const raw = queue.dead_letters(whose);
  const delayOf = (delayMs: number | undefined) => number("delayMs", delayMs, { otherwise: 0, floor: 0, orZero: true });
  const limitOf = (limit: number | undefined) =>
    number("limit", limit, { otherwise: NONE, whole: true, most: Number.MAX_SAFE_INTEGER });
  return {
    async list(cfg = {}) {
      const shown = await settled<[ShownLetter[], string | null]>(raw.list(...filter(cfg), ...pageOf(cfg)));
      return paged(shown, (one) => letter<T>(one));
    },
    async get(messageId) {
      const shown = await settled<ShownLetter | null>(raw.get(String(messageId)));
      return shown && letter<T>(shown);
    },
    requeue: async (messageId, cfg = {}) => settled(raw.requeue(String(messageId), delayOf(cfg.delayMs))),
    requeueAll: async (cfg = {}) =>
      settled(raw.requeue_all(...filter(cfg), limitOf(cfg.limit), delayOf(cfg.delayMs))),
    remove: async (messageId) => settled(raw.remove(String(messageId))),
    purge: async (cfg = {}) => settled(raw.purge(...filter(cfg), limitOf(cfg.limit))),
  };
}

/** The arguments of a filter, for the core. */
function filter(cfg: QueueDeadFilter): [reason: string | undefined, before: number, from: number] {
  const { reason, movedBefore, movedAfter } = cfg;
  if (reason !== undefined) oneOf(REASONS, "reason", reason);
  const at = { otherwise: NONE, floor: 0, orZero: true, most: Number.MAX_SAFE_INTEGER };
  return [reason, number("movedBefore", movedBefore, at), number("movedAfter", movedAfter, at)];
}

function message<T>(shown: ShownMessage): QueueMessageInfo<T> {
  const [value, messageId, state, blocked, attempts, enqueuedAt, due, expiresAt, note, lastError, held] = shown;
  const lease = held && { fence: held[0], end: held[1], consumer: held[2] };
  const about = { messageId, state, blocked, attempts, enqueuedAt, due, expiresAt, note, lastError, lease };
  return unpack(value, about);
}

function letter<T>(shown: ShownLetter): QueueDeadLetter<T> {
  const [value, messageId, reason, note, lastError, attempts, enqueuedAt, movedAt, keptUntil] = shown;
  return unpack(value, { messageId, reason, note, lastError, attempts, enqueuedAt, movedAt, keptUntil });
}
