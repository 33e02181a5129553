//! Started instances: which one leads, which handlers they have, and what the leader is shown.

use std::iter;
use std::sync::Arc;

use super::super::store::{ANNOUNCED, Beat, Beaten, Busy, DueView, MAX_BYTES, Role, STEP, TriggerView, Wish};
use super::{HashMap, HashSet, Instance, LATE, Leader, Model, NEVER, Now};

impl Model {
    pub(crate) fn beat(&mut self, now: Now, process: &Arc<str>, beat: &Beat) -> Beaten {
        self.advance(now);
        let led = self.leading(now).cloned();
        let epoch = match (beat.wish, &led) {
            (Wish::Lead { .. }, Some(leader)) => {
                (leader.instance == beat.instance).then(|| now.next_number(self.epoch))
            }
            (Wish::Lead { .. }, None) => Some(now.next_number(self.epoch)),
            (Wish::Renew { epoch, .. }, Some(leader)) => {
                (leader.instance == beat.instance && leader.epoch == epoch).then_some(epoch)
            }
            (Wish::Renew { .. }, None) | (Wish::Announce, _) => None,
        };
        if let (Some(epoch), Wish::Lead { lease } | Wish::Renew { lease, .. }) = (epoch, beat.wish) {
            self.epoch = epoch;
            let (instance, process) = (Arc::clone(&beat.instance), Arc::clone(process));
            self.leader = Some(Leader { instance, process, epoch, until: now.ms + lease });
        }
        self.announce(now, process, beat);
        let role = match (epoch, led) {
            (Some(epoch), _) => self.show(now, epoch, beat.batch, &beat.busy),
            (None, Some(leader)) => Role::Follower { left: leader.until - now.ms },
            (None, None) => Role::Free,
        };
        if epoch.is_none() {
            self.ring(now);
        }
        Beaten { now: now.ms, role }
    }

    pub(crate) fn leave(&mut self, now: Now, instance: &Arc<str>) {
        self.advance(now);
        let handlers = self.drop_instance(instance);
        self.withdraw(now, &handlers);
        if self.leader.as_ref().is_some_and(|leader| leader.instance == *instance) {
            self.leader = None;
            self.ring_others(instance);
        } else {
            self.ring(now);
        }
    }

    fn announce(&mut self, now: Now, process: &Arc<str>, beat: &Beat) {
        let announced = now.ms + ANNOUNCED;
        // The instance may wait for the end of a lease without another beat.
        let lease_end = self.leading(now).map_or(0, |leader| leader.until);
        let instance = Box::new(Instance {
            process: Arc::clone(process),
            handlers: beat.handlers.clone(),
            announced,
            until: announced.max(lease_end + ANNOUNCED),
        });
        let until = instance.until;
        let before = self.instances.insert(Arc::clone(&beat.instance), instance);
        if let Some(before) = before {
            self.alive.remove(&(before.until, Arc::clone(&beat.instance)));
            if before.handlers != beat.handlers {
                self.withdraw(now, &before.handlers);
            }
        }
        self.alive.insert((until, Arc::clone(&beat.instance)));
        for handler in &beat.handlers {
            let served = self.served.entry(Arc::clone(handler)).or_default();
            *served = announced.max(*served);
        }
        self.appeared(&beat.handlers);
    }

    /// Makes due again what waited for these handlers.
    pub(super) fn appeared(&mut self, handlers: &[Arc<str>]) {
        for handler in handlers {
            let from = (Arc::clone(handler), Arc::from(""));
            if self.unserved.range(from..).next().is_some_and(|(of, _)| of == handler) {
                self.awakening.insert(Arc::clone(handler));
            }
        }
        self.awaken(STEP);
    }

    /// Removes an instance. Returns its handlers, which the caller withdraws together with those of others.
    pub(super) fn drop_instance(&mut self, name: &Arc<str>) -> Vec<Arc<str>> {
        let Some(instance) = self.instances.remove(name) else { return Vec::new() };
        self.alive.remove(&(instance.until, Arc::clone(name)));
        instance.handlers
    }

    /// Recomputes how long these handlers are announced, by the instances that remain. Reads all instances, so it is
    /// called once for everything that a step removes.
    pub(super) fn withdraw(&mut self, now: Now, handlers: &[Arc<str>]) {
        if handlers.is_empty() {
            return;
        }
        let mut latest: HashMap<_, u64> = HashMap::default();
        for other in self.instances.values() {
            for handler in &other.handlers {
                let until = latest.entry(Arc::clone(handler)).or_default();
                *until = other.announced.max(*until);
            }
        }
        for handler in handlers {
            match latest.get(handler) {
                Some(until) if *until > now.ms => self.served.insert(Arc::clone(handler), *until),
                _ => self.served.remove(handler),
            };
        }
    }

    /// What the leader has to do, and when there will be more.
    fn show(&mut self, now: Now, epoch: u64, batch: usize, busy: &Busy) -> Role {
        let (found, mut next) = self.first_due(now, batch, &busy.schedules.iter().collect());
        let mut bytes = 0;
        let mut due = Vec::new();
        for (at, id) in found {
            let entry = &self.schedules[&id];
            bytes += entry.size();
            if bytes > MAX_BYTES && !due.is_empty() {
                next = next.min(at);
                break;
            }
            let handler = entry.definition.handler.as_ref();
            let served = handler.is_none_or(|handler| self.is_served(now, handler));
            due.push(DueView { schedule: entry.view(), served });
        }
        let mut triggers: Vec<TriggerView> = Vec::new();
        let busy: HashSet<_> = busy.triggers.iter().copied().collect();
        for (at, born, run) in self.waiting.iter().filter(|(_, born, run)| !busy.contains(&(*born, *run))) {
            let trigger = &self.triggers[&(*born, *run)];
            bytes += trigger.view.content.len();
            if *at > now.ms || triggers.len() == batch || (bytes > MAX_BYTES && !triggers.is_empty()) {
                next = next.min(*at);
                break;
            }
            triggers.push(trigger.view.clone());
        }
        if !self.awakening.is_empty() {
            next = next.min(now.ms);
        }
        self.told = next;
        let next = (next != NEVER).then_some(next);
        Role::Leader { epoch, due, triggers, next, zones: self.zones.clone() }
    }

    /// The first `batch` schedules that are due, and the instant of the first one after them.
    fn first_due(&self, now: Now, batch: usize, busy: &HashSet<&Arc<str>>) -> (Vec<(u64, Arc<str>)>, u64) {
        let (behind, late) = ((now.ms + 1, Arc::from("")), (LATE, Arc::from("")));
        let is_free = |(_, id): &&(u64, Arc<str>)| !busy.contains(id);
        let mut plain = self.due.range(..behind.clone()).filter(is_free).peekable();
        let mut early = self.again.range(..behind.clone()).filter(is_free).peekable();
        let mut found: Vec<_> = iter::from_fn(|| match (plain.peek(), early.peek()) {
            (Some(due), Some(again)) if again < due => early.next(),
            (None, _) => early.next(),
            _ => plain.next(),
        })
        .take(batch + 1)
        .cloned()
        .collect();
        let late = self.again.range(late..).filter(is_free).take(batch + 1);
        found.extend(late.map(|(_, id)| (now.ms, Arc::clone(id))));
        if let Some((at, _)) = found.get(batch) {
            let at = *at;
            found.truncate(batch);
            return (found, at);
        }
        let firsts = [self.due.range(behind.clone()..).find(is_free), self.again.range(behind..).find(is_free)];
        let next = firsts.into_iter().flatten().map(|(at, _)| *at).filter(|at| *at < LATE).min();
        (found, next.unwrap_or(NEVER))
    }
}
