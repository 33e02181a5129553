// Uses every type, field and option of the package, and each call without its optional arguments.

import {
  createLocalStorageStore,
  createMemoryStore,
  DEFAULT_RETRY_OPTIONS,
  ephemeral,
  EphemeralCapacityError,
  EphemeralPayloadTooLargeError,
  isRetryableTransportError,
  job,
  LocalStorageStore,
  LockError,
  MemoryStore,
  mutex,
  queue,
  ratelimit,
  RateLimitError,
  registry,
  RegistryCapacityError,
  RegistryPayloadTooLargeError,
  retry,
  scheduler,
  topic,
} from "tidelock/browser";
import type * as actual from "tidelock/browser";
import type * as declared from "./contract.js";
import type { Every } from "./depth.js";

type Text = { text: string; note?: string };
type TextSchema = { parse(value: unknown): Text };

declare const schema: TextSchema;
declare const signal: AbortSignal;
const id = "id";
const tenantId = "tenant";
const meta = { by: "test" };
const data: Text = { text: "text" };

async function stores(): Promise<void> {
  const own: actual.Store = {
    get: (key) => (key === "" ? undefined : null),
    set: (_key, _value, _ttlMs) => {},
    del: (_key) => {},
    keys: (_prefix) => [],
  };
  const memory: MemoryStore = createMemoryStore();
  const storage: LocalStorageStore = createLocalStorageStore();
  const all: actual.Store[] = [own, memory, storage, new MemoryStore(), new LocalStorageStore()];
  all.push(new LocalStorageStore("app"), createLocalStorageStore("app"));
  for (const store of all) {
    const value: unknown = store.get("key");
    store.set("key", value);
    store.set("key", value, 1_000);
    store.del("key");
    const keys: string[] = [...store.keys(), ...store.keys("prefix")];
    void keys;
  }
  memory.clear();
  storage.clear();
}

async function limits(): Promise<void> {
  const config: Every<declared.RateLimitConfig> = { id, limit: 1, windowSecs: 1, prefix: "p", store: createMemoryStore() };
  const limiter: actual.RateLimiter = ratelimit(config);
  ratelimit({ id, limit: 1 });
  const result: actual.RateLimitResult = await limiter.check("ada");
  const { limited, remaining, resetIn, limit, retryAfter }: Every<declared.RateLimitResult> = result;
  const passed: actual.RateLimitResult = await limiter.checkOrThrow("ada");
  const said: string = limiter.id;
  const error = new RateLimitError({ remaining, resetIn });
  const numbers: number[] = [error.remaining, error.resetIn, error.retryAfter, limit, retryAfter, passed.limit];
  void [limited, said, numbers, new RateLimitError({ remaining, resetIn, retryAfter })];
}

async function locks(): Promise<void> {
  const store = createMemoryStore();
  const config: Every<declared.MutexConfig> = { id, prefix: "p", retryCount: 0, retryDelay: 1, defaultTtl: 1, store };
  const locks: actual.Mutex = mutex(config);
  mutex({ id });
  const lock: actual.Lock | null = (await locks.acquire("door")) ?? (await locks.acquire("door", 1_000));
  if (lock === null) throw new LockError("door");
  const { resource, value, ttl, expiration, fence }: Every<declared.Lock> = lock;
  const answers: boolean[] = [await locks.extend(lock), await locks.extend(lock, 1), await locks.release(lock)];
  const ran: number | null = await locks.withLock("door", (held) => held.fence, 1_000);
  const sure: string = await locks.withLockOrThrow("door", async (held) => held.value);
  const numbers: number[] = [ttl, expiration, fence];
  const texts: string[] = [resource, value, locks.id, new LockError("door").resource];
  void [answers, ran, sure, numbers, texts];
}

async function queues(): Promise<void> {
  const config: Every<declared.QueueConfig<TextSchema>> = {
    id,
    schema,
    tenantId,
    prefix: "p",
    ordering: { mode: "best_effort", partitions: 1 },
    limits: { payloadBytes: 1, maxMessageAgeMs: 1, maxNackDelayMs: 1, dlqRetentionMs: 1 },
    delivery: { defaultLeaseMs: 1, maxDeliveries: 1 },
  };
  const orders: actual.Queue<Text> = queue(config);
  queue({ id, schema });
  queue({ id, schema, ordering: {}, limits: {}, delivery: {} });
  const message: Every<declared.QueueSendConfig<Text>> = {
    data: { text: "text", note: "note" },
    delayMs: 1,
    orderingKey: "key",
    idempotencyKey: "key",
    idempotencyTtlMs: 1,
    meta,
    tenantId,
  };
  const { messageId, duplicate }: { messageId: string; duplicate: boolean } = await orders.send(message);
  await orders.send({ data });
  const receive: Every<declared.QueueRecvConfig> = { wait: true, timeoutMs: 1, leaseMs: 1, signal, consumerId: "c", tenantId };
  const reader: actual.QueueReader<Text> = orders.reader();
  for (const from of [orders, reader]) {
    const received: actual.QueueReceived<Text> | null = (await from.recv()) ?? (await from.recv({})) ?? (await from.recv(receive));
    if (received === null) continue;
    const fields: Every<Omit<declared.QueueReceived<Text>, "orderingKey" | "meta">> = {
      ...received,
      data: { text: received.data.text, note: received.data.note ?? "" },
    };
    const key: string | undefined = received.orderingKey;
    const travels: Record<string, unknown> | undefined = received.meta;
    const answers: boolean[] = [
      await received.touch(),
      await received.touch({}),
      await received.touch({ leaseMs: 1 }),
      await received.nack(),
      await received.nack({}),
      await received.nack({ delayMs: 1, reason: "reason", error: "error" }),
      await received.ack(),
    ];
    void [fields, key, travels, answers];
    for await (const next of from.stream()) next satisfies actual.QueueReceived<Text>;
    for await (const next of from.stream(receive)) next satisfies actual.QueueReceived<Text>;
  }
  const rate: Every<declared.SetRateLimitConfig> = { limit: 1, perMs: 1_000 };
  const changes: actual.Changed[] = [
    await orders.setRateLimit(rate satisfies actual.SetRateLimitConfig),
    await orders.setRateLimit({ ...rate, tenantId }),
    await orders.removeRateLimit(),
    await orders.removeRateLimit({ tenantId }),
  ];
  limited((await orders.stats()).rateLimit ?? (await orders.stats({ tenantId })).rateLimit);
  void [messageId, duplicate, changes];
}

function limited(shown: actual.RateLimitInfo | null): void {
  if (shown === null) return;
  const numbers: number[] = [shown.limit, shown.perMs, shown.used];
  const ends: number | null = shown.windowEndsAt;
  void [numbers, ends];
}

async function topics(): Promise<void> {
  const config: Every<declared.TopicConfig<TextSchema>> = {
    id,
    schema,
    tenantId,
    prefix: "p",
    limits: { payloadBytes: 1 },
    retentionMs: 1,
    store: createMemoryStore(),
  };
  const events: actual.Topic<Text> = topic(config);
  topic({ id, schema });
  topic({ id, schema, limits: {} });
  const event: Every<declared.TopicPubConfig<Text>> = {
    data: { text: "text", note: "note" },
    orderingKey: "key",
    idempotencyKey: "key",
    idempotencyTtlMs: 1,
    meta,
    tenantId,
  };
  const published: { eventId: string; cursor: string; duplicate: boolean } = await events.pub(event);
  await events.pub({ data });
  const reader: actual.TopicReader<Text> = events.reader();
  const group: string = events.reader("group").group;
  const receive: Every<declared.TopicRecvConfig> = { wait: true, timeoutMs: 1, signal, tenantId };
  const delivered: actual.TopicDelivery<Text> | null = (await reader.recv()) ?? (await reader.recv(receive));
  if (delivered !== null) {
    const texts: string[] = [delivered.eventId, delivered.cursor, delivered.deliveryId, delivered.data.text];
    const at: number = delivered.publishedAt;
    const rest: [string | undefined, Record<string, unknown> | undefined] = [delivered.orderingKey, delivered.meta];
    const done: boolean = await delivered.commit();
    void [texts, at, rest, done];
  }
  for await (const next of reader.stream()) next satisfies actual.TopicDelivery<Text>;
  for await (const next of reader.stream(receive)) next satisfies actual.TopicDelivery<Text>;
  const follow: Every<declared.TopicLiveConfig> = { after: published.cursor, signal, timeoutMs: 1, tenantId };
  for await (const next of events.live()) next satisfies actual.TopicLiveEvent<Text>;
  for await (const next of events.live(follow)) next satisfies actual.TopicLiveEvent<Text>;
  void group;
}

async function jobs(): Promise<void> {
  const own: Every<Pick<declared.SubmitOptions, "maxAttempts" | "leaseMs" | "backoff" | "keyTtlMs">> = {
    keyTtlMs: 1,
    maxAttempts: 1,
    leaseMs: 1,
    backoff: { kind: "exp", baseMs: 1, maxMs: 1, jitter: 0 },
  };
  const definition: declared.JobDefinition<TextSchema, number> = {
    id,
    schema,
    defaults: own,
    async process({ ctx, input }) {
      const context: declared.JobContext = ctx;
      await context.heartbeat();
      await context.heartbeat({});
      await context.heartbeat({ leaseMs: 1 });
      const length: number = await context.step({ id: "length", run: () => input.text.length });
      const later: string = await context.step({ id: "later", run: async () => "text" });
      context.signal satisfies AbortSignal;
      return length + later.length;
    },
  };
  const mail: actual.JobHandle<Text, number> = job(definition);
  job({ id, schema, process: () => {} }) satisfies actual.JobHandle<Text>;
  job({ id, schema, process: () => 1, defaults: {} }) satisfies actual.JobHandle<Text, number>;
  const options: Every<declared.SubmitOptions> = { ...own, key: "key", delayMs: 1, at: 1, meta };
  const submitted: actual.JobId = await mail.submit({ input: data, ...options });
  await mail.submit({ input: data });
  await mail.submit({ input: data, backoff: { kind: "fixed", baseMs: 1 } } satisfies { input: Text } & actual.SubmitOptions);
  mail.validateInput(1);
  const join: Every<declared.JoinOptions> = { timeoutMs: 1 };
  const cancel: Every<declared.CancelOptions> = { reason: "reason" };
  const ended: actual.JobTerminal<number> = await mail.join({ id: submitted });
  const status: actual.JobStatus = (await mail.join({ id: submitted, ...join })).status;
  if (status === "completed" || status === "failed" || status === "cancelled") void status;
  else status satisfies "timed_out";
  const result: number | undefined = ended.result;
  const error: { message: string; code?: string } | undefined = ended.error;
  const when: [string, number] = [ended.id, ended.finishedAt];
  await mail.cancel({ id: submitted });
  await mail.cancel({ id: submitted, ...cancel });
  const events: actual.JobEvents = mail.events(submitted);
  for await (const { data: event } of events.live({ after: "0" })) told(event);
  const delivered = await events.reader("group").recv();
  if (delivered !== null) told(delivered.data);
  const changes: actual.Changed[] = [await mail.setRateLimit({ limit: 1, perMs: 1_000 }), await mail.removeRateLimit()];
  limited((await mail.stats()).rateLimit);
  mail.stop();
  const none: [actual.JoinOptions, actual.CancelOptions, actual.SubmitOptions] = [{}, {}, {}];
  void [mail.id, result, error, when, none, changes];
}

function told(event: actual.JobEvent): void {
  const about: [string, number] = [event.id, event.ts];
  if (event.type === "started") [event.runId, event.attempt] satisfies [string, number];
  if (event.type === "heartbeat") event.runId satisfies string;
  if (event.type === "retry") [event.runId, event.nextAt, event.reason] satisfies [string, number, string | undefined];
  if (event.type === "failed" || event.type === "cancelled") event.reason satisfies string | undefined;
  if (event.type === "submitted" || event.type === "completed") void event;
  void about;
}

async function schedules(): Promise<void> {
  const metric = (seen: actual.SchedulerMetric): void => observed(seen);
  const config: Every<declared.SchedulerConfig> = {
    id,
    prefix: "p",
    strictHandlers: true,
    leader: { leaseMs: 1, heartbeatMs: 1 },
    dispatch: {
      tickMs: 1,
      batchSize: 1,
      maxSubmitsPerTick: 1,
      submitRetries: 1,
      submitBackoffBaseMs: 1,
      submitBackoffMaxMs: 1,
      scheduledJobKeyTtlMs: 1,
      dlqMaxEntries: 1,
      maxConsecutiveDispatchFailures: 1,
    },
    onMetric: metric,
    store: createMemoryStore(),
  };
  const clock: actual.Scheduler = scheduler(config);
  scheduler({ id });
  scheduler({ id, leader: {}, dispatch: {} });
  const target: Every<declared.SchedulerRegisterConfig["job"]> = {
    id,
    validateInput: (_input) => {},
    submit: async ({ input, key, keyTtlMs, at, delayMs, meta }) => String([input, key, keyTtlMs, at, delayMs, meta]),
  };
  const schedule: Every<Omit<declared.SchedulerRegisterConfig, "input">> = {
    id,
    cron: "0 7 * * *",
    tz: "Europe/Berlin",
    job: target,
    misfire: "catch_up_one",
    maxCatchUpRuns: 1,
    meta,
  };
  const { created, updated }: { created: boolean; updated: boolean } = await clock.register({ input: data, ...schedule });
  const mail = job({ id, schema, process: () => 1 });
  const least: actual.SchedulerRegisterConfig = { id, cron: "* * * * *", input: data, job: mail };
  await clock.register(least);
  await clock.register({ ...least, job: { id, submit: async () => "id" }, misfire: "skip" });
  clock.start();
  const trigger: Every<declared.SchedulerTriggerNowConfig> = { id, key: "key" };
  const ran: string[] = [await clock.triggerNow({ id }), await clock.triggerNow(trigger satisfies actual.SchedulerTriggerNowConfig)];
  const info: actual.SchedulerInfo | null = await clock.get({ id } satisfies actual.SchedulerGetConfig);
  const all: actual.SchedulerInfo[] = await clock.list();
  if (info !== null) ({ ...info }) satisfies Every<declared.SchedulerInfo>;
  const snapshot: actual.SchedulerMetricsSnapshot = clock.metrics();
  const { lastTickAt, isLeader, ...counts } = snapshot;
  const counted: Record<Exclude<keyof declared.SchedulerMetricsSnapshot, "lastTickAt" | "isLeader">, number> = counts;
  const seen: [number | null, boolean] = [lastTickAt, isLeader];
  await clock.unregister({ id } satisfies actual.SchedulerUnregisterConfig);
  await clock.stop();
  void [clock.id, created, updated, ran, all, counted, seen];
}

function observed(metric: actual.SchedulerMetric): void {
  const at: number = metric.ts;
  switch (metric.type) {
    case "leader_lost":
      return metric.reason satisfies "extend_failed" | "stop" as unknown as void;
    case "schedule_registered":
      return void [metric.scheduleId, metric.created satisfies boolean];
    case "dispatch_submitted":
      return void ([metric.scheduleId, metric.slotTs, metric.jobId] satisfies [string, number, string]);
    case "dispatch_skipped":
      return void ([metric.scheduleId, metric.reason, metric.count] satisfies [string, string, number | undefined]);
    case "dispatch_dlq":
      return void ([metric.scheduleId, metric.slotTs, metric.message] satisfies [string, number, string]);
    case "dispatch_advanced_after_failures":
      return void ([metric.scheduleId, metric.slotTs, metric.failures] satisfies [string, number, number]);
    case "trigger_submitted":
      return void ([metric.scheduleId, metric.jobId] satisfies [string, string]);
    case "tick_error":
      return void (metric.message satisfies string);
    case "dispatch_failed":
    case "trigger_failed":
      return void ([metric.scheduleId, metric.message] satisfies [string, string]);
    case "trigger_rejected":
      return void (metric.reason satisfies "missing_schedule" | "missing_handler" | "invalid_schedule");
    case "schedule_updated":
    case "schedule_unregistered":
      return void (metric.scheduleId satisfies string);
    case "leader_acquired":
      return void at;
  }
}

async function records(): Promise<void> {
  const config: Every<declared.RegistryConfig<TextSchema>> = {
    id,
    schema,
    tenantId,
    prefix: "p",
    limits: {
      maxEntries: 1,
      maxPayloadBytes: 1,
      eventRetentionMs: 1,
      eventMaxLen: 1,
      tombstoneRetentionMs: 1,
      reconcileBatchSize: 1,
    },
  };
  const services: actual.Registry<Text> = registry(config);
  registry({ id, schema });
  registry({ id, schema, limits: {} });
  const key = "a/b";
  const value = { text: "text", note: "note" };
  const written: Every<declared.RegistryUpsertConfig<Text>> = { key, value, ttlMs: 1, tenantId };
  const entry: actual.RegistryEntry<Text> = await services.upsert(written);
  await services.upsert({ key, value: data });
  const { version, ttlMs, expiresAt, status, createdAt, updatedAt } = entry;
  const ends: (number | null)[] = [ttlMs, expiresAt];
  const state: "active" | "expired" = status;
  const times: number[] = [createdAt, updatedAt];
  const read: Every<declared.RegistryGetConfig> = { key, includeExpired: true, tenantId };
  const got: actual.RegistryEntry<Text> | null = (await services.get({ key })) ?? (await services.get(read));
  const touch: Every<declared.RegistryTouchConfig> = { key, ttlMs: 1, tenantId };
  const touched: { ok: boolean; version?: string; expiresAt?: number } = await services.touch(touch);
  await services.touch({ key });
  const swap: Every<declared.RegistryCasConfig<Text>> = { key, version, value, tenantId };
  const swapped: { ok: boolean; entry?: actual.RegistryEntry<Text> } = await services.cas(swap);
  await services.cas({ key, version, value: data });
  const look: Every<declared.RegistryListConfig> = { prefix: "a/", status: "active", limit: 1, afterKey: key, tenantId };
  const page: actual.RegistrySnapshot<Text> = await services.list(look);
  await services.list();
  const next: [actual.RegistryEntry<Text>[], string, string | undefined] = [page.entries, page.cursor, page.nextKey];
  const gone: Every<declared.RegistryRemoveConfig> = { key, reason: "reason", tenantId };
  const removed: boolean = (await services.remove({ key })) || (await services.remove(gone));
  const reader: actual.RegistryReader<Text> = services.reader();
  services.reader({ key, after: "0", tenantId });
  services.reader({ prefix: "a/" });
  const receive: Every<declared.RegistryRecvConfig> = { wait: true, timeoutMs: 1, signal };
  for (const event of [await reader.recv(), await reader.recv(receive)]) if (event !== null) changed(event);
  for await (const event of reader.stream()) changed(event);
  for await (const event of reader.stream(receive)) changed(event);
  void [ends, state, times, got, touched, swapped, next, removed];
  throw new RegistryCapacityError(new RegistryPayloadTooLargeError(new RegistryCapacityError().message).message);
}

function changed(event: actual.RegistryEvent<Text>): void {
  const cursor: string = event.cursor;
  switch (event.type) {
    case "upsert":
      return void (event.entry satisfies actual.RegistryEntry<Text>);
    case "touch":
      return void ([event.key, event.version, event.updatedAt, event.expiresAt] satisfies [string, string, number, number]);
    case "delete":
      return void ([event.key, event.version, event.removedAt, event.reason] satisfies [string, string, number, string?]);
    case "expire":
      return void ([event.key, event.version, event.removedAt] satisfies [string, string, number]);
    case "overflow":
      return void ([event.after, event.firstAvailable, cursor] satisfies [string, string, string]);
  }
}

async function presence(): Promise<void> {
  const config: Every<declared.EphemeralConfig<TextSchema>> = {
    id,
    schema,
    ttlMs: 1,
    tenantId,
    limits: { maxEntries: 1, maxPayloadBytes: 1, eventRetentionMs: 1, eventMaxLen: 1 },
  };
  const room: actual.EphemeralStore<Text> = ephemeral(config);
  ephemeral({ id, schema, ttlMs: 1 });
  ephemeral({ id, schema, ttlMs: 1, limits: {} });
  const key = "ada";
  const value = { text: "text", note: "note" };
  const written: Every<declared.EphemeralUpsertConfig<Text>> = { key, value, ttlMs: 1, tenantId };
  const entry: actual.EphemeralEntry<Text> = await room.upsert(written);
  await room.upsert({ key, value: data });
  const [version, times]: [string, number[]] = [entry.version, [entry.updatedAt, entry.expiresAt]];
  const touch: Every<declared.EphemeralTouchConfig> = { key, ttlMs: 1, tenantId };
  const touched: { ok: boolean; version?: string; expiresAt?: number } = await room.touch(touch);
  await room.touch({ key });
  const gone: Every<declared.EphemeralRemoveConfig> = { key, reason: "reason", tenantId };
  const removed: boolean = (await room.remove({ key })) || (await room.remove(gone));
  const snapshot: actual.EphemeralSnapshot<Text> = await room.snapshot({ tenantId });
  await room.snapshot();
  await room.snapshot({});
  const seen: [actual.EphemeralEntry<Text>[], string] = [snapshot.entries, snapshot.cursor];
  const reader: actual.EphemeralReader<Text> = room.reader();
  room.reader({ after: snapshot.cursor, tenantId });
  const receive: Every<declared.EphemeralRecvConfig> = { wait: true, timeoutMs: 1, signal };
  for (const event of [await reader.recv(), await reader.recv(receive)]) if (event !== null) moved(event);
  for await (const event of reader.stream()) moved(event);
  for await (const event of reader.stream(receive)) moved(event);
  void [version, times, touched, removed, seen];
  throw new EphemeralCapacityError(new EphemeralPayloadTooLargeError(new EphemeralCapacityError().message).message);
}

function moved(event: actual.EphemeralEvent<Text>): void {
  const cursor: string = event.cursor;
  switch (event.type) {
    case "upsert":
      return void (event.entry satisfies actual.EphemeralEntry<Text>);
    case "touch":
      return void ([event.key, event.version, event.expiresAt] satisfies [string, string, number]);
    case "delete":
      return void ([event.key, event.version, event.deletedAt, event.reason] satisfies [string, string, number, string?]);
    case "expire":
      return void ([event.key, event.version, event.expiredAt] satisfies [string, string, number]);
    case "overflow":
      return void ([event.after, event.firstAvailable, cursor] satisfies [string, string, string]);
  }
}

async function retries(): Promise<void> {
  const options: Every<declared.RetryOptions> = {
    attempts: Infinity,
    minDelayMs: 1,
    maxDelayMs: 1,
    factor: 1,
    jitter: 0,
    signal,
    retryIf: (error) => isRetryableTransportError(error),
  };
  const text: string = await retry(async (attempt) => String(attempt));
  const count: number = await retry((attempt) => attempt, options satisfies actual.RetryOptions);
  await retry(() => {}, {});
  const defaults: typeof declared.DEFAULT_RETRY_OPTIONS = DEFAULT_RETRY_OPTIONS;
  const eight: 8 = defaults.attempts;
  void [text, count, eight, isRetryableTransportError(undefined)];
}

void [stores, limits, locks, queues, topics, jobs, schedules, records, presence, retries];
