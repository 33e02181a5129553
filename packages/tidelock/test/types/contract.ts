// The types that the package promises. Additions are fine; any other change of this file means a new major version.

import type { Infer } from "tidelock/browser";

export interface Store {
  get(key: string): unknown | undefined;
  set(key: string, value: unknown, ttlMs?: number): void;
  del(key: string): void;
  keys(prefix?: string): string[];
}
export declare class MemoryStore implements Store {
  get(key: string): unknown | undefined;
  set(key: string, value: unknown, ttlMs?: number): void;
  del(key: string): void;
  keys(prefix?: string): string[];
  clear(): void;
}
export declare class LocalStorageStore implements Store {
  constructor(prefix?: string);
  get(key: string): unknown | undefined;
  set(key: string, value: unknown, ttlMs?: number): void;
  del(key: string): void;
  keys(prefix?: string): string[];
  clear(): void;
}
export declare function createMemoryStore(): MemoryStore;
export declare function createLocalStorageStore(prefix?: string): LocalStorageStore;

export declare function ratelimit(config: RateLimitConfig): RateLimiter;
export type RateLimitConfig = { id: string; limit: number; windowSecs?: number; prefix?: string; store?: Store };
export type RateLimitResult = {
  limited: boolean;
  remaining: number;
  resetIn: number;
  limit: number;
  retryAfter: number;
};
export type RateLimiter = {
  id: string;
  check(identifier: string): Promise<RateLimitResult>;
  checkOrThrow(identifier: string): Promise<RateLimitResult>;
};
export declare class RateLimitError extends Error {
  constructor(result: { remaining: number; resetIn: number; retryAfter?: number });
  readonly remaining: number;
  readonly resetIn: number;
  readonly retryAfter: number;
}

export declare function mutex(config: MutexConfig): Mutex;
export type MutexConfig = {
  id: string;
  prefix?: string;
  retryCount?: number;
  retryDelay?: number;
  defaultTtl?: number;
  store?: Store;
};
export type Lock = { resource: string; value: string; ttl: number; expiration: number; fence: number };
export type Mutex = {
  id: string;
  acquire(resource: string, ttl?: number): Promise<Lock | null>;
  release(lock: Lock): Promise<boolean>;
  extend(lock: Lock, ttl?: number): Promise<boolean>;
  withLock<T>(resource: string, fn: (lock: Lock) => Promise<T> | T, ttl?: number): Promise<T | null>;
  withLockOrThrow<T>(resource: string, fn: (lock: Lock) => Promise<T> | T, ttl?: number): Promise<T>;
};
export declare class LockError extends Error {
  constructor(resource: string);
  readonly resource: string;
}

export declare function queue<S extends Schema>(config: QueueConfig<S>): Queue<Infer<S>>;
export type QueueConfig<S extends Schema> = {
  id: string;
  schema: S;
  tenantId?: string;
  prefix?: string;
  ordering?: { mode?: "best_effort" | "ordering_key_partitioned"; partitions?: number };
  limits?: { payloadBytes?: number; maxMessageAgeMs?: number; maxNackDelayMs?: number; dlqRetentionMs?: number };
  delivery?: { defaultLeaseMs?: number; maxDeliveries?: number };
};
export type QueueSendConfig<T> = {
  data: T;
  delayMs?: number;
  orderingKey?: string;
  idempotencyKey?: string;
  idempotencyTtlMs?: number;
  meta?: Record<string, unknown>;
  tenantId?: string;
};
export type QueueRecvConfig = {
  wait?: boolean;
  timeoutMs?: number;
  leaseMs?: number;
  signal?: AbortSignal;
  consumerId?: string;
  tenantId?: string;
};
export type QueueReceived<T> = {
  data: T;
  messageId: string;
  deliveryId: string;
  attempt: number;
  leaseUntil: number;
  orderingKey?: string;
  meta?: Record<string, unknown>;
  ack(): Promise<boolean>;
  touch(cfg?: { leaseMs?: number }): Promise<boolean>;
  nack(cfg?: { delayMs?: number; reason?: string; error?: string }): Promise<boolean>;
};
export type QueueReader<T> = {
  recv(cfg?: QueueRecvConfig): Promise<QueueReceived<T> | null>;
  stream(cfg?: QueueRecvConfig): AsyncIterable<QueueReceived<T>>;
};
export type Changed = "yes" | "no" | "absent";
export type SetRateLimitConfig = { limit: number; perMs: number };
export type RateLimitInfo = { limit: number; perMs: number; used: number; windowEndsAt: number | null };
export type Queue<T> = QueueReader<T> & {
  send(cfg: QueueSendConfig<T>): Promise<{ messageId: string; duplicate: boolean }>;
  stats(cfg?: { tenantId?: string }): Promise<{ rateLimit: RateLimitInfo | null }>;
  setRateLimit(cfg: SetRateLimitConfig & { tenantId?: string }): Promise<Changed>;
  removeRateLimit(cfg?: { tenantId?: string }): Promise<Changed>;
  reader(): QueueReader<T>;
};

export declare function topic<S extends Schema>(config: TopicConfig<S>): Topic<Infer<S>>;
export type TopicConfig<S extends Schema> = {
  id: string;
  schema: S;
  tenantId?: string;
  prefix?: string;
  limits?: { payloadBytes?: number };
  retentionMs?: number;
  store?: Store;
};
export type TopicPubConfig<T> = {
  data: T;
  orderingKey?: string;
  idempotencyKey?: string;
  idempotencyTtlMs?: number;
  meta?: Record<string, unknown>;
  tenantId?: string;
};
export type TopicRecvConfig = { wait?: boolean; timeoutMs?: number; signal?: AbortSignal; tenantId?: string };
export type TopicDelivery<T> = TopicLiveEvent<T> & { deliveryId: string; commit(): Promise<boolean> };
export type TopicLiveConfig = { after?: string; signal?: AbortSignal; timeoutMs?: number; tenantId?: string };
export type TopicLiveEvent<T> = {
  data: T;
  eventId: string;
  cursor: string;
  orderingKey?: string;
  publishedAt: number;
  meta?: Record<string, unknown>;
};
export type TopicReader<T> = {
  group: string;
  recv(cfg?: TopicRecvConfig): Promise<TopicDelivery<T> | null>;
  stream(cfg?: TopicRecvConfig): AsyncIterable<TopicDelivery<T>>;
};
export type Topic<T> = {
  pub(cfg: TopicPubConfig<T>): Promise<{ eventId: string; cursor: string; duplicate: boolean }>;
  reader(group?: string): TopicReader<T>;
  live(cfg?: TopicLiveConfig): AsyncIterable<TopicLiveEvent<T>>;
};

export declare function job<S extends Schema, Result = unknown>(
  definition: JobDefinition<S, Result>,
): JobHandle<Infer<S>, Result>;
export type JobId = string;
export type JobStatus = "completed" | "failed" | "cancelled" | "timed_out";
export type JobDefinition<S extends Schema, Result = unknown> = {
  id: string;
  schema: S;
  defaults?: Omit<SubmitOptions, "key" | "delayMs" | "at" | "meta">;
  process: (cfg: { ctx: JobContext; input: Infer<S> }) => Promise<Result> | Result;
};
export type SubmitOptions = {
  key?: string;
  keyTtlMs?: number;
  delayMs?: number;
  at?: number;
  maxAttempts?: number;
  leaseMs?: number;
  backoff?: { kind: "fixed" | "exp"; baseMs: number; maxMs?: number; jitter?: number };
  meta?: Record<string, unknown>;
};
export type JoinOptions = { timeoutMs?: number };
export type CancelOptions = { reason?: string };
export type JobTerminal<Result = unknown> = {
  id: JobId;
  status: JobStatus;
  result?: Result;
  error?: { message: string; code?: string };
  finishedAt: number;
};
export type JobEvent = { id: JobId; ts: number } & (
  | { type: "submitted" }
  | { type: "started"; runId: string; attempt: number }
  | { type: "heartbeat"; runId: string }
  | { type: "completed" }
  | { type: "retry"; runId: string; nextAt: number; reason?: string }
  | { type: "failed"; reason?: string }
  | { type: "cancelled"; reason?: string }
);
export type JobEvents = Pick<Topic<JobEvent>, "reader" | "live">;
export type JobContext = {
  signal: AbortSignal;
  step<T>(cfg: { id: string; run: () => Promise<T> | T }): Promise<T>;
  heartbeat(cfg?: { leaseMs?: number }): Promise<void>;
};
export type JobHandle<Input, Result = unknown> = {
  id: string;
  submit(cfg: { input: Input } & SubmitOptions): Promise<JobId>;
  validateInput(input: unknown): void;
  join(cfg: { id: JobId } & JoinOptions): Promise<JobTerminal<Result>>;
  cancel(cfg: { id: JobId } & CancelOptions): Promise<void>;
  events(id: JobId): JobEvents;
  stats(): Promise<{ rateLimit: RateLimitInfo | null }>;
  setRateLimit(cfg: SetRateLimitConfig): Promise<Changed>;
  removeRateLimit(): Promise<Changed>;
  stop(): void;
};

export declare function scheduler(config: SchedulerConfig): Scheduler;
export type SchedulerConfig = {
  id: string;
  prefix?: string;
  strictHandlers?: boolean;
  leader?: { leaseMs?: number; heartbeatMs?: number };
  dispatch?: {
    tickMs?: number;
    batchSize?: number;
    maxSubmitsPerTick?: number;
    submitRetries?: number;
    submitBackoffBaseMs?: number;
    submitBackoffMaxMs?: number;
    scheduledJobKeyTtlMs?: number;
    dlqMaxEntries?: number;
    maxConsecutiveDispatchFailures?: number;
  };
  onMetric?: (metric: SchedulerMetric) => void;
  store?: Store;
};
export type SchedulerRegisterConfig = {
  id: string;
  cron: string;
  tz?: string;
  input: unknown;
  job: {
    id: string;
    validateInput?(input: unknown): void;
    submit(cfg: {
      input: unknown;
      key?: string;
      keyTtlMs?: number;
      at?: number;
      delayMs?: number;
      meta?: Record<string, unknown>;
    }): Promise<string>;
  };
  misfire?: "skip" | "catch_up_one" | "catch_up_all";
  maxCatchUpRuns?: number;
  meta?: Record<string, unknown>;
};
export type SchedulerUnregisterConfig = { id: string };
export type SchedulerGetConfig = { id: string };
export type SchedulerTriggerNowConfig = { id: string; key?: string };
export type SchedulerInfo = {
  id: string;
  cron: string;
  tz: string;
  misfire: "skip" | "catch_up_one" | "catch_up_all";
  maxCatchUpRuns: number;
  jobId: string;
  nextRunAt: number;
  createdAt: number;
  updatedAt: number;
};
export type SchedulerMetric = { ts: number } & (
  | { type: "leader_acquired" }
  | { type: "leader_lost"; reason: "extend_failed" | "stop" }
  | { type: "tick_error"; message: string }
  | { type: "schedule_registered"; scheduleId: string; created: boolean }
  | { type: "schedule_updated"; scheduleId: string }
  | { type: "schedule_unregistered"; scheduleId: string }
  | { type: "dispatch_submitted"; scheduleId: string; slotTs: number; jobId: string }
  | { type: "dispatch_failed"; scheduleId: string; message: string }
  | { type: "dispatch_skipped"; scheduleId: string; reason: "missing_handler" | "cas_stale" | "missed"; count?: number }
  | { type: "dispatch_dlq"; scheduleId: string; slotTs: number; message: string }
  | { type: "dispatch_advanced_after_failures"; scheduleId: string; slotTs: number; failures: number }
  | { type: "trigger_submitted"; scheduleId: string; jobId: string }
  | { type: "trigger_failed"; scheduleId: string; message: string }
  | {
      type: "trigger_rejected";
      scheduleId: string;
      reason: "missing_schedule" | "missing_handler" | "invalid_schedule";
    }
);
export type SchedulerMetricsSnapshot = {
  isLeader: boolean;
  leaderEpoch: number;
  leaderChanges: number;
  dispatchSubmitted: number;
  dispatchFailed: number;
  dispatchRetried: number;
  dispatchSkipped: number;
  dispatchDlq: number;
  triggerSubmitted: number;
  triggerFailed: number;
  triggerRejected: number;
  tickErrors: number;
  lastTickAt: number | null;
  missed: number;
};
export type Scheduler = {
  id: string;
  start(): void;
  stop(): Promise<void>;
  metrics(): SchedulerMetricsSnapshot;
  register(cfg: SchedulerRegisterConfig): Promise<{ created: boolean; updated: boolean }>;
  unregister(cfg: SchedulerUnregisterConfig): Promise<void>;
  triggerNow(cfg: SchedulerTriggerNowConfig): Promise<string>;
  get(cfg: SchedulerGetConfig): Promise<SchedulerInfo | null>;
  list(): Promise<SchedulerInfo[]>;
};

export declare function registry<S extends Schema>(config: RegistryConfig<S>): Registry<Infer<S>>;
export type RegistryConfig<S extends Schema> = {
  id: string;
  schema: S;
  tenantId?: string;
  prefix?: string;
  limits?: {
    maxEntries?: number;
    maxPayloadBytes?: number;
    eventRetentionMs?: number;
    eventMaxLen?: number;
    tombstoneRetentionMs?: number;
    reconcileBatchSize?: number;
  };
};
export type RegistryUpsertConfig<T> = { key: string; value: T; ttlMs?: number; tenantId?: string };
export type RegistryTouchConfig = { key: string; ttlMs?: number; tenantId?: string };
export type RegistryRemoveConfig = { key: string; reason?: string; tenantId?: string };
export type RegistryGetConfig = { key: string; includeExpired?: boolean; tenantId?: string };
export type RegistryListConfig = {
  prefix?: string;
  status?: "active" | "expired";
  limit?: number;
  afterKey?: string;
  tenantId?: string;
};
export type RegistryCasConfig<T> = { key: string; version: string; value: T; tenantId?: string };
export type RegistryEntry<T> = {
  key: string;
  value: T;
  version: string;
  status: "active" | "expired";
  createdAt: number;
  updatedAt: number;
  ttlMs: number | null;
  expiresAt: number | null;
};
export type RegistrySnapshot<T> = { entries: RegistryEntry<T>[]; cursor: string; nextKey?: string };
export type RegistryRecvConfig = { wait?: boolean; timeoutMs?: number; signal?: AbortSignal };
export type RegistryEvent<T> = { cursor: string } & (
  | { type: "upsert"; entry: RegistryEntry<T> }
  | { type: "touch"; key: string; version: string; updatedAt: number; expiresAt: number }
  | { type: "delete"; key: string; version: string; removedAt: number; reason?: string }
  | { type: "expire"; key: string; version: string; removedAt: number }
  | { type: "overflow"; after: string; firstAvailable: string }
);
export type RegistryReader<T> = {
  recv(cfg?: RegistryRecvConfig): Promise<RegistryEvent<T> | null>;
  stream(cfg?: RegistryRecvConfig): AsyncIterable<RegistryEvent<T>>;
};
export type Registry<T> = {
  upsert(cfg: RegistryUpsertConfig<T>): Promise<RegistryEntry<T>>;
  get(cfg: RegistryGetConfig): Promise<RegistryEntry<T> | null>;
  touch(cfg: RegistryTouchConfig): Promise<{ ok: boolean; version?: string; expiresAt?: number }>;
  remove(cfg: RegistryRemoveConfig): Promise<boolean>;
  list(cfg?: RegistryListConfig): Promise<RegistrySnapshot<T>>;
  cas(cfg: RegistryCasConfig<T>): Promise<{ ok: boolean; entry?: RegistryEntry<T> }>;
  reader(cfg?: { key?: string; prefix?: string; after?: string; tenantId?: string }): RegistryReader<T>;
};

export declare function ephemeral<S extends Schema>(config: EphemeralConfig<S>): EphemeralStore<Infer<S>>;
export type EphemeralConfig<S extends Schema> = {
  id: string;
  schema: S;
  ttlMs: number;
  tenantId?: string;
  limits?: { maxEntries?: number; maxPayloadBytes?: number; eventRetentionMs?: number; eventMaxLen?: number };
};
export type EphemeralUpsertConfig<T> = { key: string; value: T; ttlMs?: number; tenantId?: string };
export type EphemeralTouchConfig = { key: string; ttlMs?: number; tenantId?: string };
export type EphemeralRemoveConfig = { key: string; reason?: string; tenantId?: string };
export type EphemeralEntry<T> = { key: string; value: T; version: string; updatedAt: number; expiresAt: number };
export type EphemeralSnapshot<T> = { entries: EphemeralEntry<T>[]; cursor: string };
export type EphemeralRecvConfig = { wait?: boolean; timeoutMs?: number; signal?: AbortSignal };
export type EphemeralEvent<T> = { cursor: string } & (
  | { type: "upsert"; entry: EphemeralEntry<T> }
  | { type: "touch"; key: string; version: string; expiresAt: number }
  | { type: "delete"; key: string; version: string; deletedAt: number; reason?: string }
  | { type: "expire"; key: string; version: string; expiredAt: number }
  | { type: "overflow"; after: string; firstAvailable: string }
);
export type EphemeralReader<T> = {
  recv(cfg?: EphemeralRecvConfig): Promise<EphemeralEvent<T> | null>;
  stream(cfg?: EphemeralRecvConfig): AsyncIterable<EphemeralEvent<T>>;
};
export type EphemeralStore<T> = {
  upsert(cfg: EphemeralUpsertConfig<T>): Promise<EphemeralEntry<T>>;
  remove(cfg: EphemeralRemoveConfig): Promise<boolean>;
  touch(cfg: EphemeralTouchConfig): Promise<{ ok: boolean; version?: string; expiresAt?: number }>;
  snapshot(cfg?: { tenantId?: string }): Promise<EphemeralSnapshot<T>>;
  reader(cfg?: { after?: string; tenantId?: string }): EphemeralReader<T>;
};

export declare function retry<T>(fn: (attempt: number) => Promise<T> | T, opts?: RetryOptions): Promise<T>;
export type RetryOptions = {
  attempts?: number;
  minDelayMs?: number;
  maxDelayMs?: number;
  factor?: number;
  jitter?: number;
  signal?: AbortSignal;
  retryIf?: (error: unknown) => boolean;
};
export declare function isRetryableTransportError(error: unknown): boolean;
export declare const DEFAULT_RETRY_OPTIONS: {
  readonly attempts: 8;
  readonly minDelayMs: 100;
  readonly maxDelayMs: 2000;
  readonly factor: 2;
  readonly jitter: 0.2;
  readonly retryIf: typeof isRetryableTransportError;
};

export type Schema<Out = unknown> =
  | { safeParse(value: unknown): { success: true; data: Out } | { success: false; error: unknown } }
  | { parse(value: unknown): Out }
  | {
      readonly "~standard": {
        readonly version: 1;
        readonly vendor: string;
        validate(value: unknown): unknown;
        readonly types?: { readonly input: unknown; readonly output: Out };
      };
    };
