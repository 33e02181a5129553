/** Registries: named records with versions, compare-and-swap, a time to live if wanted, and every change to follow. */

import { called } from "./called.js";
import { configuredTenant, name, number, options, tenant, text } from "./check.js";
import { NONE, RawRegistry } from "./core.js";
import { opened, path, place, prefix, reader, taken, withRoom, type Shown } from "./keyed.js";
import { final } from "./mark.js";
import { schemaOf, type Infer, type Schema } from "./schema.js";

export type { Infer, Schema } from "./schema.js";

/** How a registry is defined. */
export type RegistryConfig<S extends Schema> = {
  /** 1 to 256 characters. */
  id: string;
  /** What each value must be. */
  schema: S;
  /** Whose records they are, unless a call says another; default `default`. Tenants share nothing. */
  tenantId?: string;
  /** A label; default `sync:registry`. */
  prefix?: string;
  limits?: {
    /** Active records; default 10,000. */
    maxEntries?: number;
    /** Bytes of a value; default 131,072. */
    maxPayloadBytes?: number;
    /** Age up to which an event can be read, in ms; default 300,000. */
    eventRetentionMs?: number;
    /** How many of the newest events can be read; default 50,000. */
    eventMaxLen?: number;
    /** How long an expired record can be looked at, in ms from its deadline; default 300,000. */
    tombstoneRetentionMs?: number;
    /** Records that are over and are settled before the page gets a turn; default 200. */
    reconcileBatchSize?: number;
  };
};

/** A record to be stored, whatever is there. */
export type RegistryUpsertConfig<T> = {
  /** 1 to 8 segments between `/`, up to 512 bytes. */
  key: string;
  value: T;
  /** How long it lives unless it is touched, in ms; default: it is permanent. */
  ttlMs?: number;
  tenantId?: string;
};

/** A record that is to live on. */
export type RegistryTouchConfig = {
  key: string;
  /** From now on, in ms; default the record's own. A permanent record gets an end. */
  ttlMs?: number;
  tenantId?: string;
};

/** A record to be removed. */
export type RegistryRemoveConfig = {
  key: string;
  /** Told with the event. */
  reason?: string;
  tenantId?: string;
};

/** A record to be looked at. */
export type RegistryGetConfig = {
  key: string;
  /** Also when it has expired; default false. */
  includeExpired?: boolean;
  tenantId?: string;
};

/** Records to be looked at. */
export type RegistryListConfig = {
  /** A path that ends in `/`; default: all. */
  prefix?: string;
  /** Default `active`. */
  status?: "active" | "expired";
  /** Records of a page; default 1,000. It ends before that when its values pass 4 MiB: follow `nextKey`, not the count. */
  limit?: number;
  /** Begins behind this key: the last one of the page before. */
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
  /** The number of the last change of its value. */
  version: string;
  status: "active" | "expired";
  /** Epoch ms. */
  createdAt: number;
  /** Epoch ms of its last change, a touch too. */
  updatedAt: number;
  /** `null`: permanent. */
  ttlMs: number | null;
  /** Epoch ms; `null`: permanent. */
  expiresAt: number | null;
};

/** A page of records, in byte order of their keys. */
export type RegistrySnapshot<T> = {
  entries: RegistryEntry<T>[];
  /** From here the changes since this page can be followed. */
  cursor: string;
  /** The first key of the next page; absent on the last. */
  nextKey?: string;
};

/** How to wait for a change. */
export type RegistryRecvConfig = {
  /** Whether to wait until something comes; default true. */
  wait?: boolean;
  /** The longest wait in ms; default 30,000, `Infinity` until aborted. */
  timeoutMs?: number;
  signal?: AbortSignal;
};

/** A change, or `overflow`: the reader has missed some, list again. `cursor` is the place behind it. */
export type RegistryEvent<T> = { cursor: string } & (
  | { type: "upsert"; entry: RegistryEntry<T> }
  | { type: "touch"; key: string; version: string; updatedAt: number; expiresAt: number }
  | { type: "delete"; key: string; version: string; removedAt: number; reason?: string }
  | { type: "expire"; key: string; version: string; removedAt: number }
  | { type: "overflow"; after: string; firstAvailable: string }
);

/** Gives changes in their order, each once. */
export type RegistryReader<T> = {
  /** The next change, or `null`: nothing came in time. */
  recv(cfg?: RegistryRecvConfig): Promise<RegistryEvent<T> | null>;
  /** Changes as they come. */
  stream(cfg?: RegistryRecvConfig): AsyncIterable<RegistryEvent<T>>;
};

/** A registry. */
export type Registry<T> = {
  upsert(cfg: RegistryUpsertConfig<T>): Promise<RegistryEntry<T>>;
  get(cfg: RegistryGetConfig): Promise<RegistryEntry<T> | null>;
  /** Exactly `{ ok: false }`: absent, or permanent without `ttlMs`. */
  touch(cfg: RegistryTouchConfig): Promise<{ ok: boolean; version?: string; expiresAt?: number }>;
  /** False: there was no active record. */
  remove(cfg: RegistryRemoveConfig): Promise<boolean>;
  list(cfg?: RegistryListConfig): Promise<RegistrySnapshot<T>>;
  /** Exactly `{ ok: false }`: absent, or another version. */
  cas(cfg: RegistryCasConfig<T>): Promise<{ ok: boolean; entry?: RegistryEntry<T> }>;
  /** Changes of a key, of a prefix, or all; from now on, behind a cursor, or from the oldest that is kept (`"0"`). */
  reader(cfg?: { key?: string; prefix?: string; after?: string; tenantId?: string }): RegistryReader<T>;
};

/** There are as many active records as there may be. */
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

/** A value is larger than it may be. */
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

/** Makes a registry of this page. */
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
