/** Topics: an event log. Groups share its events, at least once; followers see all of them, in order. */

import {
  callables,
  configuredTenant,
  key as keyOf,
  keyPrefix,
  name,
  number,
  options,
  orderingKey,
  signalOf,
  storeOf,
  string,
  tenant,
  WEEK,
} from "./check.js";
import { leavable, NONE, RawTopic, repeated, settled, tellLater, waiting, waitMs, type Exit } from "./core.js";
import { pack, unpack } from "./envelope.js";
import { corrupt, storeKey } from "./keys.js";
import { parse, schemaOf, type Infer, type Schema } from "./schema.js";
import type { Store } from "./store.js";

export type { Infer, Schema } from "./schema.js";

/** The definition of a topic. */
export type TopicConfig<S extends Schema> = {
  /** 1 to 256 characters. */
  id: string;
  /** The schema of each event. */
  schema: S;
  /** The tenant, unless a call names another; default `default`. Tenants share no data. */
  tenantId?: string;
  /** What the keys in `store` begin with; default `sync:topic`. */
  prefix?: string;
  limits?: {
    /** The maximum size of value and metadata of an event in bytes; default 131,072. */
    payloadBytes?: number;
  };
  /** How long an event can be read after its publication, in ms; default 7 days. */
  retentionMs?: number;
  /** Where idempotency keys (and nothing else) are remembered; default: with the topic. */
  store?: Store;
};

/** An event to be published. */
export type TopicPubConfig<T> = {
  data: T;
  /** A group gets events with the same key one at a time, in order. */
  orderingKey?: string;
  /** A second event with this key is not published; its answer is that of the first. */
  idempotencyKey?: string;
  /** How long the key is remembered, in ms, at most as long as its event; default 7 days. */
  idempotencyTtlMs?: number;
  /** Metadata that travels with the event. */
  meta?: Record<string, unknown>;
  tenantId?: string;
};

type Observers = {
  /** Called with a gap of events that were lost before they were read, before the next event. */
  onGap?: (gap: {
    /** The position before the gap. */
    from: string;
    /** The position just before the next event. */
    to: string;
    /** The number of events in between; `null` if unknown. */
    missed: number | null;
    /** They were no longer retained, or the position belongs to another log. */
    cause: "trimmed" | "replaced";
  }) => void;
  /** Called with an event whose stored value cannot be decoded. In a group it becomes a dead letter. */
  onInvalid?: (event: {
    eventId: string;
    cursor: string;
    publishedAt: number;
    /** As stored, in UTF-8. */
    raw: Uint8Array;
    /** Why it cannot be decoded. */
    error: string;
  }) => void;
};

/** How to receive in a group. */
export type TopicRecvConfig = Observers & {
  /** Whether to wait until something arrives; default true. */
  wait?: boolean;
  /** The longest wait in ms; default 30,000, `Infinity` until aborted. */
  timeoutMs?: number;
  signal?: AbortSignal;
  tenantId?: string;
};

/** How to follow. */
export type TopicLiveConfig = Observers & {
  /**
   * The cursor to continue after. `"0"` and `"0-0"` begin with the oldest kept event; `"$"`, or none, with the next
   * one.
   */
  after?: string;
  /** Ends it. */
  signal?: AbortSignal;
  /** Has no effect. */
  timeoutMs?: number;
  tenantId?: string;
};

/** An event. */
export type TopicLiveEvent<T> = {
  data: T;
  eventId: string;
  /** The position after it, which is also its id. Opaque. */
  cursor: string;
  orderingKey?: string;
  /** Epoch ms. */
  publishedAt: number;
  meta?: Record<string, unknown>;
};

/** An event delivered to a group. Without a commit within 60 s it is delivered again. */
export type TopicDelivery<T> = TopicLiveEvent<T> & {
  /** The id of this delivery. */
  deliveryId: string;
  /** The work is done. False if it was committed before, or its 60 s were over. */
  commit(): Promise<boolean>;
};

/** Receives events in a group; all its readers share them. */
export type TopicReader<T> = {
  group: string;
  /** The next event, or `null`: nothing arrived in time. */
  recv(cfg?: TopicRecvConfig): Promise<TopicDelivery<T> | null>;
  /** Events as they arrive. */
  stream(cfg?: TopicRecvConfig): AsyncIterable<TopicDelivery<T>>;
};

/** A topic. */
export type Topic<T> = {
  pub(cfg: TopicPubConfig<T>): Promise<{ eventId: string; cursor: string; duplicate: boolean }>;
  /** A reader of a group; default `default`. A new group begins at the oldest kept event. */
  reader(group?: string): TopicReader<T>;
  /** Every event from a position on. The position is fixed when this returns. */
  live(cfg?: TopicLiveConfig): AsyncIterable<TopicLiveEvent<T>>;
};

/** What the core returns for an event, a delivery, a gap. */
type Seen = [value: string, event: string, at: number];
type Delivered = [...Seen, delivery: string];
type Lost = [value: null, from: string, to: string, missed: number | null, cause: "trimmed" | "replaced"];

/** Creates a topic in this page. */
export function topic<S extends Schema>(config: TopicConfig<S>): Topic<Infer<S>> {
  type T = Infer<S>;
  const limits = options("limits", config.limits);
  const prefix = keyPrefix(config.prefix, "sync:topic");
  const id = name(config.id, "config.id");
  const configured = configuredTenant(config.tenantId);
  const payload = number("limits.payloadBytes", limits.payloadBytes, { otherwise: 131_072, whole: true });
  const retention = number("retentionMs", config.retentionMs, { otherwise: WEEK });
  const schema = schemaOf(config.schema);
  const store = storeOf(config.store);
  const raw = new RawTopic(id, retention);

  return {
    async pub(cfg) {
      const { data, meta } = cfg;
      const whose = tenant(cfg.tenantId, configured);
      const key = keyOf("idempotencyKey", cfg.idempotencyKey);
      const keyFor = number("idempotencyTtlMs", cfg.idempotencyTtlMs, { otherwise: WEEK });
      const ordering = orderingKey(cfg.orderingKey);
      const value = pack(parse(schema, data), meta, ordering, payload);
      let answer: unknown;
      if (key === undefined) answer = raw.publish(whose, value, ordering, undefined, NONE);
      else if (store === undefined) answer = raw.publish(whose, value, ordering, key, keyFor);
      else {
        const at = storeKey(prefix, whose, id, "idempotency", key);
        const first = store.get(at);
        if (typeof first === "string") return { eventId: first, cursor: first, duplicate: true };
        if (first !== undefined) throw corrupt(at);
        const record = (event: string) => store.set(at, event, Math.min(keyFor, retention));
        answer = raw.publish(whose, value, ordering, undefined, NONE, record);
      }
      const [eventId, duplicate] = await settled<[string, boolean]>(answer);
      return { eventId, cursor: eventId, duplicate };
    },

    reader(group = "default") {
      const reader = raw.reader(name(group, "group"));
      async function receive(cfg: TopicRecvConfig, exit?: Exit): Promise<TopicDelivery<T> | null> {
        const whose = tenant(cfg.tenantId, configured);
        let wait = waitMs(cfg);
        callables(cfg, "onGap", "onInvalid");
        const end = Date.now() + wait;
        for (;;) {
          const shown = await waiting<Delivered>(cfg.signal, () => reader.recv(whose, wait, gaps(cfg)), exit);
          if (shown === null) return null;
          const [value, event, at, deliveryId] = shown;
          try {
            const commit = async () => settled<boolean>(reader.commit(whose, deliveryId));
            return unpack(value, { eventId: event, cursor: event, publishedAt: at, deliveryId, commit });
          } catch (error) {
            reader.bury(whose, deliveryId, invalid(cfg, [value, event, at], error));
            wait = Math.max(end - Date.now(), 0);
          }
        }
      }
      return { group, recv: (cfg = {}) => receive(cfg), stream: (cfg = {}) => repeated(cfg, receive) };
    },

    live(cfg = {}) {
      callables(cfg, "onGap", "onInvalid");
      signalOf(cfg.signal);
      const follower = raw.live(tenant(cfg.tenantId, configured), string("after", cfg.after ?? "$"));
      return leavable(async function* (exit) {
        try {
          for (;;) {
            const shown = await waiting<Seen | Lost>(cfg.signal, () => follower.next(), exit);
            if (shown === null) return;
            if (shown[0] === null) {
              gaps(cfg)?.(shown);
              continue;
            }
            let event: TopicLiveEvent<T>;
            try {
              event = opened(shown);
            } catch (error) {
              invalid(cfg, shown, error);
              continue;
            }
            yield event;
          }
        } finally {
          follower.free();
        }
      });
    },
  };
}

function opened<T>([value, event, at]: Seen): TopicLiveEvent<T> {
  return unpack(value, { eventId: event, cursor: event, publishedAt: at });
}

/** Reports gaps to the observer. */
function gaps({ onGap }: Observers): ((lost: Lost) => void) | undefined {
  return onGap && (([, from, to, missed, cause]) => tellLater(onGap, { from, to, missed, cause }));
}

/** Reports an event that cannot be decoded; returns the reason. */
function invalid({ onInvalid }: Observers, [value, event, at]: Seen, cause: unknown): string {
  const error = String(cause);
  const raw = new TextEncoder().encode(value.split("\n", 1)[0]);
  if (onInvalid) tellLater(onInvalid, { eventId: event, cursor: event, publishedAt: at, raw, error });
  return error;
}
