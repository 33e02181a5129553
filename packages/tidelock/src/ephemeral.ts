/** Ephemeral stores: short-lived records that expire unless they are touched, and a stream of changes. */

import { called } from "./called.js";
import { configuredTenant, name, number, options, tenant, text } from "./check.js";
import { NONE, RawEphemeral } from "./core.js";
import { key, opened, place, reader, taken, withRoom, type Shown } from "./keyed.js";
import { final } from "./mark.js";
import { schemaOf, type Infer, type Schema } from "./schema.js";

export type { Infer, Schema } from "./schema.js";

/** The definition of an ephemeral store. */
export type EphemeralConfig<S extends Schema> = {
  /** 1 to 256 characters. */
  id: string;
  /** The schema of each value. */
  schema: S;
  /** The time to live of a record unless it is touched, in ms. */
  ttlMs: number;
  /** The tenant, unless a call names another; default `default`. Tenants share no data. */
  tenantId?: string;
  limits?: {
    /** The maximum number of records; default 10,000. */
    maxEntries?: number;
    /** The maximum size of a value in bytes; default 4,096. */
    maxPayloadBytes?: number;
    /** How long an event can be read, in ms; default 300,000. */
    eventRetentionMs?: number;
    /** How many of the newest events can be read; default 50,000. */
    eventMaxLen?: number;
  };
};

/** A record to be stored, whatever is there. */
export type EphemeralUpsertConfig<T> = {
  /** Any text of up to 512 bytes. */
  key: string;
  value: T;
  /** Its time to live unless it is touched, in ms; default that of the store. */
  ttlMs?: number;
  tenantId?: string;
};

/** A record to be touched. */
export type EphemeralTouchConfig = {
  key: string;
  /** The time to live from now on, in ms; default the record's own. */
  ttlMs?: number;
  tenantId?: string;
};

/** A record to be removed. */
export type EphemeralRemoveConfig = {
  key: string;
  /** The reason, delivered with the event. */
  reason?: string;
  tenantId?: string;
};

/** A record. */
export type EphemeralEntry<T> = {
  key: string;
  value: T;
  /** The version of its last change, including touches. */
  version: string;
  /** When that was, in epoch ms. */
  updatedAt: number;
  /** Epoch ms. */
  expiresAt: number;
};

/** All records at one instant, in byte order of their keys. */
export type EphemeralSnapshot<T> = {
  entries: EphemeralEntry<T>[];
  /** The position from which later changes can be followed. */
  cursor: string;
};

/** How to wait for a change. */
export type EphemeralRecvConfig = {
  /** Whether to wait until something arrives; default true. */
  wait?: boolean;
  /** The longest wait in ms; default 30,000, `Infinity` until aborted. */
  timeoutMs?: number;
  signal?: AbortSignal;
};

/** A change, or `overflow`: the reader has missed changes, take a snapshot again. `cursor` is the position after it. */
export type EphemeralEvent<T> = { cursor: string } & (
  | { type: "upsert"; entry: EphemeralEntry<T> }
  | { type: "touch"; key: string; version: string; expiresAt: number }
  | { type: "delete"; key: string; version: string; deletedAt: number; reason?: string }
  | { type: "expire"; key: string; version: string; expiredAt: number }
  | { type: "overflow"; after: string; firstAvailable: string }
);

/** Delivers changes in order, each once. */
export type EphemeralReader<T> = {
  /** The next change, or `null`: nothing arrived in time. */
  recv(cfg?: EphemeralRecvConfig): Promise<EphemeralEvent<T> | null>;
  /** Changes as they arrive. */
  stream(cfg?: EphemeralRecvConfig): AsyncIterable<EphemeralEvent<T>>;
};

/** An ephemeral store. */
export type EphemeralStore<T> = {
  upsert(cfg: EphemeralUpsertConfig<T>): Promise<EphemeralEntry<T>>;
  /** False if there was no record. */
  remove(cfg: EphemeralRemoveConfig): Promise<boolean>;
  /** `{ ok: false }` if there is no record; only an upsert brings it back. */
  touch(cfg: EphemeralTouchConfig): Promise<{ ok: boolean; version?: string; expiresAt?: number }>;
  snapshot(cfg?: { tenantId?: string }): Promise<EphemeralSnapshot<T>>;
  /** Changes from now on, after a cursor, or from the oldest kept one (`"0"`). */
  reader(cfg?: { after?: string; tenantId?: string }): EphemeralReader<T>;
};

/** The maximum number of records is reached. */
export class EphemeralCapacityError extends Error {
  static {
    called(this, "EphemeralCapacityError");
  }

  override name = "EphemeralCapacityError";
  constructor(message = "ephemeral store capacity reached") {
    super(message);
    final(this);
  }
}

/** A value is too large. */
export class EphemeralPayloadTooLargeError extends Error {
  static {
    called(this, "EphemeralPayloadTooLargeError");
  }

  override name = "EphemeralPayloadTooLargeError";
  constructor(message: string) {
    super(message);
    final(this);
  }
}

/** How many overdue records are settled before the page gets a turn. */
const STEP = 200;

/** Creates an ephemeral store in this page. */
export function ephemeral<S extends Schema>(config: EphemeralConfig<S>): EphemeralStore<Infer<S>> {
  type T = Infer<S>;
  name(config.id, "config.id");
  const configured = configuredTenant(config.tenantId);
  const limits = options("limits", config.limits);
  if (config.ttlMs === undefined) throw new Error("ttlMs must be > 0");
  const ttl = number("ttlMs", config.ttlMs, { otherwise: NONE });
  const whole = (limit: "maxEntries" | "maxPayloadBytes" | "eventMaxLen", otherwise: number) =>
    number(`limits.${limit}`, limits[limit], { otherwise, whole: true });
  const maxEntries = whole("maxEntries", 10_000);
  const payload = whole("maxPayloadBytes", 4_096);
  const kept = number("limits.eventRetentionMs", limits.eventRetentionMs, { otherwise: 300_000 });
  const schema = schemaOf(config.schema);
  const raw = new RawEphemeral(ttl, maxEntries, kept, whole("eventMaxLen", 50_000), STEP);

  return {
    async upsert(cfg) {
      const whose = tenant(cfg.tenantId, configured);
      const name = key(cfg.key);
      const ttl = number("ttlMs", cfg.ttlMs, { otherwise: NONE });
      const value = taken(schema, cfg.value, payload, EphemeralPayloadTooLargeError);
      return entry<T>(withRoom(maxEntries, EphemeralCapacityError, () => raw.upsert(whose, name, value, ttl)));
    },
    async remove(cfg) {
      return raw.remove(tenant(cfg.tenantId, configured), key(cfg.key), text("reason", cfg.reason)) as boolean;
    },
    async touch(cfg) {
      const whose = tenant(cfg.tenantId, configured);
      const ttl = number("ttlMs", cfg.ttlMs, { otherwise: NONE });
      const touched = raw.touch(whose, key(cfg.key), ttl) as [string, number] | null;
      return touched ? { ok: true, version: touched[0], expiresAt: touched[1] } : { ok: false };
    },
    async snapshot(cfg = {}) {
      const [shown, cursor] = raw.snapshot(tenant(cfg.tenantId, configured)) as [Shown[], number];
      return { entries: shown.map((record) => entry<T>(record)), cursor: String(cursor) };
    },
    reader(cfg = {}) {
      const follower = raw.follow(tenant(cfg.tenantId, configured), place(cfg.after));
      return reader<EphemeralEvent<T>>(follower, (told) => {
        const cursor = String(told[1]);
        if (told[0] === "upsert") return { cursor, type: told[0], entry: entry<T>(told[2]) };
        const [type, , at, key] = told;
        if (type === "touch") return { cursor, type, key, version: told[4], expiresAt: told[5] };
        if (type === "expire") return { cursor, type, key, version: cursor, expiredAt: at };
        const reason = told[4];
        return { cursor, type, key, version: cursor, deletedAt: at, ...(reason === undefined ? {} : { reason }) };
      });
    },
  };
}

function entry<T>([key, value, version, , updatedAt, , expiresAt]: Shown): EphemeralEntry<T> {
  return { key, value: opened<T>(value), version, updatedAt, expiresAt: expiresAt as number };
}
