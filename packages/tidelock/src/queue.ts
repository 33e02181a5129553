/** Queues: each message to one receiver at a time, at least once, with leases, delays and retries. */

import { configuredTenant, key as keyOf, name, number, options, orderingKey, tenant, text, WEEK } from "./check.js";
import { NONE, RawQueue, repeated, settled, waiting, waitMs, type Exit } from "./core.js";
import { pack, unpack } from "./envelope.js";
import { MOST_ITEMS, upTo } from "./page.js";
import { admin, type QueueAdmin } from "./queue-admin.js";
import { parse, schemaOf, type Infer, type Schema } from "./schema.js";

export type { Changed, Page, PageConfig, PauseConfig, Paused, RateLimitInfo, SetRateLimitConfig } from "./page.js";
export type {
  QueueAdmin,
  QueueDeadFilter,
  QueueDeadLetter,
  QueueDeadLetters,
  QueueDeadReason,
  QueueMessageInfo,
  QueueState,
  QueueStats,
} from "./queue-admin.js";
export type { Infer, Schema } from "./schema.js";

/** The definition of a queue. */
export type QueueConfig<S extends Schema> = {
  /** 1 to 256 characters. */
  id: string;
  /** The schema of each message. */
  schema: S;
  /** The tenant, unless a call names another; default `default`. Tenants share no data. */
  tenantId?: string;
  /** A label; default `sync:queue`. */
  prefix?: string;
  ordering?: {
    /**
     * `ordering_key_partitioned` (default): messages with the same key one at a time, in order. `best_effort`: a key is
     * only a label.
     */
    mode?: "best_effort" | "ordering_key_partitioned";
    /** The number of lanes over which keys are spread; default: one per key. */
    partitions?: number;
  };
  limits?: {
    /** The maximum size of value and metadata in bytes; default 131,072. */
    payloadBytes?: number;
    /** How long a message is kept after its first due time, in ms; default 7 days. */
    maxMessageAgeMs?: number;
    /** Default 7 days. */
    maxNackDelayMs?: number;
    /** How long a dead letter is kept, in ms; default 7 days. */
    dlqRetentionMs?: number;
  };
  delivery?: {
    /** The lease of a received message, in ms; default 30,000. */
    defaultLeaseMs?: number;
    /** Deliveries of a message before it becomes a dead letter; default 10. */
    maxDeliveries?: number;
  };
};

/** A message to be sent. */
export type QueueSendConfig<T> = {
  data: T;
  /** The delay before it can be received, in ms; default 0. */
  delayMs?: number;
  /** Messages with the same key are received one at a time, in order. */
  orderingKey?: string;
  /** A second message with this key is not sent; its answer is that of the first. */
  idempotencyKey?: string;
  /** How long the key is remembered, in ms; default 7 days. */
  idempotencyTtlMs?: number;
  /** Metadata that travels with the message. */
  meta?: Record<string, unknown>;
  tenantId?: string;
};

/** Options of a receive. */
export type QueueRecvConfig = {
  /** Whether to wait until something arrives; default true. */
  wait?: boolean;
  /** The longest wait in ms; default 30,000, `Infinity` until aborted. */
  timeoutMs?: number;
  /** The lease of the message, in ms; default that of the queue. */
  leaseMs?: number;
  signal?: AbortSignal;
  /** The name of the holder, for inspections. */
  consumerId?: string;
  tenantId?: string;
};

/** A received message. Nobody else gets it until its lease ends. */
export type QueueReceived<T> = {
  data: T;
  messageId: string;
  /** The id of this delivery. */
  deliveryId: string;
  /** The number of this delivery of the message, from 1. */
  attempt: number;
  /** The end of the lease when it was delivered, in epoch ms. */
  leaseUntil: number;
  orderingKey?: string;
  meta?: Record<string, unknown>;
  /** The work is done. False if the lease had ended. */
  ack(): Promise<boolean>;
  /** Restarts its lease. False if it had ended. */
  touch(cfg?: { leaseMs?: number }): Promise<boolean>;
  /** The work failed: the message is delivered again, or becomes a dead letter. False if the lease had ended. */
  nack(cfg?: { delayMs?: number; reason?: string; error?: string }): Promise<boolean>;
};

/** Receives messages; all readers of a queue share them. */
export type QueueReader<T> = {
  /** The next message, or `null`: nothing arrived in time. */
  recv(cfg?: QueueRecvConfig): Promise<QueueReceived<T> | null>;
  /**
   * Waits for the first message and takes with it whatever else can be received then, up to `max` (whole, 1 to 1,000)
   * and one per ordering key. Empty if nothing arrived in time.
   */
  recvMany(max: number, cfg?: QueueRecvConfig): Promise<QueueReceived<T>[]>;
  /** Messages as they arrive. */
  stream(cfg?: QueueRecvConfig): AsyncIterable<QueueReceived<T>>;
};

/** A queue. */
export type Queue<T> = QueueReader<T> &
  QueueAdmin<T> & {
    send(cfg: QueueSendConfig<T>): Promise<{ messageId: string; duplicate: boolean }>;
    /**
     * Sends 1 to 1,000 messages of one tenant, at most 16 MiB together: all, or none if anything is wrong with one of them.
     * The answers are in the order of the messages.
     */
    sendMany(
      items: readonly Omit<QueueSendConfig<T>, "tenantId">[],
      cfg?: { tenantId?: string },
    ): Promise<{ messageId: string; duplicate: boolean }[]>;
    /** Acks up to 1,000 messages received from this queue for one tenant. False for those whose lease had ended. */
    ackMany(received: readonly QueueReceived<T>[]): Promise<boolean[]>;
    /** Rejects a received message for good: it becomes a dead letter with this reason. False if its lease had ended. */
    deadLetter(received: QueueReceived<T>, reason?: string, cfg?: { error?: string }): Promise<boolean>;
    /** Returns a received message unused: the delivery does not count as an attempt. False if its lease had ended. */
    giveBack(received: QueueReceived<T>): Promise<boolean>;
    reader(): QueueReader<T>;
  };

/** The arguments of a message, for the core. */
type Numbers = [delay: number, key: string | undefined, dedup: string | undefined, dedupFor: number];
/** What the core returns for a delivery. */
type Shown = [value: string, message: number, fence: number, attempt: number, lease: number, until: number];

/** The queue, as its messages see it. */
interface Giver {
  readonly raw: RawQueue;
  /** Checks the delay of a nack. */
  delayOf(delayMs: number | undefined): number;
}

/**
 * A received message. Its methods are own properties, so that they work when detached. Its queue is in a private field
 * instead of a `WeakMap`, which took a fifth of the time of a receive.
 */
class Received<T> implements QueueReceived<T> {
  readonly #by: RawQueue;
  readonly #whose: string;
  readonly #delivery: string;
  declare data: T;
  messageId: string;
  deliveryId: string;
  attempt: number;
  leaseUntil: number;
  declare orderingKey?: string;
  declare meta?: Record<string, unknown>;
  ack: QueueReceived<T>["ack"];
  touch: QueueReceived<T>["touch"];
  nack: QueueReceived<T>["nack"];

  constructor({ raw, delayOf }: Giver, whose: string, [value, message, fence, attempt, lease, leaseUntil]: Shown) {
    this.#by = raw;
    this.#whose = whose;
    unpack(value, this);
    this.messageId = String(message);
    this.#delivery = `${message}.${fence}`;
    this.deliveryId = this.#delivery;
    this.attempt = attempt;
    this.leaseUntil = leaseUntil;
    this.ack = async () => settled<boolean>(raw.ack(whose, message, fence));
    this.touch = async (cfg = {}) => {
      const again = number("leaseMs", cfg.leaseMs, { otherwise: NONE });
      return settled<boolean>(raw.touch(whose, message, fence, lease, again));
    };
    this.nack = async (cfg = {}) => {
      const delay = delayOf(cfg.delayMs);
      return settled<boolean>(raw.nack(whose, message, fence, delay, text("reason", cfg.reason), text("error", cfg.error)));
    };
  }

  /** The tenant and delivery of a message received from the given queue. */
  static given(received: unknown, by: RawQueue): [whose: string, delivery: string] | undefined {
    const isOne = typeof received === "object" && received !== null && #by in received && received.#by === by;
    return isOne ? [received.#whose, received.#delivery] : undefined;
  }
}

/** Creates a queue in this page. */
export function queue<S extends Schema>(config: QueueConfig<S>): Queue<Infer<S>> {
  type T = Infer<S>;
  name(config.id, "config.id");
  const configured = configuredTenant(config.tenantId);
  const lane = lanes(options("ordering", config.ordering));
  const limits = options("limits", config.limits);
  const delivery = options("delivery", config.delivery);
  const payload = number("limits.payloadBytes", limits.payloadBytes, { otherwise: 131_072, whole: true });
  const maxAge = number("limits.maxMessageAgeMs", limits.maxMessageAgeMs, { otherwise: WEEK });
  const maxDelay = number("limits.maxNackDelayMs", limits.maxNackDelayMs, { otherwise: WEEK });
  const kept = number("limits.dlqRetentionMs", limits.dlqRetentionMs, { otherwise: WEEK });
  const lease = number("delivery.defaultLeaseMs", delivery.defaultLeaseMs, { otherwise: 30_000 });
  const most = { otherwise: 10, whole: true, most: Number.MAX_SAFE_INTEGER };
  const maxDeliveries = number("delivery.maxDeliveries", delivery.maxDeliveries, most);
  const schema = schemaOf(config.schema);
  const raw = new RawQueue(lease, maxDeliveries, maxAge, kept, maxDelay);

  const giver: Giver = {
    raw,
    delayOf(delayMs) {
      if (typeof delayMs === "number" && delayMs > maxDelay) {
        throw new Error(`nack delayMs (${delayMs}) exceeds maxNackDelayMs (${maxDelay})`);
      }
      return number("delayMs", delayMs, { otherwise: NONE, floor: 0, orZero: true });
    },
  };

  /** The tenant of a message received from this queue. Not read from its public fields, which anybody can change. */
  function holder(received: QueueReceived<T>, what = "it"): string {
    const given = Received.given(received, raw);
    if (given === undefined) throw new Error(`${what} was not received from this queue`);
    const [whose, delivery] = given;
    if (received.deliveryId === delivery) return whose;
    throw new Error(`${what} must have the deliveryId ${delivery}, but has ${String(received.deliveryId)}`);
  }

  /** The arguments of a receive, for the core. */
  function wish(cfg: QueueRecvConfig): [wait: number, lease: number, consumer: string | undefined] {
    return [waitMs(cfg), number("leaseMs", cfg.leaseMs, { otherwise: NONE }), text("consumerId", cfg.consumerId)];
  }

  function numbers(cfg: QueueSendConfig<T>): Numbers {
    const delay = number("delayMs", cfg.delayMs, { otherwise: NONE, floor: 0, orZero: true });
    const dedup = keyOf("idempotencyKey", cfg.idempotencyKey);
    const dedupFor = number("idempotencyTtlMs", cfg.idempotencyTtlMs, { otherwise: WEEK });
    const key = orderingKey(cfg.orderingKey);
    return [delay, key === undefined ? undefined : lane(key), dedup, dedup === undefined ? NONE : dedupFor];
  }

  const packed = (data: T, cfg: QueueSendConfig<T>) => pack(data, cfg.meta, cfg.orderingKey, payload);

  async function receive(cfg: QueueRecvConfig, exit?: Exit): Promise<QueueReceived<T> | null> {
    const whose = tenant(cfg.tenantId, configured);
    const wished = wish(cfg);
    const shown = await waiting<Shown>(cfg.signal, () => raw.recv(whose, ...wished), exit);
    return shown && new Received<T>(giver, whose, shown);
  }

  const reader: QueueReader<T> = {
    recv: (cfg = {}) => receive(cfg),
    async recvMany(max, cfg = {}) {
      const whose = tenant(cfg.tenantId, configured);
      const most = upTo(max);
      const wished = wish(cfg);
      const shown = await waiting<Shown[]>(cfg.signal, () => raw.recv_many(whose, most, ...wished));
      return (shown ?? []).map((one) => new Received<T>(giver, whose, one));
    },
    stream: (cfg = {}) => repeated(cfg, receive),
  };

  return {
    ...reader,
    ...admin<T>(raw, configured),
    async send(cfg) {
      const whose = tenant(cfg.tenantId, configured);
      const about = numbers(cfg);
      const value = packed(parse(schema, cfg.data) as T, cfg);
      const answer = settled<Sent>(raw.send(whose, value, ...about));
      return typeof answer === "number" ? sent(answer) : answer.then(sent);
    },
    async sendMany(items, cfg = {}) {
      const whose = tenant(cfg.tenantId, configured);
      counted("items", items, 1);
      const about = items.map((item, at) => {
        const { tenantId = whose } = item as QueueSendConfig<T>;
        if (tenantId !== whose) throw new Error(`item ${at} is of tenant ${tenantId}: a batch is of one (${whose})`);
        return of(at, () => numbers(item));
      });
      const data = items.map((item) => parse(schema, item.data) as T);
      const values = items.map((item, at) => of(at, () => packed(data[at] as T, item)));
      const batch = raw.batch(whose);
      for (const [at, value] of values.entries()) batch.add(value, ...(about[at] as Numbers));
      return (await settled<Sent[]>(batch.send())).map(sent);
    },
    async ackMany(received) {
      counted("received", received, 0);
      // Not `map`, which would skip the holes of a sparse array.
      const holders = Array.from(received, (one, at) => holder(one, `item ${at}`));
      const [whose = configured] = holders;
      for (const [at, tenant] of holders.entries())
        if (tenant !== whose) throw new Error(`item ${at} is of tenant ${tenant}: a batch is of one (${whose})`);
      return settled<boolean[]>(raw.ack_many(whose, received.map(({ deliveryId }) => deliveryId)));
    },
    async deadLetter(received, reason, cfg = {}) {
      const whose = holder(received);
      // To the core, an empty reason means none.
      const note = text("reason", reason) ?? "";
      return settled<boolean>(raw.bury(whose, received.deliveryId, note, text("error", cfg.error)));
    },
    async giveBack(received) {
      return settled<boolean>(raw.give_back(holder(received), received.deliveryId));
    },
    reader: () => reader,
  };
}

/** What the core returns for a send: the message's number, negative for a duplicate of its idempotency key. */
type Sent = number;

function sent(answer: Sent): { messageId: string; duplicate: boolean } {
  return { messageId: String(Math.abs(answer)), duplicate: answer < 0 };
}

/** Checks the number of items in a batch. */
function counted(path: string, items: readonly unknown[], least: number): void {
  const isFine = Array.isArray(items) && items.length >= least && items.length <= MOST_ITEMS;
  if (!isFine) throw new Error(`${path} must be ${least} to ${MOST_ITEMS}, but are ${items?.length}`);
}

/** Adds the item's index to an error about an item of a batch. */
function of<R>(at: number, made: () => R): R {
  try {
    return made();
  } catch (error) {
    // Not to errors of structured cloning, which have a type of their own.
    if (error instanceof Error && error.constructor === Error) error.message = `item ${at}: ${error.message}`;
    throw error;
  }
}

/** Maps ordering keys to the lanes in which messages go one at a time. */
function lanes({ mode = "ordering_key_partitioned", partitions }: { mode?: string; partitions?: number }) {
  if (mode !== "best_effort" && mode !== "ordering_key_partitioned") {
    throw new Error(`ordering.mode must be "best_effort" or "ordering_key_partitioned", but is ${String(mode)}`);
  }
  const count = number("ordering.partitions", partitions, { otherwise: 0, whole: true });
  return (key: string): string | undefined => {
    if (mode === "best_effort") return undefined;
    return count === 0 ? key : String(spread(key) % count);
  };
}

/** The FNV-1a hash of a text's code units. */
function spread(key: string): number {
  let hash = 0x811c9dc5;
  for (let at = 0; at < key.length; at += 1) hash = Math.imul(hash ^ key.charCodeAt(at), 0x01000193);
  return hash >>> 0;
}
