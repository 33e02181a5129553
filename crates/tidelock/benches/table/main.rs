//! `cargo xtask bench`: the speed table, as ratios to N, the rate of a no-op script through one connection in the
//! same run.
//!
//! Absolute figures depend on the machine and its current load, so only ratios within one run can be compared. N is
//! measured just before and just after each group of rows, and each row is the median of its rounds.

#![expect(unreachable_pub, reason = "this crate has no API: `pub` is what its files share")]

mod in_process;
mod jobs;
mod keyed;
mod measure;
mod memory;
mod noop;
mod on_redis;
mod schedules;
mod server;
mod topics;
mod waiting;

use measure::Table;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let json = arguments.iter().any(|argument| argument == "--json");
    let only = arguments.iter().position(|argument| argument == "--only").and_then(|at| arguments.get(at + 1));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let mut table = Table::new(only.cloned());
    runtime.block_on(async {
        on_redis::rows(&mut table).await?;
        waiting::rows(&mut table).await?;
        memory::rows(&mut table).await?;
        topics::rows(&mut table).await?;
        keyed::rows(&mut table).await?;
        jobs::rows(&mut table).await?;
        schedules::rows(&mut table).await?;
        Ok::<_, Box<dyn std::error::Error>>(())
    })?;
    in_process::rows(&mut table)?;
    if json {
        println!("{}", table.json());
    } else {
        print!("{}", table.text());
    }
    Ok(())
}
