//! Random steps of several processes at pinned times: the model against real servers.
//!
//! The test compares every answer, grant, fence and place, what a query shows, and which process was woken for which
//! token. `TIDELOCK_SEED` repeats a run.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::mpsc;

use super::model::{Resource, Turn};
use super::store::{Answer, Ask, Effort, Handed, Hears, MutexStore, Outcome, REMEMBERED, Spot, Step, Token};
use crate::Tidelock;
use crate::name::Address;
use crate::time::{ManualClock, SECOND, Timestamp};

/// Steps over all servers, except in a soak.
const STEPS: usize = 100_000;
const PROCESSES: usize = 3;
const RESOURCES: usize = 4;
const TOKENS: usize = 12;
/// Steps per round. A round begins with empty resources and new tokens.
const ROUND: usize = 250;

/// Records which tokens were woken.
struct Bell(mpsc::UnboundedSender<Token>);

impl Hears for Bell {
    fn handed(&self, _spot: &Spot, _handed: Handed) {}

    fn offered(&self, _spot: &Spot, token: Token) {
        let _ = self.0.send(token);
    }

    fn missed(&self) {}
}

/// One process: its connections, and the wake-ups that it received.
struct Process {
    tide: Tidelock,
    store: Arc<dyn MutexStore>,
    /// Its name in the model.
    name: String,
    heard: mpsc::UnboundedReceiver<Token>,
    /// Tokens for which it was woken before.
    known: HashSet<Token>,
    _bell: Arc<Bell>,
}

impl Process {
    async fn start(url: &str, prefix: &str, clock: &ManualClock) -> Self {
        let tide = Tidelock::connect(url).prefix(prefix).clock(clock).await.expect("the server answers");
        let store = tide.world.backend.mutex();
        let (tell, heard) = mpsc::unbounded_channel();
        let bell = Arc::new(Bell(tell));
        let listener = Arc::downgrade(&bell);
        store.door().listen(listener);
        let name = tide.world.process.to_string();
        Self { tide, store, name, heard, known: HashSet::new(), _bell: bell }
    }

    /// Waits for the wake-up that the model predicted. In a cluster each node forwards messages, so older ones arrive
    /// again.
    async fn is_woken_for(&mut self, token: Token, what: &str) {
        loop {
            let heard = tokio::time::timeout(Duration::from_secs(20), self.heard.recv()).await;
            let heard = heard.expect("the wake-up that the model told of arrives").expect("the bell lives");
            if heard == token {
                self.known.insert(token);
                return;
            }
            assert!(self.known.contains(&heard), "{what}: woken for {heard:?} and not for {token:?}");
        }
    }
}

/// What the generator knows about a token: enough to make correct, repeated and wrong releases.
#[derive(Clone, Debug)]
struct Caller {
    ask: Ask,
    process: usize,
    fence: u64,
}

/// A step that the generator chose.
#[derive(Clone, Debug)]
struct Chosen {
    resource: usize,
    caller: usize,
    process: usize,
    step: Step,
}

impl Chosen {
    fn is_shared(&self) -> bool {
        matches!(self.step, Step::Lock { .. } | Step::Release { .. })
    }
}

struct Run<'a> {
    random: fastrand::Rng,
    clock: ManualClock,
    url: &'a str,
    prefix: String,
    /// Whether requests about several resources share trips.
    shares: bool,
    processes: Vec<Process>,
    models: Vec<Resource>,
    spots: Vec<Spot>,
    callers: Vec<Vec<Caller>>,
}

impl Run<'_> {
    fn begin_round(&mut self, round: usize) {
        let address = Address::new(&"default".into(), &format!("m{round}"));
        self.models = vec![Resource::default(); RESOURCES];
        self.spots = (0..RESOURCES).map(|r| self.processes[0].store.spot(&address, &format!("r{r}"))).collect();
        let random = &mut self.random;
        let mut caller = || Caller {
            ask: Ask {
                token: Token(random.u128(..)),
                lease: *random.choice(&[1, 100, 400, 2_000, 10_000]).expect("there are some"),
                owner: (0..random.usize(1..20)).map(|_| random.char(..)).collect(),
            },
            process: random.usize(..PROCESSES),
            fence: 0,
        };
        self.callers = (0..RESOURCES).map(|_| (0..TOKENS).map(|_| caller()).collect()).collect();
    }

    /// Ends a process and starts another in its place. After that nobody listens for the waiters of the old one.
    async fn replace_process(&mut self, index: usize) {
        let new = Process::start(self.url, &self.prefix, &self.clock).await;
        let old = std::mem::replace(&mut self.processes[index], new);
        let channel = format!("{}:wake:{}", self.prefix, old.name);
        old.tide.world.backend.close();
        drop(old);
        // The new process uses tokens of its own.
        for caller in self.callers.iter_mut().flatten().filter(|caller| caller.process == index) {
            (caller.ask.token, caller.fence) = (Token(self.random.u128(..)), 0);
        }
        // The server notices a closed connection only after a while.
        let mut look = look_at(self.url);
        let deaf =
            |reply: tidelock_testkit::Reply| reply.items().get(1).and_then(tidelock_testkit::Reply::int) == Some(0);
        while !deaf(look.command(&["PUBSUB", "NUMSUB", &channel]).expect("the server answers")) {
            tokio::task::yield_now().await;
        }
    }

    fn step(&mut self, resource: usize, caller: usize) -> Step {
        let other = self.random.usize(..TOKENS);
        let Caller { ask, fence, .. } = self.callers[resource][caller].clone();
        let wrong = self.callers[resource][other].fence;
        match self.random.u8(..100) {
            0..50 => Step::Lock { ask, wait: self.random.u8(..5) > 0 },
            50..68 => Step::Release { token: ask.token, fence },
            68..72 => Step::Release { token: ask.token, fence: wrong },
            72..80 => {
                Step::Extend { token: ask.token, fence, lease: self.random.u64(1..9_000), number: self.random.u32(..4) }
            }
            80..82 => Step::Extend { token: ask.token, fence: wrong, lease: 77, number: 1 },
            82..89 => Step::Leave { ask },
            89..91 => Step::Leave { ask: Ask { lease: 0, ..ask } },
            _ => Step::Refresh,
        }
    }

    async fn turn(&mut self, number: usize) {
        let elapsed = match self.random.u8(..10) {
            0..5 => 0,
            5..8 => self.random.u64(1..120),
            8 => self.random.u64(1..700),
            _ => self.random.u64(1..9_000),
        };
        self.clock.advance(Duration::from_millis(elapsed));
        let burst = if self.shares && self.random.u8(..4) == 0 { self.random.usize(2..8) } else { 1 };
        // Locks and releases that one process sends at once share a trip, and take effect in order.
        let mut chosen = vec![self.choose()];
        for next in (1..burst).map(|_| self.choose()).collect::<Vec<_>>() {
            if chosen[0].is_shared() && next.is_shared() && next.process == chosen[0].process {
                chosen.push(next);
            }
        }
        self.carry_out(number, &chosen).await;
    }

    /// Sends the steps at once, from the process of the first one, and compares the answers with those of the model,
    /// which it returns.
    async fn carry_out(&mut self, number: usize, chosen: &[Chosen]) -> Vec<Answer> {
        let now = self.clock.now();
        let names: Vec<_> = self.processes.iter().map(|process| process.name.clone()).collect();
        let (mut woken, mut expected) = (Vec::new(), Vec::new());
        for Chosen { resource, process, step, .. } in chosen {
            let mut wake = |name: &str, token: Token| {
                let listener = names.iter().position(|other| other == name);
                woken.extend(listener.map(|listener| (listener, token)));
                listener.is_some()
            };
            let mut turn = Turn { now, process: &names[*process], wake: &mut wake, waiters_die: true, offered: false };
            expected.push(self.models[*resource].apply(step, &mut turn));
        }

        let store = Arc::clone(&self.processes[chosen[0].process].store);
        let answers = chosen
            .iter()
            .map(|Chosen { resource, step, .. }| store.step(&self.spots[*resource], step.clone(), Effort::USUAL));
        let found: Vec<_> =
            join_all(answers).await.into_iter().map(|answer| answer.expect("the server answers")).collect();
        assert_eq!(found, expected, "step {number}: {chosen:?}, at {now}");
        for (listener, token) in woken {
            self.processes[listener].is_woken_for(token, &format!("step {number}: {chosen:?}")).await;
        }
        for (Chosen { resource, caller, .. }, expected) in chosen.iter().zip(&expected) {
            let seen = store.describe(&self.spots[*resource]).await.expect("the server answers");
            assert_eq!(seen, self.models[*resource].describe(now), "step {number}: after {chosen:?}");
            self.learn(*resource, *caller, expected);
        }
        expected
    }

    /// Makes more releases of one resource than are remembered, and repeats each of them.
    async fn repeat_releases(&mut self) {
        const RELEASES: usize = REMEMBERED + 10;
        let mut ask = self.callers[0][0].ask.clone();
        let one = |step| [Chosen { resource: 0, caller: 0, process: 0, step }];
        let mut fences = Vec::new();
        for number in 0..RELEASES {
            ask.token = Token(self.random.u128(..));
            self.carry_out(number, &one(Step::Lock { ask: ask.clone(), wait: false })).await;
            let fence = self.callers[0][0].fence;
            self.carry_out(number, &one(Step::Release { token: ask.token, fence })).await;
            fences.push(fence);
        }
        let mut remembered = 0;
        for (number, fence) in fences.into_iter().enumerate() {
            let answers = self.carry_out(number, &one(Step::Release { token: ask.token, fence })).await;
            remembered += usize::from(answers[0].outcome == Outcome::Released(true));
        }
        assert_eq!(remembered, REMEMBERED);
    }

    fn choose(&mut self) -> Chosen {
        let (resource, caller) = (self.random.usize(..RESOURCES), self.random.usize(..TOKENS));
        let step = self.step(resource, caller);
        // A token belongs to one process. Only a fence that another process has learnt may be used from there.
        let foreign = matches!(step, Step::Release { .. } | Step::Extend { .. }) && self.random.u8(..5) == 0;
        let process = if foreign { 0 } else { self.callers[resource][caller].process };
        Chosen { resource, caller, process, step }
    }

    fn learn(&mut self, resource: usize, caller: usize, answer: &Answer) {
        let callers = &mut self.callers[resource];
        if let Outcome::Granted { fence, .. } = answer.outcome {
            callers[caller].fence = fence;
        }
        // A late request with the old token is refused; half of the time the caller draws a new token.
        if answer.outcome == Outcome::Released(true) && self.random.bool() {
            callers[caller].ask.token = Token(self.random.u128(..));
        }
        if let Some(handed) = answer.handed
            && let Some(caller) = callers.iter_mut().find(|caller| caller.ask.token == handed.token)
        {
            caller.fence = handed.fence;
        }
    }
}

fn look_at(url: &str) -> tidelock_testkit::Connection {
    let host = url.rsplit_once("://").map_or(url, |(_, rest)| rest);
    let port = host.split(',').next().and_then(|first| first.rsplit_once(':')).map(|(_, port)| port);
    let port = port.and_then(|port| port.trim_end_matches('/').parse().ok()).expect("a URL of the tests has a port");
    tidelock_testkit::Connection::open(port).expect("the server answers")
}

async fn compare(name: &str, url: &str, seed: u64, steps: usize) {
    let mut random = fastrand::Rng::with_seed(seed);
    let prefix = format!("diff.mutex.{:x}", fastrand::u64(..));
    let clock = ManualClock::at(Timestamp::from_millis(1_767_225_600_000));
    let mut processes = Vec::new();
    for _ in 0..PROCESSES {
        processes.push(Process::start(url, &prefix, &clock).await);
    }
    let clustered = url.contains("cluster");
    random.u64(..);
    let (models, spots, callers, shares) = (Vec::new(), Vec::new(), Vec::new(), !clustered);
    let mut run = Run { random, clock, url, prefix, shares, processes, models, spots, callers };
    run.begin_round(steps);
    run.repeat_releases().await;
    for number in 0..steps {
        if number % ROUND == 0 {
            run.begin_round(number / ROUND);
            run.clock.advance(SECOND);
        }
        // In a cluster, each node would have to be asked whether it still has a listener.
        if !clustered && run.random.u16(..400) == 0 {
            let index = run.random.usize(..PROCESSES);
            run.replace_process(index).await;
        }
        run.turn(number).await;
    }
    for mut process in run.processes {
        process.tide.world.backend.close();
        if !clustered {
            assert!(process.heard.try_recv().is_err(), "{name}: woken although the model said nothing");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn model_and_servers_agree() {
    let servers = tidelock_testkit::shared_servers();
    if servers.is_empty() {
        assert!(!tidelock_testkit::is_ci(), "servers must run in CI");
        eprintln!("skipped: TIDELOCK_TEST_SERVERS names no server");
        return;
    }
    let seed =
        std::env::var("TIDELOCK_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    println!("TIDELOCK_SEED={seed}");
    let soak = if tidelock_testkit::soak() { 10 } else { 1 };
    let steps = STEPS * soak / servers.len();
    for (name, url) in &servers {
        println!("{name}: {steps} steps");
        compare(name, url, seed, steps).await;
    }
}
