//! Postcards: a rate limit sells the stamps, a queue is the letter box, and a worker carries.
#![cfg(target_family = "wasm")]

mod page;

use std::future::pending;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidelock::ratelimit::{Limit, RateLimiter};
use tidelock::{Queue, Result, SECOND, Tidelock};
use wasm_bindgen::JsError;
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen_futures::spawn_local;

/// The messages in the queue: any type that serde supports.
#[derive(Debug, Serialize, Deserialize)]
struct Postcard {
    to: String,
    text: String,
    /// The element that shows it as waiting.
    item: String,
}

/// Handles; clones refer to the same objects.
#[derive(Clone, Debug)]
struct Office {
    stamps: RateLimiter,
    letter_box: Queue<Postcard>,
    rounds: RateLimiter,
}

/// Runs when the page has loaded the module.
#[wasm_bindgen(start)]
fn open() -> std::result::Result<(), JsError> {
    let office = Office::new(&Tidelock::in_process())?;
    let carrier = office.clone();
    spawn_local(async move { page::show_error(carrier.carry().await) });
    page::on_submit("postcard", move || {
        let office = office.clone();
        spawn_local(async move { page::show_error(office.post().await) });
    });
    Ok(())
}

impl Office {
    fn new(tide: &Tidelock) -> Result<Self> {
        let often = |limit: u64, window: Duration| Limit::new(limit).window(window).token_bucket();
        Ok(Self {
            stamps: tide.ratelimit("stamps").limit(often(3, 60 * SECOND)).build()?,
            letter_box: tide.queue("letter-box").build()?,
            rounds: tide.ratelimit("rounds").limit(often(1, 4 * SECOND)).build()?,
        })
    }

    /// Sends the postcard in the form if there is a stamp for it.
    async fn post(&self) -> Result<()> {
        let stamp = self.stamps.check("visitor").await?;
        if stamp.limited {
            let seconds = stamp.retry_after.as_secs_f64().ceil();
            page::show("stamps", &format!("Sold out: the next one in {seconds} s"));
            return Ok(());
        }
        page::show("stamps", &format!("{} left", stamp.remaining));
        let (to, text) = (page::field("to"), page::field("text"));
        page::clear("text");
        let item = page::add("waiting", &format!("To {to}"));
        self.letter_box.send(&Postcard { to, text, item }).await?;
        Ok(())
    }

    /// Delivers a card every four seconds, for as long as the page is open.
    async fn carry(&self) -> Result<()> {
        // Handlers are the same as on a server, where they move between threads. So a handler must not hold elements of
        // the page while it waits, and looks them up when it needs them.
        let worker = self.letter_box.process_with(self.rounds.clone(), async |rounds, card| {
            let _ = rounds.acquire("carrier").await?; // without a timeout, it is never refused
            page::remove(&card.item);
            page::add("delivered", &format!("{} reads: {}", card.to, card.text));
            Ok(())
        });
        worker.concurrency(1).run_until(pending()).await?;
        Ok(())
    }
}
