//! Concurrent gets share a trip: one call of a script that writes nothing.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::Site;
use super::stored;
use crate::Error;
use crate::backend::redis::{self as server, Answer, Carrier, Lane, Lanes, Script, script};
use crate::error::Result;
use crate::keyed::store::{Get, Places, Position, RecordView};

static GET: Script = script!("keyed.get", "../../lua/time.lua", "../lua/store.lua", "../lua/log.lua", "../lua/get.lua");

/// One caller's part of a trip.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) get: Get,
    pub(super) reply: oneshot::Sender<Result<Option<RecordView>>>,
}

impl server::Request for Request {
    fn bytes(&self) -> usize {
        self.get.key.len() + 16
    }

    fn is_withdrawn(&self) -> bool {
        self.reply.is_closed()
    }

    fn fail(&mut self, error: &Error) {
        server::refuse(&mut self.reply, error);
    }
}

/// The gets of one object, batched into trips.
#[derive(Debug)]
pub(super) struct Gets {
    site: Arc<Site>,
    lanes: Lanes<Request>,
}

impl Gets {
    pub(super) fn new(site: &Arc<Site>) -> Arc<Self> {
        Arc::new(Self { site: Arc::clone(site), lanes: Lanes::new(&site.home) })
    }

    async fn make_trip(&self, load: &[Request]) -> Result<Answer> {
        let mut arguments = self.site.home.arguments(None);
        let flags: Vec<u8> = load.iter().map(|one| if one.get.include_expired { b'1' } else { b'0' }).collect();
        arguments.push(&flags);
        for request in load {
            arguments.push(request.get.key.as_bytes());
        }
        self.site.home.show("keyed", &GET, &arguments).await
    }
}

impl Carrier for Gets {
    type Request = Request;

    fn lanes(&self) -> &Lanes<Request> {
        &self.lanes
    }

    async fn carry(self: &Arc<Self>, _lane: &mut Lane, load: Vec<Request>) {
        let mut answer = match self.make_trip(&load).await {
            Ok(answer) => answer,
            Err(error) => return load.into_iter().for_each(|mut request| server::Request::fail(&mut request, &error)),
        };
        for request in load {
            let found = answer.bytes().and_then(|found| match found.split_first() {
                None => Ok(Some(None)),
                // The reply was full: the next trip asks again.
                Some((b'+', _)) => Ok(None),
                Some((b'!', _)) => Err(stored::not_understood()),
                Some((kind, record)) => stored::record(&request.get.key, record, *kind == b'x').map(Some).map(Some),
            });
            match found.transpose() {
                None => self.submit(request),
                Some(found) => drop(request.reply.send(found)),
            }
        }
    }
}

impl Site {
    pub(super) async fn places(&self) -> Result<Places> {
        let mut arguments = self.home.arguments(None);
        arguments.push(b"places");
        let mut answer = self.home.show("keyed", &GET, &arguments).await?;
        let incarnation = answer.count()?;
        let mut place =
            || -> Result<Position> { Ok(Position { incarnation, revision: answer.count()?, event: answer.count()? }) };
        Ok(Places { latest: place()?, first: place()? })
    }
}
