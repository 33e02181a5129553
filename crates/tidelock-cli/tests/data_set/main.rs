//! The demo's data set must equal what its generator writes.
//!
//! After a change of the generator: `TIDELOCK_WRITE_ORDERS=1 cargo test -p tidelock-cli --test data_set`.

mod generator;

use std::path::Path;

#[test]
fn the_data_set_is_what_the_generator_writes() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/orders.ndjson");
    let generated = generator::orders();
    if std::env::var_os("TIDELOCK_WRITE_ORDERS").is_some() {
        std::fs::write(&path, &generated).unwrap();
    }
    let stored = std::fs::read_to_string(&path).unwrap();
    assert!(stored == generated, "{} differs from its generator", path.display());
    assert!(stored.len() < 1_000_000);
}
