/** Registries: named records with versions, compare-and-swap, an optional time to live, and a stream of changes. */

import { called } from "./called.js";
import { configuredTenant, name, number, options, tenant, text } from "./check.js";
import { NONE, RawRegistry } from "./core.js";
import { opened, path, place, prefix, reader, taken, withRoom, type Shown } from "./keyed.js";
import { final } from "./mark.js";
import { schemaOf, type Infer, type Schema } from "./schema.js";

export type { Infer, Schema } from "./schema.js";

/** The definition of a registry. */
export type RegistryConfig<S extends Schema> = {
  /** 1 to 256 characters. */
  id: string;
  /** The schema of each value. */
  schema: S;
  /** The tenant, unless a call names another; default `default`. Tenants share no data. */
  tenantId?: string;
  /** A label; default `sync:registry`. */
  prefix?: string;
  limits?: {
    /** The maximum number of active records; default 10,000. */
    maxEntries?: number;
    /** The maximum size of a value in bytes; default 131,072. */
    maxPayloadBytes?: number;
    /** How long an event can be read, in ms; default 300,000. */
    eventRetentionMs?: number;
    /** How many of the newest events can be read; default 50,000. */
    eventMaxLen?: number;
    /** How long an expired record can be inspected after its deadline, in ms; default 300,000. */
    tombstoneRetentionMs?: number;
    /** The number of expired records swept before other tasks of the page get a turn; default 200. */
    reconcileBatchSize?: number;
  };
};

/** A record to be stored, whatever is there. */
export type RegistryUpsertConfig<T> = {
  /** 1 to 8 segments separated by `/`, up to 512 bytes. */
  key: string;
  value: T;
  /** Its time to live unless it is touched, in ms; default: permanent. */
  ttlMs?: number;
  tenantId?: string;
};

/** A record to be touched. */
export type RegistryTouchConfig = {
  key: string;
  /** The time to live from now on, in ms; default the record's own. It gives a permanent record an end. */
  ttlMs?: number;
  tenantId?: string;
};

/** A record to be removed. */
export type RegistryRemoveConfig = {
  key: string;
  /** The reason, delivered with the event. */
  reason?: string;
  tenantId?: string;
};

/** A record to be read. */
export type RegistryGetConfig = {
  key: string;
  /** Whether to include an expired record; default false. */
  includeExpired?: boolean;
  tenantId?: string;
};

/** Records to be listed. */
export type RegistryListConfig = {
  /** A path that ends in `/`; default: all. */
  prefix?: string;
  /** Default `active`. */
  status?: "active" | "expired";
  /**
   * Records per page; default 1,000. A page ends earlier if its values exceed 4 MiB: follow `nextKey`, not the count.
   */
  limit?: number;
  /** Begins after this key: the last one of the previous page. */
  afterKey?: string;
  tenantId?: string;
};

/** A record to be replaced if it has this version. */
export type RegistryCasConfig<T> = {
  key: string;
  version: string;
  value: T;
  tenantId?: string;
};

/** A record. */
export type RegistryEntry<T> = {
  key: string;
  value: T;
  /** The version of the last change of its value. */
  version: string;
  status: "active" | "expired";
  /** Epoch ms. */
  createdAt: number;
  /** When it was last changed or touched, in epoch ms. */
  updatedAt: number;
  /** `null`: permanent. */
  ttlMs: number | null;
  /** Epoch ms; `null`: permanent. */
  expiresAt: number | null;
};

/** A page of records, in byte order of their keys. */
export type RegistrySnapshot<T> = {
  entries: RegistryEntry<T>[];
  /** The position from which changes since this page can be followed. */
  cursor: string;
  /** The first key of the next page; absent on the last. */
  nextKey?: string;
};

/** How to wait for a change. */
export type RegistryRecvConfig = {
  /** Whether to wait until something arrives; default true. */
  wait?: boolean;
  /** The longest wait in ms; default 30,000, `Infinity` until aborted. */
  timeoutMs?: number;
  signal?: AbortSignal;
};

/** A change, or `overflow`: the reader has missed changes, list again. `cursor` is the position after it. */
export type RegistryEvent<T> = { cursor: string } & (
  | { type: "upsert"; entry: RegistryEntry<T> }
  | { type: "touch"; key: string; version: string; updatedAt: number; expiresAt: number }
  | { type: "delete"; key: string; version: string; removedAt: number; reason?: string }
  | { type: "expire"; key: string; version: string; removedAt: number }
  | { type: "overflow"; after: string; firstAvailable: string }
);

/** Delivers changes in order, each once. */
export type RegistryReader<T> = {
  /** The next change, or `null`: nothing arrived in time. */
  recv(cfg?: RegistryRecvConfig): Promise<RegistryEvent<T> | null>;
  /** Changes as they arrive. */
  stream(cfg?: RegistryRecvConfig): AsyncIterable<RegistryEvent<T>>;
};

/** A registry. */
export type Registry<T> = {
  upsert(cfg: RegistryUpsertConfig<T>): Promise<RegistryEntry<T>>;
  get(cfg: RegistryGetConfig): Promise<RegistryEntry<T> | null>;
  /** `{ ok: false }` if it is absent, or if it is permanent and there is no `ttlMs`. */
  touch(cfg: RegistryTouchConfig): Promise<{ ok: boolean; version?: string; expiresAt?: number }>;
  /** False if there was no active record. */
  remove(cfg: RegistryRemoveConfig): Promise<boolean>;
  list(cfg?: RegistryListConfig): Promise<RegistrySnapshot<T>>;
  /** `{ ok: false }` if it is absent or has another version. */
  cas(cfg: RegistryCasConfig<T>): Promise<{ ok: boolean; entry?: RegistryEntry<T> }>;
  /** Changes of a key, of a prefix, or all; from now on, after a cursor, or from the oldest kept one (`"0"`). */
  reader(cfg?: { key?: string; prefix?: string; after?: string; tenantId?: string }): RegistryReader<T>;
};

/** The maximum number of active records is reached. */
export class RegistryCapacityError extends Error {
  static {
    called(this, "RegistryCapacityError");
  }

  override name = "RegistryCapacityError";
  constructor(message = "registry capacity reached") {
    super(message);
    final(this);
  }
}

/** A value is too large. */
export class RegistryPayloadTooLargeError extends Error {
  static {
    called(this, "RegistryPayloadTooLargeError");
  }

  override name = "RegistryPayloadTooLargeError";
  constructor(message: string) {
    super(message);
    final(this);
  }
}

/** Creates a registry in this page. */
export function registry<S extends Schema>(config: RegistryConfig<S>): Registry<Infer<S>> {
  type T = Infer<S>;
  name(config.id, "config.id");
  const configured = configuredTenant(config.tenantId);
  const limits = options("limits", config.limits);
  const whole = (limit: "maxEntries" | "maxPayloadBytes" | "eventMaxLen" | "reconcileBatchSize", otherwise: number) =>
    number(`limits.${limit}`, limits[limit], { otherwise, whole: true });
  const maxEntries = whole("maxEntries", 10_000);
  const payload = whole("maxPayloadBytes", 131_072);
  const kept = number("limits.eventRetentionMs", limits.eventRetentionMs, { otherwise: 300_000 });
  const maxEvents = whole("eventMaxLen", 50_000);
  const tombs = number("limits.tombstoneRetentionMs", limits.tombstoneRetentionMs, { otherwise: 300_000 });
  const schema = schemaOf(config.schema);
  const raw = new RawRegistry(maxEntries, kept, maxEvents, tombs, whole("reconcileBatchSize", 200));

  return {
    async upsert(cfg) {
      const whose = tenant(cfg.tenantId, configured);
      const key = path(cfg.key);
      const ttl = number("ttlMs", cfg.ttlMs, { otherwise: NONE });
      const value = taken(schema, cfg.value, payload, RegistryPayloadTooLargeError);
      return entry<T>(withRoom(maxEntries, RegistryCapacityError, () => raw.upsert(whose, key, value, ttl)));
    },
    async get(cfg) {
      const shown = raw.get(tenant(cfg.tenantId, configured), path(cfg.key), cfg.includeExpired === true) as Shown | null;
      return shown && entry(shown);
    },
    async touch(cfg) {
      const whose = tenant(cfg.tenantId, configured);
      const ttl = number("ttlMs", cfg.ttlMs, { otherwise: NONE });
      const touched = raw.touch(whose, path(cfg.key), ttl) as [string, number] | null;
      return touched ? { ok: true, version: touched[0], expiresAt: touched[1] } : { ok: false };
    },
    async remove(cfg) {
      return raw.remove(tenant(cfg.tenantId, configured), path(cfg.key), text("reason", cfg.reason)) as boolean;
    },
    async list(cfg = {}) {
      const whose = tenant(cfg.tenantId, configured);
      const { status = "active", limit = 1_000, afterKey } = cfg;
      const under = prefix(cfg.prefix);
      if (status !== "active" && status !== "expired") throw final(new Error(`unsupported status: ${String(status)}`));
      if (!Number.isInteger(limit) || limit < 1) throw new Error("limit must be a positive integer when provided");
      if (afterKey !== undefined && !path(afterKey, "afterKey").startsWith(under)) {
        throw new Error("afterKey must start with prefix");
      }
      const page = raw.list(whose, under, status === "expired", limit, afterKey);
      const [shown, cursor, nextKey] = page as [Shown[], number, string | null];
      const entries = shown.map((record) => entry<T>(record));
      return { entries, cursor: String(cursor), ...(nextKey === null ? {} : { nextKey }) };
    },
    async cas(cfg) {
      const whose = tenant(cfg.tenantId, configured);
      const key = path(cfg.key);
      if (typeof cfg.version !== "string" || cfg.version === "") throw new Error("version must be non-empty");
      const value = taken(schema, cfg.value, payload, RegistryPayloadTooLargeError);
      const shown = raw.cas(whose, key, cfg.version, value) as Shown | null;
      return shown ? { ok: true, entry: entry<T>(shown) } : { ok: false };
    },
    reader(cfg = {}) {
      const whose = tenant(cfg.tenantId, configured);
      const key = cfg.key === undefined ? undefined : path(cfg.key);
      const under = prefix(cfg.prefix);
      if (key !== undefined && under !== "") throw new Error("reader accepts either key or prefix, not both");
      const follower = raw.follow(whose, key, under, place(cfg.after));
      return reader<RegistryEvent<T>>(follower, (told) => {
        const cursor = String(told[1]);
        if (told[0] === "upsert") return { cursor, type: told[0], entry: entry<T>(told[2]) };
        const [type, , at, key] = told;
        if (type === "touch") return { cursor, type, key, version: told[4], updatedAt: at, expiresAt: told[5] };
        if (type === "expire") return { cursor, type, key, version: cursor, removedAt: at };
        const reason = told[4];
        return { cursor, type, key, version: cursor, removedAt: at, ...(reason === undefined ? {} : { reason }) };
      });
    },
  };
}

function entry<T>([key, value, version, createdAt, updatedAt, ttlMs, expiresAt, expired]: Shown): RegistryEntry<T> {
  const status = expired ? "expired" : "active";
  return { key, value: opened<T>(value), version, status, createdAt, updatedAt, ttlMs, expiresAt };
}
