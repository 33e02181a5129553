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

/// Publishes an event once its id is recorded: what `record` refuses is not published, and its error is given back.
///
/// `record` may call anything, this topic too. If it publishes there, it is called once more, with the id that the
/// event has got then, and cannot refuse any more. A deduplication key of the request counts for nothing.
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

/// Waits for an event of a group, without `wait` for ever. Resolves to `None` if none was deliverable until then.
///
/// Gaps are told to `on_gap`, before what comes behind them, and cost nobody the place in the line. Dropping the future
/// gives back whatever was claimed for it.
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
