//! What a binding needs of topics beyond their handles.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use send_wrapper::SendWrapper;

use crate::codec::Raw;
use crate::error::{Error, Result};
use crate::handover::store::Handed;
use crate::handover::{Held, Opening, Receivers, Terms, Wait, Wish, receive};
use crate::topic::store::GapView;
use crate::topic::{EventDelivery, EventId, Gap, Item, Publish, Published, Reader};

/// Publishes an event after recording its id. If `record` refuses, nothing is published, and its error is returned.
///
/// `record` may call anything, including this topic. If it publishes there, it is called once more with the id that the
/// event then gets, and can no longer refuse. A deduplication key of the request has no effect.
pub fn publish_recorded<E>(
    publish: Publish<Raw>,
    mut record: impl FnMut(EventId) -> Result<(), E>,
) -> Result<Result<Published, E>> {
    let mut refused = None;
    let mut ask = |id| match record(id) {
        Ok(()) => true,
        Err(error) => {
            refused = Some(error);
            false
        }
    };
    let published = publish.run_recorded(&mut ask)?;
    Ok(published.ok_or_else(|| refused.expect("what is not published was refused")))
}

/// Waits for an event of a group; no `wait` means no limit. Resolves to `None` if none was deliverable in time.
///
/// Gaps are passed to `on_gap` before the events that follow them, and do not cost the caller its place in the line.
/// Dropping the future gives back whatever was taken for it.
pub async fn recv_event(
    reader: Reader<Raw>,
    wait: Option<Duration>,
    on_gap: impl Fn(Gap) + 'static,
) -> Result<Option<EventDelivery<Raw>>> {
    let reader = Telling { reader, tell: SendWrapper::new(Box::new(on_gap)) };
    let wait = wait.map_or(Wait::Forever, Wait::AtMost);
    let received = receive(&reader, "recv", &Wish::default(), wait, 1).await?;
    Ok(received.into_iter().next())
}

/// A reader that reports gaps through a callback instead of as items.
struct Telling {
    reader: Reader<Raw>,
    tell: SendWrapper<Box<dyn Fn(Gap)>>,
}

impl Opening for Telling {
    type Value = Raw;
    type Item = EventDelivery<Raw>;

    fn receivers(&self) -> &Arc<Receivers> {
        self.reader.receivers()
    }

    fn terms(&self) -> &Arc<Terms> {
        self.reader.terms()
    }

    fn max_nack_delay(&self) -> Duration {
        self.reader.max_nack_delay()
    }

    fn decode(&self, bytes: &[u8]) -> Result<Raw> {
        self.reader.decode(bytes)
    }

    fn item(&self, value: Raw, handed: Handed, held: Arc<Held>) -> EventDelivery<Raw> {
        let item = self.reader.item(value, handed, held);
        item.event().expect("what decodes is an event")
    }

    fn undecodable(&self, _handed: Handed, _error: &Error) -> Option<EventDelivery<Raw>> {
        // Raw bytes always decode.
        None
    }

    fn gap(&self, gap: GapView) -> Option<EventDelivery<Raw>> {
        if let Some(Item::Gap(gap)) = self.reader.gap(gap) {
            (self.tell)(gap);
        }
        None
    }
}

impl fmt::Debug for Telling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telling").field("reader", &self.reader).finish_non_exhaustive()
    }
}
