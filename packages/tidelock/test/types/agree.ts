// The package's types must match the contract: they return at least what it says, and accept everything it allows.

import type * as actual from "tidelock/browser";
import type * as declared from "./contract.js";
import type { Every } from "./depth.js";

type Text = { text: string; note?: string };
type TextSchema = { parse(value: unknown): Text };

/** Whether a value of the one type can be used as the other. */
type Gives<Given, As> = [Given] extends [As] ? true : false;
/** Whether everything in the contract is accepted, without unknown options. */
type Takes<Taken, Written> = [Written] extends [Taken] ? Gives<Every<Taken>, Every<Written>> : false;

type Handles = [
  Gives<actual.Store, declared.Store>,
  Gives<typeof actual.MemoryStore, typeof declared.MemoryStore>,
  Gives<typeof actual.LocalStorageStore, typeof declared.LocalStorageStore>,
  Gives<typeof actual.createMemoryStore, typeof declared.createMemoryStore>,
  Gives<typeof actual.createLocalStorageStore, typeof declared.createLocalStorageStore>,
  Gives<typeof actual.ratelimit, typeof declared.ratelimit>,
  Gives<actual.RateLimitResult, declared.RateLimitResult>,
  Gives<actual.RateLimiter, declared.RateLimiter>,
  Gives<typeof actual.RateLimitError, typeof declared.RateLimitError>,
  Gives<typeof actual.mutex, typeof declared.mutex>,
  Gives<actual.Mutex, declared.Mutex>,
  Gives<typeof actual.LockError, typeof declared.LockError>,
  Gives<typeof actual.queue<TextSchema>, typeof declared.queue<TextSchema>>,
  Gives<actual.QueueReceived<Text>, declared.QueueReceived<Text>>,
  Gives<actual.QueueReader<Text>, declared.QueueReader<Text>>,
  Gives<actual.Queue<Text>, declared.Queue<Text>>,
  Gives<actual.Changed, declared.Changed>,
  Gives<actual.RateLimitInfo, declared.RateLimitInfo>,
  Gives<typeof actual.topic<TextSchema>, typeof declared.topic<TextSchema>>,
  Gives<actual.TopicDelivery<Text>, declared.TopicDelivery<Text>>,
  Gives<actual.TopicLiveEvent<Text>, declared.TopicLiveEvent<Text>>,
  Gives<actual.TopicReader<Text>, declared.TopicReader<Text>>,
  Gives<actual.Topic<Text>, declared.Topic<Text>>,
  Gives<actual.JobId, declared.JobId>,
  Gives<actual.JobStatus, declared.JobStatus>,
  Gives<actual.JobTerminal<Text>, declared.JobTerminal<Text>>,
  Gives<actual.JobTerminal, declared.JobTerminal>,
  Gives<actual.JobContext, declared.JobContext>,
  Gives<actual.SchedulerInfo, declared.SchedulerInfo>,
  Gives<actual.SchedulerMetricsSnapshot, declared.SchedulerMetricsSnapshot>,
  Gives<typeof actual.scheduler, typeof declared.scheduler>,
  Gives<actual.Scheduler, declared.Scheduler>,
  Gives<typeof actual.registry<TextSchema>, typeof declared.registry<TextSchema>>,
  Gives<actual.RegistryEntry<Text>, declared.RegistryEntry<Text>>,
  Gives<actual.RegistrySnapshot<Text>, declared.RegistrySnapshot<Text>>,
  Gives<actual.RegistryReader<Text>, declared.RegistryReader<Text>>,
  Gives<actual.Registry<Text>, declared.Registry<Text>>,
  Gives<typeof actual.ephemeral<TextSchema>, typeof declared.ephemeral<TextSchema>>,
  Gives<actual.EphemeralEntry<Text>, declared.EphemeralEntry<Text>>,
  Gives<actual.EphemeralSnapshot<Text>, declared.EphemeralSnapshot<Text>>,
  Gives<actual.EphemeralReader<Text>, declared.EphemeralReader<Text>>,
  Gives<actual.EphemeralStore<Text>, declared.EphemeralStore<Text>>,
  Gives<typeof actual.retry, typeof declared.retry>,
  Gives<typeof actual.isRetryableTransportError, typeof declared.isRetryableTransportError>,
  Gives<typeof actual.DEFAULT_RETRY_OPTIONS, typeof declared.DEFAULT_RETRY_OPTIONS>,
];

type Configurations = [
  Takes<actual.Store, declared.Store>,
  Takes<actual.RateLimitConfig, declared.RateLimitConfig>,
  Takes<actual.MutexConfig, declared.MutexConfig>,
  Takes<actual.Lock, declared.Lock>,
  Takes<actual.QueueConfig<TextSchema>, declared.QueueConfig<TextSchema>>,
  Takes<actual.QueueSendConfig<Text>, declared.QueueSendConfig<Text>>,
  Takes<actual.QueueRecvConfig, declared.QueueRecvConfig>,
  Takes<actual.SetRateLimitConfig, declared.SetRateLimitConfig>,
  Takes<actual.TopicConfig<TextSchema>, declared.TopicConfig<TextSchema>>,
  Takes<actual.TopicPubConfig<Text>, declared.TopicPubConfig<Text>>,
  Takes<actual.TopicRecvConfig, declared.TopicRecvConfig>,
  Takes<actual.TopicLiveConfig, declared.TopicLiveConfig>,
  Takes<actual.SubmitOptions, declared.SubmitOptions>,
  Takes<actual.JoinOptions, declared.JoinOptions>,
  Takes<actual.CancelOptions, declared.CancelOptions>,
  Takes<actual.SchedulerConfig, declared.SchedulerConfig>,
  Takes<actual.SchedulerMetric, declared.SchedulerMetric>,
  Takes<actual.SchedulerRegisterConfig, declared.SchedulerRegisterConfig>,
  Takes<actual.SchedulerUnregisterConfig, declared.SchedulerUnregisterConfig>,
  Takes<actual.SchedulerTriggerNowConfig, declared.SchedulerTriggerNowConfig>,
  Takes<actual.SchedulerGetConfig, declared.SchedulerGetConfig>,
  Takes<actual.RegistryConfig<TextSchema>, declared.RegistryConfig<TextSchema>>,
  Takes<actual.RegistryUpsertConfig<Text>, declared.RegistryUpsertConfig<Text>>,
  Takes<actual.RegistryTouchConfig, declared.RegistryTouchConfig>,
  Takes<actual.RegistryRemoveConfig, declared.RegistryRemoveConfig>,
  Takes<actual.RegistryGetConfig, declared.RegistryGetConfig>,
  Takes<actual.RegistryListConfig, declared.RegistryListConfig>,
  Takes<actual.RegistryCasConfig<Text>, declared.RegistryCasConfig<Text>>,
  Takes<actual.RegistryRecvConfig, declared.RegistryRecvConfig>,
  Takes<actual.RegistryEvent<Text>, declared.RegistryEvent<Text>>,
  Takes<actual.EphemeralConfig<TextSchema>, declared.EphemeralConfig<TextSchema>>,
  Takes<actual.EphemeralUpsertConfig<Text>, declared.EphemeralUpsertConfig<Text>>,
  Takes<actual.EphemeralTouchConfig, declared.EphemeralTouchConfig>,
  Takes<actual.EphemeralRemoveConfig, declared.EphemeralRemoveConfig>,
  Takes<actual.EphemeralRecvConfig, declared.EphemeralRecvConfig>,
  Takes<actual.EphemeralEvent<Text>, declared.EphemeralEvent<Text>>,
  Takes<actual.RetryOptions, declared.RetryOptions>,
  Takes<actual.Schema<Text>, declared.Schema<Text>>,
  // More kinds of events may be added.
  Gives<declared.JobEvent, actual.JobEvent>,
  Gives<declared.JobEvents["live"] extends (cfg?: infer C) => unknown ? C : never, declared.TopicLiveConfig | undefined>,
  Gives<declared.JobDefinition<TextSchema, Text>["defaults"], actual.JobDefinition<TextSchema, Text>["defaults"]>,
  Gives<
    Omit<actual.JobHandle<Text, Text>, "events"> & { events(id: string): declared.JobEvents },
    declared.JobHandle<Text, Text>
  >,
];

type AllTrue<Checks extends readonly true[]> = Checks;
export type Checked = [AllTrue<Handles>, AllTrue<Configurations>];
