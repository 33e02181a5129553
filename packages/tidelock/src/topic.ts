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

/** How a topic is defined. */
export type TopicConfig<S extends Schema> = {
  /** 1 to 256 characters. */
  id: string;
  /** What each event must be. */
  schema: S;
  /** Whose events they are, unless a call says another; default `default`. Tenants share nothing. */
  tenantId?: string;
  /** What the keys in `store` begin with; default `sync:topic`. */
  prefix?: string;
  limits?: {
    /** Bytes of value and metadata of an event; default 131,072. */
    payloadBytes?: number;
  };
  /** How long an event can be read, from its publication, in ms; default 7 days. */
  retentionMs?: number;
  /** Where idempotency keys are remembered, and nothing else; default: with the topic. */
  store?: Store;
};

/** An event to be published. */
export type TopicPubConfig<T> = {
  data: T;
  /** A group gets events of one key one at a time, in order. */
  orderingKey?: string;
  /** A second event with this key is not published: the answer is that of the first. */
  idempotencyKey?: string;
  /** How long the key is remembered, in ms, while its event is; default 7 days. */
  idempotencyTtlMs?: number;
  /** Travels with the event. */
  meta?: Record<string, unknown>;
  tenantId?: string;
};

type Observers = {
  /** Called with events that were lost before they were read, ahead of the event that comes next. */
  onGap?: (gap: {
    /** The place that was held. */
    from: string;
    /** Just before the event that comes next. */
    to: string;
    /** How many events lie between; `null` where nobody knows. */
    missed: number | null;
    /** They were no longer retained, or the place is of another log. */
    cause: "trimmed" | "replaced";
  }) => void;
  /** Called with an event whose stored value cannot be read. In a group it is a dead letter. */
  onInvalid?: (event: {
    eventId: string;
    cursor: string;
    publishedAt: number;
    /** As stored, in UTF-8. */
    raw: Uint8Array;
    /** Why it cannot be read. */
    error: string;
  }) => void;
};

/** How to receive in a group. */
export type TopicRecvConfig = Observers & {
  /** Whether to wait until something comes; default true. */
  wait?: boolean;
  /** The longest wait in ms; default 30,000, `Infinity` until aborted. */
  timeoutMs?: number;
  signal?: AbortSignal;
  tenantId?: string;
};

/** How to follow. */
export type TopicLiveConfig = Observers & {
  /** A cursor to go on after. `"0"`, `"0-0"`: from the oldest event kept; `"$"`, or none: from the call on. */
  after?: string;
  /** Ends it. */
  signal?: AbortSignal;
  /** Without effect. */
  timeoutMs?: number;
  tenantId?: string;
};

/** An event. */
export type TopicLiveEvent<T> = {
  data: T;
  eventId: string;
  /** The place behind it, which is its id. Opaque. */
  cursor: string;
  orderingKey?: string;
  /** Epoch ms. */
  publishedAt: number;
  meta?: Record<string, unknown>;
};

/** An event that a group was given. Without a commit within 60 s the group gets it again. */
export type TopicDelivery<T> = TopicLiveEvent<T> & {
  /** Names this hand-over. */
  deliveryId: string;
  /** It is done. False: it was done before, or its 60 s were over. */
  commit(): Promise<boolean>;
};

/** Receives events in a group; all its readers share them. */
export type TopicReader<T> = {
  group: string;
  /** The next event, or `null`: nothing came in time. */
  recv(cfg?: TopicRecvConfig): Promise<TopicDelivery<T> | null>;
  /** Events as they come. */
  stream(cfg?: TopicRecvConfig): AsyncIterable<TopicDelivery<T>>;
};

/** A topic. */
export type Topic<T> = {
  pub(cfg: TopicPubConfig<T>): Promise<{ eventId: string; cursor: string; duplicate: boolean }>;
  /** A reader of a group; default `default`. A new group begins at the oldest event kept. */
  reader(group?: string): TopicReader<T>;
  /** Every event from a place on. The place is fixed when this returns. */
  live(cfg?: TopicLiveConfig): AsyncIterable<TopicLiveEvent<T>>;
};

/** What the core shows of an event, of a hand-over, of a gap. */
type Seen = [value: string, event: string, at: number];
type Delivered = [...Seen, delivery: string];
type Lost = [value: null, from: string, to: string, missed: number | null, cause: "trimmed" | "replaced"];

/** Makes a topic of this page. */
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

/** What notes gaps. */
function gaps({ onGap }: Observers): ((lost: Lost) => void) | undefined {
  return onGap && (([, from, to, missed, cause]) => tellLater(onGap, { from, to, missed, cause }));
}

/** Tells of an event that cannot be read; gives why. */
function invalid({ onInvalid }: Observers, [value, event, at]: Seen, cause: unknown): string {
  const error = String(cause);
  const raw = new TextEncoder().encode(value.split("\n", 1)[0]);
  if (onInvalid) tellLater(onInvalid, { eventId: event, cursor: event, publishedAt: at, raw, error });
  return error;
}
